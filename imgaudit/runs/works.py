"""Works: near copies are one, and so are the images of a series that the user declared.

They are told before anything is measured: by thumbnails (`imgaudit.index.near_duplicates`), by the PDQ hashes of the
whole images, and by the folders that the user put them into. No score has a part in it.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from imgaudit.decision.controls_needed import describe_works
from imgaudit.decision.near_duplicates import ImageSize, group_works, label_near_hashes
from imgaudit.exceptions import ImageError, InputError
from imgaudit.index.near_duplicates import find_near_duplicates
from imgaudit.io.pdq_hash import hash_whole_image
from imgaudit.io.portfolio import Portfolio, Target
from imgaudit.io.reading import format_path
from imgaudit.io.screening import make_thumbnail, stack_thumbnails
from imgaudit.schema.config import Series
from imgaudit.schema.protocol import Framing
from imgaudit.schema.records import SkippedImage


def group_targets(portfolio: Portfolio, series: Series = Series.NONE) -> list[list[str]]:
    """Group the ids of images that are one work, each group with its representative first; single works are left out.

    Images that were read without thumbnails are read once more.
    """
    looked_at = [one for target in portfolio.targets if (one := _look_at(target, portfolio)) is not None]
    if not looked_at:
        return []
    sizes = [ImageSize(one.image.id, one.image.width, one.image.height) for one in looked_at]
    ids = [size.id for size in sizes]
    alike = find_near_duplicates(ids, stack_thumbnails([one.thumbnail for one in looked_at]))
    hashed = label_near_hashes([one.pdq for one in looked_at]).tolist()
    together = [_gather(ids, hashed)]
    if series is Series.FOLDERS:
        together.append(_gather(ids, [_find_series(one, portfolio) or one.image.id for one in looked_at]))
    return group_works(sizes, alike, [group for groups in together for group in groups])


def keep_works(portfolio: Portfolio, series: Series = Series.NONE) -> Portfolio:
    """Return the portfolio with the representative of every work; the others are named in its `same_works`."""
    targets = {target.image.id: target for target in portfolio.targets}
    same = dict(portfolio.same_works)
    for lead, *others in group_targets(portfolio, series):
        said = f"looks like {format_path(targets[lead].path)}, which is measured; counted as one work"
        for name in others:
            other = targets.pop(name)
            same[other.image.sha256] = SkippedImage(path=format_path(other.path), skipped=said)
    return replace(portfolio, targets=list(targets.values()), same_works=same)


def count_works(portfolio: Portfolio, series: Series = Series.NONE) -> int:
    """Return how many works the images of a portfolio show."""
    return len(portfolio.targets) - sum(len(group) - 1 for group in group_targets(portfolio, series))


def describe_same_works(portfolio: Portfolio, what: str) -> Iterator[str]:
    """Yield one sentence on the files that `keep_works` left out, if there are any.

    what:  word for the images: "control" or "decoy"
    """
    if portfolio.same_works:
        works = len(portfolio.targets)
        first = min(portfolio.same_works.values(), key=lambda one: one.path)
        yield (
            f"{describe_works(works + len(portfolio.same_works), works, what)}; one of each is measured "
            f"(such as {first.path}: {first.skipped})"
        )


@dataclass(frozen=True)
class SharedWorks:
    """Controls that are images to audit, or near copies of them: such controls count for nothing."""

    same: int
    """Controls that are the same files."""
    near: int
    """Controls that are near copies."""
    left: Portfolio
    """The other controls."""

    @property
    def count(self) -> int:
        """Controls that count for nothing."""
        return self.same + self.near

    def describe(self) -> str:
        """Return a sentence that says how many controls are left; empty where all of them count."""
        if not self.count:
            return ""
        left, how = len(self.left.targets), _describe_shared(self.same, self.near)
        return (
            f"{self.count} of {self.count + left} controls are images to audit ({how}): a control must not be one of "
            f"your targets, so they will not count, and {left} "
            f"{'is' if left == 1 else 'are'} left; give other images in their place"
        )

    def require_others(self) -> None:
        """Refuse controls of which none is left. Raises InputError."""
        if self.count and not self.left.targets:
            raise InputError(
                f"every control is an image to audit ({_describe_shared(self.same, self.near)}), so "
                f"none is left to compare with. {OTHER_CONTROLS}"
            )


OTHER_CONTROLS = (
    "Controls have to be other images, which cannot have been in the training set, such as works of yours that were "
    "never published. Nothing was measured. Give a folder of such images, or none"
)
"""The way out where no control counts."""


def find_shared_works(portfolio: Portfolio, controls: Portfolio) -> SharedWorks:
    """Find the controls that are targets, or near copies of them."""
    targets = {target.image.sha256 for target in portfolio.targets}
    others = [target for target in controls.targets if target.image.sha256 not in targets]
    groups = group_targets(replace(portfolio, targets=[*portfolio.targets, *others]))
    mine, theirs = {one.image.id for one in portfolio.targets}, {one.image.id for one in others}
    near = theirs & {name for group in groups if mine & {*group} for name in group}
    left = [target for target in others if target.image.id not in near]
    return SharedWorks(len(controls.targets) - len(others), len(near), replace(controls, targets=left))


def require_other_files(portfolio: Portfolio, controls: Collection[str]) -> None:
    """Refuse controls that are all the same files as targets, given by SHA-256. Raises InputError."""
    if controls and {target.image.sha256 for target in portfolio.targets}.issuperset(controls):
        raise InputError(
            f"every control is an image to audit ({_describe_shared(len(controls), 0)}), so none is left "
            f"to compare with. {OTHER_CONTROLS}"
        )


def _describe_shared(same: int, near: int) -> str:
    files, copies = "1 the same file" if same == 1 else f"{same} the same files", "copy" if near == 1 else "copies"
    return f"{files}, {near} near {copies}"


def _gather(ids: Sequence[str], labels: Sequence[int | str]) -> list[list[str]]:
    """Return the ids that share a label, group by group."""
    groups: dict[int | str, list[str]] = {}
    for name, label in zip(ids, labels, strict=True):
        groups.setdefault(label, []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _find_series(target: Target, portfolio: Portfolio) -> str | None:
    """Return the subfolder, directly in the portfolio's folder, that an image lies in; None for one in no subfolder."""
    if portfolio.folder is None:
        raise InputError("series = folders needs images that were read from a folder, by imgaudit.read_portfolio")
    name, *below = target.path.relative_to(portfolio.folder).parts
    return f"folder {name}" if below else None


def _look_at(target: Target, portfolio: Portfolio) -> Target | None:
    """Return a target with its thumbnail and hash; None when its file can no longer be read."""
    if target.thumbnail:
        return target
    try:
        pixels = target.load().pixels
    except ImageError:
        return None
    thumbnail = make_thumbnail(pixels, portfolio.framing or Framing.CROP_OR_PAD)
    return replace(target, thumbnail=thumbnail, pdq=hash_whole_image(pixels))
