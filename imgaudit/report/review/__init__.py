"""What people decide on a run's images, beside what the machine concluded and never in its place."""

from imgaudit.report.review.decision import ReviewChoice, ReviewDecision, Source
from imgaudit.report.review.exchange import read_decisions_file, write_decisions_file
from imgaudit.report.review.ledger import DecisionLedger, Ledger
from imgaudit.report.review.reviewed_run import ReviewedRun, read_reviewed_run
from imgaudit.report.review.status import ReviewStatus, review_status

__all__ = [
    "DecisionLedger",
    "Ledger",
    "ReviewChoice",
    "ReviewDecision",
    "ReviewStatus",
    "ReviewedRun",
    "Source",
    "read_decisions_file",
    "read_reviewed_run",
    "review_status",
    "write_decisions_file",
]
