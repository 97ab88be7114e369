"""Mitigations: what keeps a model from repeating what it memorised, and what they cost."""
