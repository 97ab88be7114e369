"""How the condition behind a score is searched: every way on the same images of a lab, beside the published methods."""
