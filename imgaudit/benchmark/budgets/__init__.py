"""Benchmarks of budgets: how much inversion, sampling and search is enough."""
