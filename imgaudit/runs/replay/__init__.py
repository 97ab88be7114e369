"""Replay: pictures of a run that the recipient generates again, from what the run recorded, and compares."""
