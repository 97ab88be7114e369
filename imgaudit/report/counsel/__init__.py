"""The one file that counsel gets: the answer, the findings with their pictures, the method, and how to check them."""
