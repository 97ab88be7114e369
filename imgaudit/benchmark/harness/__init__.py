"""What the benchmarks share: cases, figures, score tables and work that continues."""
