"""A run's pages served to this machine's browser, so that decisions are saved in the run and not in a download."""

from imgaudit.report.server.handover import Handover
from imgaudit.report.server.server import ReviewServer

__all__ = ["Handover", "ReviewServer"]
