"""Verification of a large run: time and memory."""
