"""Decisions: from measurements to verdicts. Everything here works on records alone, without a model."""
