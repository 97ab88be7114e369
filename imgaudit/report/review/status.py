"""How far a review is, where reviewers differ from each other and from the machine, and how well levels agree."""

from collections.abc import Iterator, Sequence
from itertools import combinations

from imgaudit.report.review.decision import HIGHEST_LEVEL, ReviewChoice, ReviewDecision
from imgaudit.report.review.ledger import Ledger
from imgaudit.report.review.reviewed_run import ReviewedRun
from imgaudit.schema.findings import Verdict
from imgaudit.schema.records import Record, Skipped


class DecidedImage(Record):
    """An image and what reviewers say of it."""

    id: str
    """Its id."""
    path: str
    """Path of its file, as text."""
    machine_verdict: Verdict
    """The machine's present verdict."""
    decisions: list[ReviewDecision]
    """The newest of each reviewer."""


class LevelAgreement(Record):
    """Agreement of two reviewers on how much was returned."""

    reviewers: tuple[str, str]
    """In order of the alphabet."""
    n: int
    """Images that both gave a level."""
    same: int
    """Number of these images that both gave the same level."""
    kappa: float | Skipped
    """Cohen's kappa with quadratic weights: 1 in full agreement, 0 at what chance gives, negative below."""


class ReviewStatus(Record):
    """A review in numbers."""

    run_id: str
    """First 16 hex digits of the SHA-256 of the run's manifest.json."""
    result_sha256: str
    """Its result as it is now."""
    images: int
    """That can be decided on."""
    decided: int
    """With a decision of anybody."""
    accepted: int
    """Every reviewer who decided accepts the verdict."""
    disputed: int
    """Every reviewer who decided disputes it."""
    unsure: int
    """Every reviewer who decided is unsure."""
    contested: int
    """Reviewers differ. These four add up to `decided`."""
    decisions: dict[ReviewChoice, int]
    """That hold, over images and reviewers."""
    reviewers: dict[str, int]
    """Images that each has decided."""
    between_reviewers: list[DecidedImage]
    """Images on which reviewers differ in their decision."""
    against_the_machine: list[DecidedImage]
    """Images whose verdict a reviewer disputes."""
    levels: list[LevelAgreement]
    """Per pair of reviewers who gave a level to the same images."""
    history: int
    """Decisions ever made, those that were replaced included."""
    on_another_result: int
    """Decisions that hold but were made on another result of the run than the one of now."""
    damaged: list[str]
    """Lines of the file that could not be read, with the reason."""


def review_status(run: ReviewedRun, ledger: Ledger) -> ReviewStatus:
    """Count what holds. A decision on an image that the result no longer has is counted among the damaged lines."""
    held = [one for one in ledger.latest().values() if one.image_id in run.images]
    lost = [one for one in ledger.latest().values() if one.image_id not in run.images]
    images = [_image(run, name, held) for name in sorted({one.image_id for one in held})]
    said = [{one.decision for one in image.decisions} for image in images]
    names = sorted({one.reviewer for one in held})
    return ReviewStatus(
        run_id=run.run_id,
        result_sha256=run.result_sha256,
        images=len(run.images),
        decided=len(images),
        accepted=said.count({ReviewChoice.ACCEPT}),
        disputed=said.count({ReviewChoice.DISPUTE}),
        unsure=said.count({ReviewChoice.UNSURE}),
        contested=sum(len(choices) > 1 for choices in said),
        decisions={choice: sum(one.decision is choice for one in held) for choice in ReviewChoice},
        reviewers={name: sum(one.reviewer == name for one in held) for name in names},
        between_reviewers=[image for image, choices in zip(images, said, strict=True) if len(choices) > 1],
        against_the_machine=[
            image for image, choices in zip(images, said, strict=True) if ReviewChoice.DISPUTE in choices
        ],
        levels=list(_level_agreements(names, held)),
        history=len(ledger.history),
        on_another_result=sum(one.result_sha256 != run.result_sha256 for one in held),
        damaged=[
            *(f"line {line.number}: {line.why}" for line in ledger.damaged),
            *(f"{one.image_id} is no image of this result" for one in lost),
        ],
    )


def _image(run: ReviewedRun, name: str, held: Sequence[ReviewDecision]) -> DecidedImage:
    finding = run.images[name]
    decisions = sorted((one for one in held if one.image_id == name), key=lambda one: one.reviewer)
    return DecidedImage(id=name, path=finding.path, machine_verdict=finding.verdict, decisions=decisions)


def _level_agreements(names: Sequence[str], held: Sequence[ReviewDecision]) -> Iterator[LevelAgreement]:
    levels: dict[str, dict[str, int]] = {name: {} for name in names}
    for one in held:
        if one.replication_level is not None:
            levels[one.reviewer][one.image_id] = one.replication_level
    for first, second in combinations(names, 2):
        shared = sorted(levels[first].keys() & levels[second].keys())
        if shared:
            a, b = ([levels[name][image] for image in shared] for name in (first, second))
            same = sum(x == y for x, y in zip(a, b, strict=True))
            yield LevelAgreement(reviewers=(first, second), n=len(shared), same=same, kappa=level_kappa(a, b))


def level_kappa(a: Sequence[int], b: Sequence[int]) -> float | Skipped:
    """Return Cohen's weighted kappa of two reviewers' levels on the same images, weights (i - j)^2 (Cohen 1968).

    Quadratic weights, because levels are steps of one scale: 4 against 5 is nearly agreement, 0 against 5 is none.

    >>> round(level_kappa([0, 3, 5, 5], [0, 4, 5, 4]), 3)
    0.937
    >>> level_kappa([5, 5], [5, 5]).skipped
    'both gave one and the same level throughout, so that chance alone would agree as well'
    """
    if len(a) < 2:
        return Skipped(skipped="it takes at least two images to which both gave a level")
    if len({*a, *b}) == 1:
        return Skipped(skipped="both gave one and the same level throughout, so that chance alone would agree as well")
    # scikit-learn takes a second to load, and most reviews have one reviewer.
    from sklearn.metrics import cohen_kappa_score

    return float(cohen_kappa_score(a, b, labels=range(HIGHEST_LEVEL + 1), weights="quadratic"))
