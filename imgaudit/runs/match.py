"""Compare a portfolio with images that a hosted model made: is a target, or part of one, in any of them?

A hosted model gives no weights to audit, so that no seed can be repeated and no rate estimated. For every target, the
closest of the given images is compared with the closest images of decoys, unrelated images that were not asked for:
with D decoys the smallest p-value is 1 / (D + 1).
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from imgaudit.decision.controls_needed import describe_controls_needed
from imgaudit.decision.pair_nulls import fit_leg_thresholds, leg_p_value
from imgaudit.exceptions import ImageError, RunFolderError
from imgaudit.io.framing import to_tensor
from imgaudit.io.portfolio import Portfolio, Target
from imgaudit.io.reading import format_path
from imgaudit.io.writing import append_bytes, split_lines
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.match import ClosestImage, MatchResult, Seen, TargetMatch
from imgaudit.schema.pairs import PairThresholds, classify
from imgaudit.schema.records import Legs, Skipped, SkippedImage
from imgaudit.similarity.parts import ImageFeatures, compare_features
from imgaudit.statistics import q_values

PACKAGES = ("imgaudit", "opencv-python-headless", "numpy")
"""Packages that scores depend on."""

PAIRS = "pairs.jsonl"
"""Scores of every image with every target and decoy, as they are finished."""


@dataclass(frozen=True)
class DescribedImage:
    """A target or decoy, described once for all images."""

    target: Target
    """The file."""
    described: ImageFeatures
    """Its features."""


def describe(portfolio: Portfolio, skipped: list[SkippedImage]) -> Iterator[DescribedImage]:
    """Yield the images that can still be read with their features; the others are added to `skipped`."""
    for target in portfolio.targets:
        try:
            yield DescribedImage(target, ImageFeatures.of(_pixels(target)))
        except ImageError as error:
            skipped.append(SkippedImage(path=format_path(target.path), skipped=f"the file {error}"))


def _pixels(target: Target) -> torch.Tensor:
    return to_tensor(target.load().pixels)


class PairScores:
    """Scores of pairs, written after every image, so that a stopped command continues after the last one."""

    def __init__(self, folder: Path, subjects: Sequence[str], versions: Mapping[str, str]) -> None:
        """Open a folder's scores. Raises RunFolderError when they are of other subjects, or of other versions.

        subjects:  SHA-256 of targets and decoys
        versions:  of what scores depend on
        """
        self.path, self.subjects, self.versions = folder / PAIRS, list(subjects), dict(versions)
        self.rows: dict[str, dict[str, Legs]] = {}
        """By SHA-256 of the image, then of the subject."""
        self._read()

    def _read(self) -> None:
        for line in split_lines(self.path):
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
        """Keep all scores of one image, in the order of the subjects."""
        self.rows[image] = dict(zip(self.subjects, scores, strict=True))
        row = {
            "image": image, "versions": self.versions, "subjects": self.subjects,
            "scores": [[one.geometric, one.photometric] for one in scores],
        }  # fmt: skip
        append_bytes(self.path, json.dumps(row).encode() + b"\n")

    def closest(self, subject: str) -> tuple[str, Legs] | None:
        """Return the image with the highest geometric score with a subject; ties go to the higher photometric one."""
        pairs = [(image, row[subject]) for image, row in sorted(self.rows.items())]
        return max(pairs, key=lambda pair: (pair[1].geometric, pair[1].photometric), default=None)

    def passing(self, subject: str, thresholds: PairThresholds) -> int:
        """Count the images that exceed both thresholds with a subject."""
        return sum(thresholds.exceeded_by(row[subject]) for row in self.rows.values())


@dataclass(frozen=True)
class MatchInputs:
    """The images that are compared, and how the result is concluded."""

    images: Portfolio
    """Images that a model made."""
    targets: Portfolio
    """The owner's images."""
    decoys: Portfolio | None
    """Unrelated images, which the model was not asked for. A file that is a target too is no decoy."""
    images_folder: str
    """Name of the folder with the images."""
    level: float
    """False discovery rate, and level of the thresholds."""
    versions: Mapping[str, str]
    """Versions of the packages that scores depend on."""


def match_images(
    run: RunFolder, inputs: MatchInputs, *, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> MatchResult:
    """Compare every image with every target and decoy, and conclude. Images that the folder has scores of are read.

    Raises RunFolderError when the folder holds scores of other inputs.
    """
    images, targets, decoys = inputs.images, inputs.targets, inputs.decoys
    skipped = [*images.skipped, *targets.skipped, *(decoys.skipped if decoys else [])]
    asked = list(describe(targets, skipped))
    own = {subject.target.image.sha256 for subject in asked}
    unasked = [one for one in describe(decoys, skipped) if one.target.image.sha256 not in own] if decoys else []
    subjects = [*asked, *unasked]
    scores = PairScores(run.path, [subject.target.image.sha256 for subject in subjects], inputs.versions)
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
    return _conclude(inputs, scores, asked, unasked, skipped)


def _conclude(
    inputs: MatchInputs,
    scores: PairScores,
    asked: Sequence[DescribedImage],
    unasked: Sequence[DescribedImage],
    skipped: list[SkippedImage],
) -> MatchResult:
    """Decide every target from the scores.

    asked:    targets
    unasked:  decoys
    """
    images = {image.image.sha256: image for image in inputs.images.targets}
    scores.rows = {image: row for image, row in scores.rows.items() if image in images}
    nulls = [pair[1] for one in unasked if (pair := scores.closest(one.target.image.sha256)) is not None]
    thresholds = fit_leg_thresholds(nulls, inputs.level, "decoys")
    p_values = {one.target.image.sha256: _p_value(scores, one, nulls) for one in asked}
    counting = [value for value in p_values.values() if not isinstance(value, Skipped)]
    corrected = iter(q_values(counting))
    plan = describe_controls_needed(len(nulls), len(counting), inputs.level, kept_out=False)
    matches = []
    for subject in asked:
        sha256 = subject.target.image.sha256
        p_value = p_values[sha256]
        q_value = p_value if isinstance(p_value, Skipped) else next(corrected)
        closest = _closest(subject, scores, images)
        seen, reason = _seen(closest, thresholds, q_value, inputs.level, plan)
        matches.append(
            TargetMatch(
                id=subject.target.image.id, path=format_path(subject.target.path), sha256=sha256, seen=seen,
                reason=reason, images=0 if isinstance(thresholds, Skipped) else scores.passing(sha256, thresholds),
                p_value=p_value, q_value=q_value, closest=closest,
            )
        )  # fmt: skip
    return MatchResult(
        images_folder=inputs.images_folder, images=len(scores.rows), decoys=len(nulls), level=inputs.level,
        thresholds=thresholds, targets=matches, skipped=skipped, versions=dict(inputs.versions),
    )  # fmt: skip


def _p_value(scores: PairScores, subject: DescribedImage, nulls: Sequence[Legs]) -> float | Skipped:
    found = scores.closest(subject.target.image.sha256)
    if found is None:
        return Skipped(skipped="no image could be compared")
    if not nulls:
        return Skipped(skipped="no decoys: give --decoys DIR")
    return leg_p_value(found[1], nulls)


def _closest(subject: DescribedImage, scores: PairScores, images: Mapping[str, Target]) -> ClosestImage | Skipped:
    found = scores.closest(subject.target.image.sha256)
    if found is None:
        return Skipped(skipped="no image could be compared")
    image = images[found[0]]
    try:
        evidence = compare_features(subject.described, ImageFeatures.of(_pixels(image)))
    except ImageError as error:
        return Skipped(skipped=f"the closest image {error}")
    return ClosestImage(path=format_path(image.path), id=image.image.id, evidence=evidence)


def _seen(
    closest: ClosestImage | Skipped,
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
