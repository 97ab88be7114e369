"""Engines beside one another: the wall time of the same run by each of them, and whether what they find is the same."""
