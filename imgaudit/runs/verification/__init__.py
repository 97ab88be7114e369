"""Checks of a run that somebody else made: its files, what they say of each other, and its verdicts."""

from imgaudit.runs.verification.run import verify_run

__all__ = ["verify_run"]
