"""Replay: pictures of a run that the recipient generates again, from what the run recorded, and compares."""

from imgaudit.runs.replay.replay import NOT_ASKED, ReplayRequest, describe_decision, replay_run

__all__ = ["NOT_ASKED", "ReplayRequest", "describe_decision", "replay_run"]
