"""Measures the tool itself on lab models, whose truth is known."""
