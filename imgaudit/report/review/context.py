"""A run's decisions as the templates of its pages see them, always beside the machine's verdict."""

from dataclasses import dataclass

from imgaudit.report.review import DecisionLedger, Ledger, ReviewDecision
from imgaudit.report.wording import CHOICE_WORDING, LEVEL_WORDING
from imgaudit.runs.finished import result_digest, run_id
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.history import History, read_history


@dataclass(frozen=True)
class ReviewContext:
    """Values of a run that the decision form and the script of a page need."""

    run_id: str
    """Id of the run; goes into `<meta name="imgaudit-run-id">`."""
    result_sha256: str
    """SHA-256 of report.json; goes into `<meta name="imgaudit-result-sha256">`."""
    ledger: Ledger
    """Decisions that are saved in the run."""
    history: History
    """Commands that changed the run."""

    @property
    def levels(self) -> list[tuple[int, str]]:
        """Every level with its words."""
        return list(enumerate(LEVEL_WORDING))

    def saved(self, image_id: str) -> list[tuple[ReviewDecision, str]]:
        """Return each reviewer's newest decision on one image, with its choice in words."""
        return [(decision, CHOICE_WORDING[decision.decision]) for decision in self.ledger.of_image(image_id)]


def review_context(run: RunFolder, length: int | None = None, history: int | None = None) -> ReviewContext:
    """Read what templates get as `review`. Raises RunFolderError for a run without manifest or result.

    length:   as in `DecisionLedger.read`
    history:  the same of the run's history
    """
    name = run_id(run)
    ledger = DecisionLedger(run, name).read(length)
    return ReviewContext(name, result_digest(run), ledger, read_history(run, history))
