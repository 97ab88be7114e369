"""Recall of copies at a rate of false positives that was fixed on other pictures."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from imgaudit.benchmark.copies.measures import VIEWS_OF_COPY, VIEWS_OF_ORIGINAL, Measure, available_measures
from imgaudit.benchmark.copies.pictures import Original, read_halves, transformed
from imgaudit.benchmark.copies.transformations import STRENGTHS, TRANSFORMATIONS
from imgaudit.benchmark.harness.figures import Goal, format_goals
from imgaudit.benchmark.harness.lab_model import describe_machine
from imgaudit.benchmark.harness.procedure import OnStage, report_procedure
from imgaudit.benchmark.harness.table import Table
from imgaudit.benchmark.settings import CopiesSettings
from imgaudit.exceptions import InputError
from imgaudit.io.framing import to_tensor
from imgaudit.schema.records import Record, Skipped
from imgaudit.schema.text import wrap_prose
from imgaudit.similarity.parts import ImageFeatures, compare_features
from imgaudit.statistics import bootstrap_mean, exceedance_threshold

LEVEL = 0.01
"""False positives that are allowed."""

STRANGERS = 3
"""Pictures without a part in it that everything made of one is compared with."""

FAMILY_AIM = 0.9
"""Share of the copies of every transformation that the default of collections should find."""

LEGS = ("pair, geometric leg", "pair, photometric leg")
"""What verification says of a pair; both have to agree."""

PAIR = "verified pair"
"""Both legs."""

COLUMN = 7
"""Characters of a column of the second table."""

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

    def __str__(self) -> str:
        return f"{self.found:.1%} ({self.low:.1%} to {self.high:.1%})"


class Decider(Record):
    """One way to decide, and what it found."""

    name: str
    """As it is printed."""
    source: str
    """Which library or weights."""
    false_positives: Recall
    """Of pictures with what was made of others, on the pictures that are reported."""
    overall: Recall
    """Of everything."""
    matched: Recall
    """Of everything, at the thresholds that let the level of the reported strangers themselves pass: ways to decide are
    compared at one rate, as points of their curves, under thresholds that nobody could have known before."""
    by_strength: list[Recall]
    """Weak, medium, strong; as `matched`."""
    by_transformation: list[Recall]
    """Each of them, all strengths together; as `matched`."""

    @property
    def by_kind(self) -> list[Recall]:
        """By strength, then by transformation."""
        return [*self.by_strength, *self.by_transformation]


class CopiesReport(Table):
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

    @property
    def targets(self) -> list[Goal]:
        """Goals and outcomes."""
        return [*self.comparison, *(goal for goals in self.family_goals.values() for goal in goals)]

    @property
    def family_goals(self) -> dict[str, list[Goal]]:
        """By search with views, a goal for every transformation."""
        return {
            one.name: [
                Goal.at_least(f"{one.name}, {kind.of}", kind, FAMILY_AIM, got=f"{kind} of {kind.n}")
                for kind in one.by_transformation
            ]
            for one in self.deciders
            if one.name in (VIEWS_OF_COPY, VIEWS_OF_ORIGINAL)
        }

    @property
    def comparison(self) -> list[Goal]:
        """Goal beside the best of others; none when no other decider was measured."""
        others = [one for one in self.deciders if one.name.startswith("image")]
        ours = self.deciders[1] if len(self.deciders) > 1 and PAIR in self.deciders[1].name else self.deciders[0]
        best = max(others, key=lambda one: one.matched.found, default=None)
        if best is None:
            return []
        wanted = f"lower bound above the upper bound of {best.name}, {best.matched.high:.1%}"
        got = f"{ours.matched.found:.1%}, {ours.matched.low:.1%} to {ours.matched.high:.1%}"
        name = f"{ours.name} at {LEVEL:.0%} of these strangers"
        return [Goal.at_least(name, ours.matched, best.matched.high, wanted=wanted, got=got)]


class HalfScores:
    """Scores of one half: copies with their originals, and with pictures that have no part in them."""

    def __init__(self) -> None:
        self.copies: dict[str, list[list[float]]] = {}
        """By measure, per picture the scores of what was made of it."""
        self.strangers: dict[str, list[list[float]]] = {}
        """The same with other pictures, one after the other."""

    def add(self, name: str, copies: Sequence[float], strangers: Sequence[float]) -> None:
        """Scores of one picture."""
        self.copies.setdefault(name, []).append(list(copies))
        self.strangers.setdefault(name, []).append(list(strangers))


def measure_half(
    pictures: Sequence[Original],
    measures: Sequence[Measure],
    *,
    seed: int,
    pairs: bool,
    on_progress: Callable[[int], None],
) -> HalfScores:
    """Make everything of every picture, and compare it with the picture and with one that has no part in it."""
    half = HalfScores()
    for number in range(len(pictures)):
        made = list(transformed(pictures, number, seed=seed))
        # The next picture is mixed into some of what was made, so that it is no stranger.
        asked = [pictures[(number + step) % len(pictures)].image for step in (0, *range(2, 2 + STRANGERS))]
        for measure in measures:
            (own, *others), prepared = measure.prepare(asked), measure.prepare(made)
            strange = [score for other in others for score in measure.compare(other, prepared)]
            half.add(measure.name, measure.compare(own, prepared), strange)
        on_progress(number + 1)
        if not pairs:
            continue
        (own, *others), described = map(_described, asked), [_described(image) for image in made]
        copies = [compare_features(own, one) for one in described]
        strangers = [compare_features(other, one) for other in others for one in described]
        for leg, name in zip(LEGS, ("geometric", "photometric"), strict=True):
            half.add(leg, [getattr(one, name) for one in copies], [getattr(one, name) for one in strangers])
    return half


def _described(image: object) -> ImageFeatures:
    return ImageFeatures.of(to_tensor(image))  # type: ignore[arg-type]


def measure_copies(settings: CopiesSettings, on_stage: OnStage) -> CopiesReport:
    """Fix thresholds on one half of the pictures, and count on the other.

    Raises InputError when the folders have too few, or none is given, and for `only` without a table that fits.
    """
    if not settings.images:
        raise InputError("name at least one folder of pictures with --images")
    before = _read_before(settings)
    pictures, seed = settings.pictures, settings.seed
    measures, skipped = available_measures(slow=settings.slow)
    if settings.only:
        names = ", ".join(repr(one.name) for one in measures)
        measures = [one for one in measures if one.name in settings.only]
        if len(measures) < len(set(settings.only)):
            raise InputError(f"--only names what cannot be measured here; expected any of {names}")
    fit, report = read_halves(settings.images, pictures, seed=seed, on_progress=partial(on_stage, "reading"))

    def measure(own: Sequence[Original], stage: str) -> HalfScores:
        return measure_half(
            own, measures, seed=seed, pairs=not settings.only, on_progress=lambda done: on_stage(stage, done, pictures)
        )

    halves = measure(fit, "thresholds"), measure(report, "copies")
    sources = {one.name: one.source for one in measures}
    made = report_copies(
        halves[0], halves[1], sources, folders=[folder.name for folder in settings.images], pictures=pictures,
        seed=seed, skipped=skipped,
    )  # fmt: skip
    if before is None:
        return made
    kept = [one for one in before.deciders if one.name not in settings.only]
    others = [one for one in kept if one.name.startswith("image") or one.name in LEGS]
    ours = [one for one in kept if one not in others]
    return made.model_copy(update={"deciders": [*ours, *made.deciders, *others], "skipped": before.skipped})


def _read_before(settings: CopiesSettings) -> CopiesReport | None:
    """Read the table whose other ways to compare are kept; None when everything is measured."""
    if not settings.only:
        return None
    if settings.save is None or not settings.save.is_file():
        raise InputError("--only keeps what else is in a table: name the table with --save")
    before = CopiesReport.read(settings.save)
    asked = ([folder.name for folder in settings.images], settings.pictures, settings.seed)
    if asked != (before.folders, before.pictures, before.seed):
        raise InputError(
            f"the table at {str(settings.save)!r} was measured with {before.pictures} pictures of "
            f"{', '.join(before.folders)} and seed {before.seed}: give the same, or another --save"
        )
    return before


def report_copies(
    fit: HalfScores,
    report: HalfScores,
    sources: Mapping[str, str],
    *,
    folders: list[str],
    pictures: int,
    seed: int,
    skipped: dict[str, Skipped],
) -> CopiesReport:
    """Decide in every way there is, and count."""
    legs = [leg for leg in LEGS if leg in fit.copies]
    rules: dict[str, list[tuple[str, ...]]] = {PAIR: [LEGS]} if legs else {}
    if legs and "sscd-int8" in sources:
        rules[f"sscd-int8 or {PAIR}"] = [("sscd-int8",), LEGS]
    rules |= {name: [(name,)] for name in (*sources, *legs)}
    deciders = [
        _decide(name, alternatives, fit, report, sources.get(name, "imgaudit")) for name, alternatives in rules.items()
    ]
    return CopiesReport(
        folders=folders, pictures=pictures, seed=seed, level=LEVEL, hardware=describe_machine(), deciders=deciders,
        skipped=skipped,
    )  # fmt: skip


def _decide(
    name: str, alternatives: Sequence[Sequence[str]], fit: HalfScores, report: HalfScores, source: str
) -> Decider:
    """Copies are what passes all legs of any alternative; alternatives share the level."""
    level = LEVEL / len(alternatives)

    def decide(scores: Mapping[str, list[list[float]]], half: HalfScores) -> npt.NDArray[np.bool_]:
        """By the strangers of a half."""
        passed = [
            np.all([np.array(scores[leg]) > _threshold(half, leg, level) for leg in legs], axis=0)
            for legs in alternatives
        ]
        return np.asarray(np.any(passed, axis=0))

    found, false = decide(report.copies, fit), decide(report.strangers, fit)
    matched = decide(report.copies, report)
    kinds = matched.reshape(len(matched), len(TRANSFORMATIONS), len(STRENGTHS))
    return Decider(
        name=name,
        source=source,
        false_positives=_recall("strangers", false),
        overall=_recall("all", found),
        matched=_recall("all", matched),
        by_strength=[_recall(one, kinds[:, :, number]) for number, one in enumerate(STRENGTHS)],
        by_transformation=[_recall(one, kinds[:, number]) for number, one in enumerate(TRANSFORMATIONS)],
    )


def _threshold(fit: HalfScores, leg: str, level: float) -> float:
    return exceedance_threshold([score for row in fit.strangers[leg] for score in row], level)


def _recall(of: str, found: npt.NDArray[np.bool_]) -> Recall:
    """Return the recall over (pictures, ...) decisions."""
    shares = found.reshape(len(found), -1).mean(axis=1)
    interval = bootstrap_mean(shares, resamples=9999)
    return Recall(of=of, n=found.size, found=float(shares.mean()), low=interval.low, high=interval.high)


def format_copies(report: CopiesReport) -> Iterator[str]:
    """Format a line per way to decide, then per transformation, what was skipped, and goals.

    Lines have at most 80 columns.
    """
    yield from wrap_prose(
        f"{report.pictures} pictures of {', '.join(report.folders)} for thresholds and {report.pictures} others for "
        f"the figures, seed {report.seed}, {report.hardware}"
    )
    yield from wrap_prose(
        f"thresholds at {report.level:.0%} false positives; 95 % intervals, bootstrap over pictures, whose copies and "
        "strangers stand and fall together"
    )
    yield ""
    yield f"{'':27}{'false positives':16}{'copies found':18}at {report.level:.0%} of strangers"
    for one in report.deciders:
        cells = (_format_percent(share) for share in (one.false_positives, one.overall, one.matched))
        yield "".join(f"{text:{width}}" for text, width in zip((one.name, *cells), (27, 16, 18, 0), strict=True))
    yield ""
    yield from _format_kinds(report)
    for name, skipped in report.skipped.items():
        yield from wrap_prose(f"skipped: {name}: {skipped.skipped}")
    families = report.family_goals
    met = [f"{name}: {sum(goal.met for goal in goals)} of {len(goals)}" for name, goals in families.items()]
    if met:
        yield ""
        yield from wrap_prose(
            f"kinds of change of which at least {FAMILY_AIM:.0%} are found (lower bound): {'; '.join(met)}"
        )
    missed = [goal for goals in families.values() for goal in goals if not goal.met]
    yield from format_goals([*report.comparison, *missed])


def _format_percent(share: Recall) -> str:
    return f"{share.found:.1%} ({100 * share.low:.1f}-{100 * share.high:.1f})"


def _format_kinds(report: CopiesReport) -> Iterator[str]:
    """Format what was found of each kind of change; ways to decide have numbers, as their names are long."""
    others = [one for one in report.deciders if one.name.startswith("image")]
    chosen = [one for one in report.deciders if "leg" not in one.name and one not in others]
    each = report.deciders[0].by_transformation[0].n if report.deciders else 0
    yield from wrap_prose(
        f"copies found at {report.level:.0%} of these strangers, in percent, by strength and by what was done ({each} "
        f"of each). {'; '.join(f'{number}: {one.name}' for number, one in enumerate(chosen, 1))}; best: the best of "
        "the others; *: it finds more than all of these"
    )
    yield f"{'':14}" + "".join(f"{head:>{COLUMN}}" for head in (*range(1, len(chosen) + 1), "best"))
    for number, kind in enumerate(report.deciders[0].by_kind if report.deciders else []):
        best = max((one.by_kind[number].found for one in others), default=0.0)
        own = [one.by_kind[number].found for one in chosen]
        behind = " *" if best > max(own) else ""
        yield f"{kind.of:14}" + "".join(f"{100 * share:{COLUMN}.1f}" for share in (*own, best)) + behind


PROCEDURE = report_procedure(CopiesReport, measure_copies, format_copies)
