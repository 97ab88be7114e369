"""What a complaint on one image needs: the statement, the document and the package."""
