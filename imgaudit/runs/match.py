"""Compare a portfolio with images that a hosted model made: is a target, or part of one, in any of them?

A hosted model gives no weights to audit, so that no seed can be repeated and no rate estimated. For every target, the
closest of the given images is compared with the closest images of decoys, unrelated images that were not asked for:
with D decoys the smallest p-value is 1 / (D + 1).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from imgaudit.decision.controls_needed import describe_controls_needed
from imgaudit.decision.match_rule import Closest, MatchRule
from imgaudit.exceptions import ImageError
from imgaudit.io.framing import to_tensor
from imgaudit.io.portfolio import Portfolio, Target
from imgaudit.io.reading import format_path
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.pair_scores import PairScores
from imgaudit.schema.match import ClosestImage, MatchResult, PairScore, Seen, TargetMatch
from imgaudit.schema.records import Skipped, SkippedImage
from imgaudit.similarity.parts import ImageFeatures, compare_features
from imgaudit.similarity.whole import WholePicture
from imgaudit.statistics import q_values

PACKAGES = ("imgaudit", "opencv-python-headless", "numpy")
"""Packages that scores depend on."""

NOT_COMPARED = Skipped(skipped="no image could be compared")
"""In place of numbers of a target where no given image could be read."""


@dataclass(frozen=True)
class DescribedImage:
    """An image, described once for all comparisons."""

    target: Target
    """The file."""
    features: ImageFeatures
    """Its local features."""
    whole: WholePicture
    """The whole picture."""

    @classmethod
    def of(cls, target: Target) -> "DescribedImage":
        """Read and describe a file. Raises ImageError when it can no longer be read."""
        pixels = to_tensor(target.load().pixels)
        return cls(target, ImageFeatures.of(pixels), WholePicture.of(pixels))

    def compare(self, image: "DescribedImage") -> PairScore:
        """Compare a target or decoy with a given image, in parts and as whole pictures."""
        parts = compare_features(self.features, image.features)
        return PairScore(
            geometric=parts.geometric, photometric=parts.photometric, **self.whole.compare(image.whole)._asdict()
        )  # fmt: skip


def describe(portfolio: Portfolio, skipped: list[SkippedImage]) -> Iterator[DescribedImage]:
    """Yield the images that can still be read with their features; the others are added to `skipped`."""
    for target in portfolio.targets:
        try:
            yield DescribedImage.of(target)
        except ImageError as error:
            skipped.append(SkippedImage(path=format_path(target.path), skipped=f"the file {error}"))


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
            described = DescribedImage.of(image)
        except ImageError as error:
            skipped.append(SkippedImage(path=format_path(image.path), skipped=f"the file {error}"))
            continue
        scores.add(image.image.sha256, [subject.compare(described) for subject in subjects])
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
    nulls = [closest for one in unasked if (closest := _find_closest(scores, one)) is not None]
    rule = MatchRule.fit(nulls, inputs.level)
    found = {one.target.image.sha256: _find_closest(scores, one) for one in asked}
    p_values = {name: NOT_COMPARED if own is None else rule.p_value(own) for name, own in found.items()}
    counting = [value for value in p_values.values() if not isinstance(value, Skipped)]
    corrected = iter(q_values(counting))
    plan = describe_controls_needed(len(nulls), len(counting), inputs.level, kept_out=False)
    matches = []
    for subject in asked:
        name = subject.target.image.sha256
        own, p_value = found[name], p_values[name]
        q_value = p_value if isinstance(p_value, Skipped) else next(corrected)
        by = "parts" if own is None else rule.choose(own)
        shown = _show_closest(subject, scores, images, by)
        if own is not None and by == "parts" and rule.finds_copy_of_whole(own.whole) and not _shows_copy(shown):
            # The image that is alike as a whole tells more than the one that has a part.
            by, shown = "whole", _show_closest(subject, scores, images, "whole")
        seen, reason = _seen(rule, own, shown, by, q_value, inputs.level, plan)
        matches.append(
            TargetMatch(
                id=subject.target.image.id, path=format_path(subject.target.path), sha256=name, seen=seen,
                reason=reason, images=sum(rule.finds(row[name]) for row in scores.rows.values()),
                p_value=p_value, q_value=q_value, closest=shown, by=by,
            )
        )  # fmt: skip
    return MatchResult(
        images_folder=inputs.images_folder, images=len(scores.rows), decoys=len(nulls), level=inputs.level,
        thresholds=rule.thresholds, whole_thresholds=rule.whole_thresholds, targets=matches, skipped=skipped,
        versions=dict(inputs.versions),
    )  # fmt: skip


def _find_closest(scores: PairScores, subject: DescribedImage) -> Closest | None:
    parts, whole = (find(subject.target.image.sha256) for find in (scores.closest, scores.most_alike))
    return None if parts is None or whole is None else Closest(parts[1], whole[1])


def _show_closest(
    subject: DescribedImage, scores: PairScores, images: Mapping[str, Target], by: Literal["parts", "whole"]
) -> ClosestImage | Skipped:
    """Compare the closest image once more, to say where it agrees."""
    find = scores.closest if by == "parts" else scores.most_alike
    found = find(subject.target.image.sha256)
    if found is None:
        return NOT_COMPARED
    image = images[found[0]]
    try:
        evidence = compare_features(subject.features, ImageFeatures.of(to_tensor(image.load().pixels)))
    except ImageError as error:
        return Skipped(skipped=f"the closest image {error}")
    return ClosestImage(
        path=format_path(image.path),
        id=image.image.id,
        evidence=evidence,
        similarity=found[1].similarity,
        worst_quarter=found[1].worst_quarter,
    )


def _seen(
    rule: MatchRule,
    own: Closest | None,
    closest: ClosestImage | Skipped,
    by: Literal["parts", "whole"],
    q_value: float | Skipped,
    level: float,
    plan: str,
) -> tuple[Seen, str]:
    """Conclude, with the reason."""
    for missing in (closest, rule.thresholds, q_value):
        if isinstance(missing, Skipped):
            return "inconclusive", f"No conclusion can be drawn: {missing.skipped}."
    assert own is not None and not isinstance(closest, Skipped) and not isinstance(q_value, Skipped)
    if not rule.finds_parts(own.parts) and not rule.finds_whole(own.whole):
        return "not seen", f"None of the given images follows it more closely than decoys are followed ({_q(q_value)})."
    if by == "parts":
        is_copy = _shows_copy(closest)
        what = _describe_parts(closest, is_copy=is_copy)
    else:
        is_copy = rule.finds_copy_of_whole(own.whole)
        what = _describe_whole(own.whole, is_copy=is_copy)
    if q_value <= level:
        return "copy" if is_copy else "partial", f"{what}; {_q(q_value)} over the portfolio."
    return "inconclusive", (
        f"{what}, but over the portfolio that is not beyond chance ({_q(q_value)}): "
        f"{plan.replace('controls', 'decoys')}."
    )


def _shows_copy(closest: ClosestImage | Skipped) -> bool:
    return not isinstance(closest, Skipped) and closest.evidence.is_whole


def _q(value: float) -> str:
    return f"q = {value:.3g}"


def _describe_parts(closest: ClosestImage, *, is_copy: bool) -> str:
    evidence = closest.evidence
    verb = "follows" if is_copy else "contains a part that follows"
    return f"An image {verb} {evidence.region.area:.0%} of the target: {evidence.inliers} features in their places"


def _describe_whole(score: PairScore, *, is_copy: bool) -> str:
    shown = "the whole target" if is_copy else "large parts of the target"
    return f"An image is like {shown}: the fine detail of both agrees at {score.similarity:.2f} (1 = equal)"
