"""Benchmarks of verdicts: error rates, power and the ladder."""
