"""Untrusted model files, inspected before anything of them is loaded."""
