"""How well scores and verdicts separate memorised images from held-out ones, on a lab model.

Every figure has its n and a 95 % interval. "Planted, not reproduced" and "seen once" are rows of their own: neither is
a null, and neither counts as a failure or a success of detection.
"""

import enum
from collections.abc import Callable, Mapping, Sequence

from imgaudit.calibration import NullBank
from imgaudit.lab.description import LabDescription, LabImage
from imgaudit.records import Finding, Measurement, Record, Rung, RungMeasurement, Skipped, Verdict
from imgaudit.statistics import auc, clopper_pearson

FOUND = (Verdict.REPLICATED, Verdict.REPLICATED_BY_INVERSION)


class Group(enum.StrEnum):
    """What an image is, by the lab's own measurement."""

    MEMORISED = "memorised"
    PLANTED_NOT_REPRODUCED = "planted, not reproduced"
    SEEN_ONCE = "seen once"
    HELD_OUT = "held out"


class Rate(Record):
    """A proportion with its interval."""

    name: str
    """What is counted."""
    group: str
    """Among which images."""
    hits: int
    """How many."""
    n: int
    """Of how many."""
    rate: float
    """hits / n."""
    low: float
    """Clopper-Pearson 95 %."""
    high: float
    """Clopper-Pearson 95 %."""


class Separation(Record):
    """An area under the ROC curve with its interval."""

    name: str
    """Score whose separation is measured."""
    against: str
    """Which images memorised ones are compared with."""
    auc: float
    """P(memorised > other) + P(tie) / 2."""
    low: float
    """Newcombe 95 %."""
    high: float
    """Newcombe 95 %."""
    positives: int
    """Memorised images."""
    negatives: int
    """Others."""


class Target(Record):
    """What was hoped for, and whether it was met."""

    name: str
    """The figure."""
    wanted: str
    """The target."""
    got: str
    """The figure measured."""
    met: bool
    """Whether it was reached."""


class DetectionReport(Record):
    """All tables of `imgaudit benchmark detection`."""

    lab: str
    """Lab model."""
    protocol_hash: str
    """Protocol of bank and benchmark."""
    seed: int
    """Run seed."""
    controls: int
    """Controls in the bank, none of them among the images measured."""
    level: float
    """Level of p-values, thresholds and false discovery."""
    network_evaluations_per_image: int
    """Mean."""
    seconds_per_image: float
    """Mean."""
    separations: list[Separation]
    """Areas under ROC curves."""
    rates: list[Rate]
    """Proportions per group."""
    by_repeats: list[Rate]
    """Proportions per repeat count."""
    targets: list[Target]
    """Hopes and outcomes."""


def group_of(image: LabImage) -> Group:
    """Truth of one image; background images have none and are never benchmarked."""
    if image.role == "planted":
        return Group.MEMORISED if image.memorised else Group.PLANTED_NOT_REPRODUCED
    return Group.SEEN_ONCE if image.role == "seen_once" else Group.HELD_OUT


def _rate(name: str, group: str, flags: Sequence[bool]) -> Rate:
    interval = clopper_pearson(sum(flags), len(flags))
    share = sum(flags) / len(flags) if flags else 0.0
    return Rate(name=name, group=group, hits=sum(flags), n=len(flags), rate=share, low=interval.low, high=interval.high)


def _scores(measurements: Mapping[str, Measurement], bank: NullBank) -> dict[str, Callable[[str], float | None]]:
    """Scores by name, each from the image's id; higher = more memorised, None where the image has no such score."""

    def trajectory(image_id: str) -> float | None:
        value = measurements[image_id].error.trajectory_log_ratio
        return None if isinstance(value, Skipped) else value

    def best(rung: Rung) -> Callable[[str], float | None]:
        def score(image_id: str) -> float | None:
            measured = measurements[image_id].rungs[rung]
            return measured.best("pixel") if isinstance(measured, RungMeasurement) else None

        return score

    line = bank.line
    return {
        "score (log ratio, adjusted for complexity)": lambda i: line.residual(
            measurements[i].error.log_ratio, measurements[i].complexity
        ),
        "log ratio, unadjusted": lambda i: measurements[i].error.log_ratio,
        "log ratio of the last steps' own draws": trajectory,
        "conditional error alone (negative)": lambda i: -measurements[i].error.conditional,
        "best similarity, embedding": best(Rung.EMBEDDING),
        "best similarity, caption": best(Rung.CAPTION),
    }


def _rates(groups: Mapping[Group, Sequence[Finding]], level: float) -> list[Rate]:
    rates = []
    for group, findings in groups.items():
        measured = [f for f in findings if f.verdict is not Verdict.SKIPPED]
        rates.append(
            _rate(
                f"score p <= {level:g}", group, [f.p_value <= level for f in measured if isinstance(f.p_value, float)]
            )
        )
        rates.append(
            _rate(
                f"score q <= {level:g}", group, [f.q_value <= level for f in measured if isinstance(f.q_value, float)]
            )
        )
        for rung in (Rung.CAPTION, Rung.EMBEDDING):
            flags = [r.hits > 0 for f in measured for r in f.replication if r.rung is rung]
            rates.append(_rate(f"any copy, {rung.value}", group, flags))
        rates.append(_rate("verdict: replicated (text)", group, [f.verdict is Verdict.REPLICATED for f in measured]))
        rates.append(_rate("verdict: replicated, any rung", group, [f.verdict in FOUND for f in measured]))
    return rates


def detection_report(
    findings: Sequence[Finding],
    measurements: Sequence[Measurement],
    bank: NullBank,
    lab: LabDescription,
    *,
    level: float,
    seed: int,
) -> DetectionReport:
    """All tables, from a finished run over a lab's images."""
    known = {image.sha256: image for image in lab.images}
    measured = {m.id: m for m in measurements if m.sha256 in known}
    usable = [f for f in findings if f.id in measured]
    groups: dict[Group, list[Finding]] = {group: [] for group in Group}
    for finding in usable:
        groups[group_of(known[finding.sha256])].append(finding)
    separations = []
    for name, score in _scores(measured, bank).items():
        positives = [value for f in groups[Group.MEMORISED] if (value := score(f.id)) is not None]
        for other in (Group.HELD_OUT, Group.SEEN_ONCE):
            negatives = [value for f in groups[other] if (value := score(f.id)) is not None]
            if positives and negatives:
                area = auc(positives, negatives)
                separations.append(
                    Separation(name=name, against=other, auc=area.value, low=area.low, high=area.high,
                               positives=area.positives, negatives=area.negatives)
                )  # fmt: skip
    rates = _rates(groups, level)
    by_repeats = []
    planted = [f for f in usable if known[f.sha256].role == "planted"]
    for repeats in sorted({known[f.sha256].repeats for f in planted}):
        own = [f for f in planted if known[f.sha256].repeats == repeats]
        name = f"{repeats} repeats"
        by_repeats.append(_rate("memorised (truth)", name, [known[f.sha256].memorised for f in own]))
        by_repeats.append(
            _rate(f"score p <= {level:g}", name, [isinstance(f.p_value, float) and f.p_value <= level for f in own])
        )
        by_repeats.append(_rate("verdict: replicated, any rung", name, [f.verdict in FOUND for f in own]))
    return DetectionReport(
        lab=lab.recipe.name,
        protocol_hash=bank.protocol.hash,
        seed=seed,
        controls=len(bank.controls),
        level=level,
        network_evaluations_per_image=round(
            sum(m.network_evaluations for m in measured.values()) / max(1, len(measured))
        ),
        seconds_per_image=sum(m.seconds for m in measured.values()) / max(1, len(measured)),
        separations=separations,
        rates=rates,
        by_repeats=by_repeats,
        targets=_targets(separations, rates),
    )


def _targets(separations: Sequence[Separation], rates: Sequence[Rate]) -> list[Target]:
    area = next((s for s in separations if s.against == Group.HELD_OUT), None)
    found = {r.group: r for r in rates if r.name == "verdict: replicated, any rung"}
    targets = []
    if area is not None:
        targets.append(
            Target(
                name="AUC, memorised against held out, lower bound",
                wanted="> 0.90",
                got=f"{area.low:.3f}",
                met=area.low > 0.90,
            )
        )
    memorised, held_out = found[Group.MEMORISED], found[Group.HELD_OUT]
    if memorised.n:
        targets.append(
            Target(
                name="replication found among memorised",
                wanted=">= 90 %",
                got=f"{memorised.rate:.1%}",
                met=memorised.rate >= 0.9,
            )
        )
    if held_out.n:
        targets.append(
            Target(
                name="replication found among held out",
                wanted="<= 5 %",
                got=f"{held_out.rate:.1%}",
                met=held_out.rate <= 0.05,
            )
        )
    return targets
