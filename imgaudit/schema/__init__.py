"""Frozen values: what a user chooses, what a run records and concludes. Their JSON is the file format."""
