"""Mitigations keep a model from repeating memorised images. They are made, applied and evaluated here."""
