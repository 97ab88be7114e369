"""Images that a hosted model made, against a portfolio: is a target, or part of one, in any of them?

There are no weights to audit, so that there are no seeds to repeat and no rate to estimate. What is asked of every
target is how closely the closest of the given images follows it, and how closely the closest follows pictures that
nobody asked the model for (decoys): with D decoys the smallest p-value is 1 / (D + 1).
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from imgaudit.decision.pair_nulls import fit_leg_thresholds, leg_p_value
from imgaudit.decision.power import planner_line
from imgaudit.exceptions import ImageError, RunFolderError
from imgaudit.io.framing import to_tensor
from imgaudit.io.portfolio import Portfolio, Target
from imgaudit.io.reading import format_path
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.pairs import PairEvidence, PairThresholds, classify
from imgaudit.schema.records import Legs, Record, Skipped, SkippedImage
from imgaudit.similarity.parts import ImageFeatures, compare_features
from imgaudit.statistics import q_values

PAIRS = "pairs.jsonl"
"""Scores of every image with every target and decoy, as they are finished."""

Seen = Literal["copy", "partial", "not seen", "inconclusive"]


class Closest(Record):
    """The given image that follows a target most closely."""

    path: str
    """Its file."""
    id: str
    """First 16 digits of its SHA-256."""
    evidence: PairEvidence
    """Both legs, and where."""


class Sighting(Record):
    """What was seen of one target."""

    id: str
    """First 16 digits of its SHA-256."""
    path: str
    """Its file."""
    sha256: str
    """Of its file."""
    seen: Seen
    """A copy of at least four fifths of it, of part of it, neither, or no conclusion."""
    reason: str
    """In one sentence, with its numbers."""
    images: int
    """How many of the given images pass both thresholds with it."""
    p_value: float | Skipped
    """The larger of both legs', each of the closest image against the closest images of the decoys."""
    q_value: float | Skipped
    """Over the portfolio."""
    closest: Closest | Skipped
    """The image with the highest geometric score."""


class Sightings(Record):
    """All targets."""

    images_folder: str
    """Name of the folder with the given images."""
    images: int
    """How many could be read."""
    decoys: int
    """Pictures that nobody asked for, each compared with every image."""
    level: float
    """False discovery rate, and level of the thresholds."""
    thresholds: PairThresholds | Skipped
    """What the closest images of decoys reach."""
    sightings: list[Sighting]
    """One per target that could be read."""
    skipped: list[SkippedImage]
    """Images, targets and decoys that were not compared, with the reasons."""
    versions: dict[str, str]
    """Of what the numbers depend on."""

    def count(self, seen: Seen) -> int:
        """Count the targets."""
        return sum(one.seen == seen for one in self.sightings)


@dataclass(frozen=True)
class Subject:
    """A target or decoy, described once for all images."""

    target: Target
    """The file."""
    described: ImageFeatures
    """Its features."""


def describe(portfolio: Portfolio, skipped: list[SkippedImage]) -> Iterator[Subject]:
    """Those that can still be read; the others are added to `skipped`."""
    for target in portfolio.targets:
        try:
            yield Subject(target, ImageFeatures.of(_pixels(target)))
        except ImageError as error:
            skipped.append(SkippedImage(path=format_path(target.path), skipped=f"the file {error}"))


def _pixels(target: Target) -> torch.Tensor:
    return to_tensor(target.load().pixels)


class PairScores:
    """Scores of pairs, on disk as soon as an image is finished with: a killed command goes on behind the last one."""

    def __init__(self, folder: Path, subjects: Sequence[str], versions: Mapping[str, str]) -> None:
        """Raises RunFolderError when the folder holds scores of other subjects, or of other versions.

        subjects:  SHA-256 of targets and decoys
        versions:  of what scores depend on
        """
        self.path, self.subjects, self.versions = folder / PAIRS, list(subjects), dict(versions)
        self.rows: dict[str, dict[str, Legs]] = {}
        """By SHA-256 of the image, then of the subject."""
        if self.path.is_file():
            self._read()

    def _read(self) -> None:
        for line in self.path.read_bytes().splitlines():
            try:
                row = json.loads(line)
                held = {
                    name: Legs(geometric=pair[0], photometric=pair[1])
                    for name, pair in zip(row["subjects"], row["scores"], strict=True)
                }
                image, versions = str(row["image"]), row["versions"]
            except (ValueError, KeyError, TypeError, IndexError):
                # The line that a kill cut short, or a damaged one: its image is compared again.
                continue
            if versions != self.versions or held.keys() != set(self.subjects):
                raise RunFolderError(
                    f"{str(self.path)!r} holds scores of other targets or decoys, or of other versions of imgaudit "
                    "and opencv: continue it with the same ones, or name another --out"
                )
            self.rows[image] = held

    def add(self, image: str, scores: Sequence[Legs]) -> None:
        """All scores of one image, in the order of the subjects."""
        self.rows[image] = dict(zip(self.subjects, scores, strict=True))
        row = {
            "image": image, "versions": self.versions, "subjects": self.subjects,
            "scores": [[one.geometric, one.photometric] for one in scores],
        }  # fmt: skip
        with self.path.open("ab") as file:
            if file.tell():
                # A line that was cut short must not swallow this one.
                file.write(b"\n")
            file.write(json.dumps(row).encode())

    def closest(self, subject: str) -> tuple[str, Legs] | None:
        """The image with the highest geometric score with a subject; ties go to the higher photometric one."""
        pairs = [(image, row[subject]) for image, row in sorted(self.rows.items())]
        return max(pairs, key=lambda pair: (pair[1].geometric, pair[1].photometric), default=None)

    def passing(self, subject: str, thresholds: PairThresholds) -> int:
        """Images that exceed both thresholds with a subject."""
        return sum(thresholds.exceeded_by(row[subject]) for row in self.rows.values())


def look_for_targets(
    run: RunFolder,
    images: Portfolio,
    targets: Portfolio,
    decoys: Portfolio | None,
    *,
    folder: str,
    level: float,
    versions: Mapping[str, str],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Sightings:
    """Compare every image with every target and decoy, and conclude.

    A file among the decoys that is a target too is no decoy. Raises RunFolderError when the folder holds other scores.
    """
    skipped = [*images.skipped, *targets.skipped, *(decoys.skipped if decoys else [])]
    asked = list(describe(targets, skipped))
    own = {subject.target.image.sha256 for subject in asked}
    unasked = [one for one in describe(decoys, skipped) if one.target.image.sha256 not in own] if decoys else []
    subjects = [*asked, *unasked]
    scores = PairScores(run.path, [subject.target.image.sha256 for subject in subjects], versions)
    for done, image in enumerate(images.targets):
        on_progress(done, len(images.targets))
        if image.image.sha256 in scores.rows:
            continue
        try:
            described = ImageFeatures.of(_pixels(image))
        except ImageError as error:
            skipped.append(SkippedImage(path=format_path(image.path), skipped=f"the file {error}"))
            continue
        pairs = (compare_features(subject.described, described) for subject in subjects)
        scores.add(image.image.sha256, [Legs(geometric=p.geometric, photometric=p.photometric) for p in pairs])
    on_progress(len(images.targets), len(images.targets))
    given = {image.image.sha256: image for image in images.targets}
    return conclude_sightings(
        scores, asked, unasked, given, folder=folder, level=level, skipped=skipped, versions=versions
    )


def conclude_sightings(
    scores: PairScores,
    asked: Sequence[Subject],
    unasked: Sequence[Subject],
    images: Mapping[str, Target],
    *,
    folder: str,
    level: float,
    skipped: list[SkippedImage],
    versions: Mapping[str, str],
) -> Sightings:
    """From scores to what was seen.

    images:  by SHA-256
    """
    scores.rows = {image: row for image, row in scores.rows.items() if image in images}
    nulls = [pair[1] for one in unasked if (pair := scores.closest(one.target.image.sha256)) is not None]
    thresholds = fit_leg_thresholds(nulls, level, "decoys")
    p_values = {one.target.image.sha256: _p_value(scores, one, nulls) for one in asked}
    counting = [value for value in p_values.values() if not isinstance(value, Skipped)]
    corrected = iter(q_values(counting))
    sightings = []
    for subject in asked:
        p_value = p_values[subject.target.image.sha256]
        q_value = p_value if isinstance(p_value, Skipped) else next(corrected)
        plan = planner_line(len(nulls), len(counting), level)
        sightings.append(_sighting(subject, scores, images, thresholds, p_value, q_value, level, plan))
    return Sightings(
        images_folder=folder, images=len(scores.rows), decoys=len(nulls), level=level, thresholds=thresholds,
        sightings=sightings, skipped=skipped, versions=dict(versions),
    )  # fmt: skip


def _p_value(scores: PairScores, subject: Subject, nulls: Sequence[Legs]) -> float | Skipped:
    found = scores.closest(subject.target.image.sha256)
    if found is None:
        return Skipped(skipped="no image could be compared")
    if not nulls:
        return Skipped(skipped="no decoys: give --decoys DIR")
    return leg_p_value(found[1], nulls)


def _sighting(
    subject: Subject,
    scores: PairScores,
    images: Mapping[str, Target],
    thresholds: PairThresholds | Skipped,
    p_value: float | Skipped,
    q_value: float | Skipped,
    level: float,
    plan: str,
) -> Sighting:
    sha256 = subject.target.image.sha256
    closest = _closest(subject, scores, images)
    seen, reason = _seen(closest, thresholds, q_value, level, plan)
    return Sighting(
        id=subject.target.image.id, path=format_path(subject.target.path), sha256=sha256, seen=seen, reason=reason,
        images=0 if isinstance(thresholds, Skipped) else scores.passing(sha256, thresholds),
        p_value=p_value, q_value=q_value, closest=closest,
    )  # fmt: skip


def _closest(subject: Subject, scores: PairScores, images: Mapping[str, Target]) -> Closest | Skipped:
    found = scores.closest(subject.target.image.sha256)
    if found is None:
        return Skipped(skipped="no image could be compared")
    image = images[found[0]]
    try:
        evidence = compare_features(subject.described, ImageFeatures.of(_pixels(image)))
    except ImageError as error:
        return Skipped(skipped=f"the closest image {error}")
    return Closest(path=format_path(image.path), id=image.image.id, evidence=evidence)


def _seen(
    closest: Closest | Skipped,
    thresholds: PairThresholds | Skipped,
    q_value: float | Skipped,
    level: float,
    plan: str,
) -> tuple[Seen, str]:
    for missing in (closest, thresholds, q_value):
        if isinstance(missing, Skipped):
            return "inconclusive", f"No conclusion can be drawn: {missing.skipped}."
    assert not isinstance(closest, Skipped | None) and not isinstance(thresholds, Skipped)
    assert not isinstance(q_value, Skipped)
    evidence = closest.evidence
    kind = classify(evidence, thresholds)
    share = f"{evidence.region.area:.0%} of the target"
    if kind != "unrelated" and q_value <= level:
        what = "follows" if kind == "copy" else "contains a part that follows"
        return kind, (
            f"An image {what} {share}: {evidence.inliers} features in their places, q = {q_value:.3g} over the "
            "portfolio."
        )
    if kind != "unrelated":
        return "inconclusive", (
            f"An image agrees with {share} ({evidence.inliers} features in their places), but over the portfolio that "
            f"is not beyond chance (q = {q_value:.3g}): {plan.replace('controls', 'decoys')}."
        )
    return "not seen", f"None of the given images follows it more closely than decoys are followed (q = {q_value:.3g})."
