"""Decisions: measurements to verdicts. Pure functions of records; nothing here needs a model."""
