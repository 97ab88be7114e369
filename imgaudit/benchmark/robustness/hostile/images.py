"""A folder of images as strangers could send them: odd, damaged, lying, or not images at all.

Written anew for each run, from fixed seeds: nothing of it has to be stored, and no virus scanner finds it in a clone.
"""

from collections.abc import Callable
from pathlib import Path

from imgaudit.benchmark.robustness.hostile.bombs import put_bombs
from imgaudit.benchmark.robustness.hostile.damage import put_active, put_corrupt, put_not_images, put_truncated
from imgaudit.benchmark.robustness.hostile.folder import HostileFile, HostileFolder, Outcome
from imgaudit.benchmark.robustness.hostile.metadata import put_metadata
from imgaudit.benchmark.robustness.hostile.names import open_rights, put_links, put_names, put_special_files, put_twins
from imgaudit.benchmark.robustness.hostile.pictures import (
    put_depths,
    put_frames,
    put_high_range,
    put_inks,
    put_orientations,
    put_palettes_and_alpha,
    put_profiles,
    put_shapes,
    put_sound,
)

__all__ = ["HostileFile", "Outcome", "make_hostile_images", "open_rights"]

_PARTS: tuple[Callable[[HostileFolder], None], ...] = (
    put_sound, put_depths, put_inks, put_palettes_and_alpha, put_high_range, put_profiles, put_orientations,
    put_frames, put_shapes, put_truncated, put_not_images, put_active, put_corrupt, put_bombs, put_names, put_twins,
    put_links, put_special_files,
)  # fmt: skip


def make_hostile_images(folder: Path, marker: str, each: int | None = None) -> list[HostileFile]:
    """Write every kind of hostile file below an empty folder: one subfolder per kind.

    marker:  ASCII text that is planted wherever metadata can stand; it must not come out of an audit anywhere
    each:    files of each kind and expected outcome, apart from names and entries; None for all
    Gives one element for each entry that a recursive listing meets, apart from ordinary folders. What the system
    cannot hold (a device without root, a name that is not UTF-8 on macOS) is left out. Every picture that is expected
    to be measured is another picture. Delete the folder after :func:`open_rights`.
    """
    target = HostileFolder(folder)
    put_metadata(target, marker)
    for part in _PARTS:
        part(target)
    if each is not None:
        target.keep(each)
    return target.files
