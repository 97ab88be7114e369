"""Recall of copies at a rate of false positives that was fixed on other pictures."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import stats

from imgaudit.benchmark.copies.measures import Measure, available_measures
from imgaudit.benchmark.copies.pictures import Picture, read_halves, transformed
from imgaudit.benchmark.copies.transformations import STRENGTHS, TRANSFORMATIONS
from imgaudit.benchmark.figures import Rate, Target, rate
from imgaudit.images import to_tensor
from imgaudit.records import Record, Skipped
from imgaudit.statistics import exceedance_threshold
from imgaudit.verification import Described, compare

LEVEL = 0.01
"""False positives that are allowed."""

LEGS = ("pair, geometric leg", "pair, photometric leg")
"""What verification says of a pair; both have to agree."""

PAIR = "verified pair"
"""Both legs."""

OURS = (PAIR, "sscd-int8", "pixel", "pdq", "dinov2", "sscd")

Scores = npt.NDArray[np.float64]


class Recall(Record):
    """Copies that were found."""

    of: str
    """Which."""
    n: int
    """How many copies there were."""
    found: float
    """Share of them that was found."""
    low: float
    """95 %, bootstrap over pictures, whose copies stand and fall together."""
    high: float
    """95 %."""


class Decider(Record):
    """One way to decide, and what it found."""

    name: str
    """As it is printed."""
    source: str
    """Which library or weights."""
    false_positives: Rate
    """Of pictures with what was made of another, on the pictures that are reported."""
    overall: Recall
    """Of everything."""
    by_strength: list[Recall]
    """Weak, medium, strong."""
    by_transformation: list[Recall]
    """Each of them, all strengths together."""


class CopiesReport(Record):
    """All deciders."""

    folders: list[str]
    """Names of the folders that the pictures came from."""
    pictures: int
    """Originals in either half."""
    seed: int
    """Of choice, split and transformations."""
    level: float
    """False positives allowed on the half that thresholds came from."""
    hardware: str
    """Machine."""
    deciders: list[Decider]
    """Ours first."""
    skipped: dict[str, Skipped]
    """What was left out, and why."""
    targets: list[Target]
    """Hopes and outcomes."""


class Half:
    """Scores of one half: copies with their originals, and with the picture after the next."""

    def __init__(self) -> None:
        self.copies: dict[str, list[list[float]]] = {}
        """By measure, per picture the scores of what was made of it."""
        self.strangers: dict[str, list[list[float]]] = {}
        """The same with another picture."""

    def add(self, name: str, copies: Sequence[float], strangers: Sequence[float]) -> None:
        """Scores of one picture."""
        self.copies.setdefault(name, []).append(list(copies))
        self.strangers.setdefault(name, []).append(list(strangers))


def measure_half(
    pictures: Sequence[Picture], measures: Sequence[Measure], *, seed: int, on_progress: Callable[[int], None]
) -> Half:
    """Make everything of every picture, and compare it with the picture and with one that has no part in it."""
    half = Half()
    for number in range(len(pictures)):
        made = [one.image for one in transformed(pictures, number, seed=seed)]
        pair = [pictures[number].image, pictures[(number + 2) % len(pictures)].image]
        for measure in measures:
            (own, stranger), prepared = measure.prepare(pair), measure.prepare(made)
            half.add(measure.name, measure.compare(own, prepared), measure.compare(stranger, prepared))
        (own, stranger), described = map(_described, pair), [_described(image) for image in made]
        evidences = [[compare(one, other) for other in described] for one in (own, stranger)]
        for leg, name in zip(LEGS, ("geometric", "photometric"), strict=True):
            half.add(name=leg, copies=[getattr(one, name) for one in evidences[0]],
                     strangers=[getattr(one, name) for one in evidences[1]])  # fmt: skip
        on_progress(number + 1)
    return half


def _described(image: object) -> Described:
    return Described.of(to_tensor(image))  # type: ignore[arg-type]


def measure_copies(
    folders: Sequence[Path],
    *,
    pictures: int,
    seed: int,
    hardware: str,
    slow: bool = False,
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> CopiesReport:
    """Fix thresholds on one half of the pictures, and count on the other.

    pictures:  originals in either half
    slow:      with measures that take far longer than all others
    Raises InputError when the folders have too few.
    """
    measures, skipped = available_measures(slow=slow)
    fit, report = read_halves(
        folders, pictures, seed=seed, on_progress=lambda done, total: on_progress("reading", done, total)
    )
    halves = [
        measure_half(own, measures, seed=seed, on_progress=lambda done, name=name: on_progress(name, done, pictures))  # type: ignore[misc]
        for name, own in (("thresholds", fit), ("copies", report))
    ]
    sources = {measure.name: measure.source for measure in measures}
    return copies_report(
        halves[0], halves[1], sources, folders=[folder.name for folder in folders], pictures=pictures, seed=seed,
        hardware=hardware, skipped=skipped,
    )  # fmt: skip


def copies_report(
    fit: Half,
    report: Half,
    sources: Mapping[str, str],
    *,
    folders: list[str],
    pictures: int,
    seed: int,
    hardware: str,
    skipped: dict[str, Skipped],
) -> CopiesReport:
    """Decide every way there is, and count."""
    rules: dict[str, list[tuple[str, ...]]] = {PAIR: [LEGS]}
    if "sscd-int8" in sources:
        rules[f"sscd-int8 or {PAIR}"] = [("sscd-int8",), LEGS]
    rules |= {name: [(name,)] for name in (*sources, *LEGS)}
    deciders = [
        _decide(name, alternatives, fit, report, sources.get(name, "imgaudit")) for name, alternatives in rules.items()
    ]
    others = [one for one in deciders if one.name.startswith("image")]
    ours = deciders[1] if len(deciders) > 1 and PAIR in deciders[1].name else deciders[0]
    best = max(others, key=lambda one: one.overall.found, default=None)
    return CopiesReport(
        folders=folders, pictures=pictures, seed=seed, level=LEVEL, hardware=hardware, deciders=deciders,
        skipped=skipped,
        targets=[] if best is None else [
            Target(
                name=f"recall of {ours.name}", wanted=f"above that of {best.name} ({best.overall.found:.1%})",
                got=f"{ours.overall.found:.1%}, {ours.overall.low:.1%} to {ours.overall.high:.1%}",
                met=ours.overall.low > best.overall.high,
            )
        ],
    )  # fmt: skip


def _decide(name: str, alternatives: Sequence[Sequence[str]], fit: Half, report: Half, source: str) -> Decider:
    """Copies are what passes all legs of any alternative; alternatives share the level."""
    level = LEVEL / len(alternatives)

    def decide(scores: Mapping[str, list[list[float]]]) -> npt.NDArray[np.bool_]:
        passed = [
            np.all([np.array(scores[leg]) > _threshold(fit, leg, level) for leg in legs], axis=0)
            for legs in alternatives
        ]
        return np.asarray(np.any(passed, axis=0))

    found, false = decide(report.copies), decide(report.strangers)
    kinds = found.reshape(len(found), len(TRANSFORMATIONS), len(STRENGTHS))
    return Decider(
        name=name,
        source=source,
        false_positives=rate("false positives", "strangers", false.flatten().tolist()),
        overall=_recall("all", kinds),
        by_strength=[_recall(one, kinds[:, :, number]) for number, one in enumerate(STRENGTHS)],
        by_transformation=[_recall(one, kinds[:, number]) for number, one in enumerate(TRANSFORMATIONS)],
    )


def _threshold(fit: Half, leg: str, level: float) -> float:
    return exceedance_threshold([score for row in fit.strangers[leg] for score in row], level)


def _recall(of: str, found: npt.NDArray[np.bool_]) -> Recall:
    """Of (pictures, ...) decisions."""
    shares = found.reshape(len(found), -1).mean(axis=1)
    low = high = float(shares.mean())
    if shares.std() > 0:
        resampled = stats.bootstrap((shares,), np.mean, method="percentile", rng=np.random.default_rng(0))
        low, high = map(float, resampled.confidence_interval)
    return Recall(of=of, n=found.size, found=float(shares.mean()), low=low, high=high)
