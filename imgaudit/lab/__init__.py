"""Models with planted memorisation: the ground truth."""
