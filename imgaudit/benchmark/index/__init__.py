"""Benchmarks of the index."""
