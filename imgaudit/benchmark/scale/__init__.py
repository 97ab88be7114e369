"""Benchmark of large runs: concluding, rendering and verifying."""
