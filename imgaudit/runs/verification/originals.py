"""The owner's picture in a run against what was examined of it: its size, its hash, and target.png."""

from collections.abc import Iterator

import torch
from PIL import __version__ as pillow_version
from torch.nn.functional import adaptive_avg_pool2d

from imgaudit.io.framing import ORIGINAL_SIDE, find_frame, find_kept_size, frame_image, to_tensor
from imgaudit.io.pdq_hash import hash_whole_image
from imgaudit.io.writing import read_png
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.manifest import AuditManifest
from imgaudit.schema.records import Measurement

COARSE = 64
"""Side, in pixels, at which target.png is compared with what a reduced copy gives. The picture was framed at its own
size, and resampling twice is not the same as once: fine lines and noise differ, while means over areas hardly do."""

REDUCED = 0.05
"""Root mean square that the two may differ by there, for intensities in [0, 1]. The tests try noise and fine lines."""

OTHER_PILLOW = 0.01
"""The same for a picture at its own size, where another version of Pillow resampled it."""


def check_original(run: RunFolder, record: Measurement, manifest: AuditManifest, target: torch.Tensor) -> Iterator[str]:
    """Yield what contradicts an image's original.png; nothing for a record of a version that kept no such file.

    target:  target.png, (3, H, W) in [-1, 1]
    Raises RunFolderError for a picture that cannot be read.
    """
    path = run.image_folder(record.id) / "original.png"
    name = f"'images/{record.id}/original.png'"
    framing = manifest.protocol.framing
    if record.frame is None:
        if path.exists():
            yield f"{name} is there, but its record does not say which part of it was examined"
        return
    if min(record.width, record.height) < 1 or record.frame != find_frame(record.width, record.height, framing):
        yield f"the record of {record.id!r:.40} in 'records.jsonl' names another part of the picture than was examined"
        return
    original = read_png(path)
    reduced = max(record.width, record.height) > ORIGINAL_SIDE
    if original.size != find_kept_size(record.width, record.height):
        yield f"{name} has {original.width} x {original.height} pixels, which are not those of the record"
        return
    if not reduced and hash_whole_image(original) != record.pdq:
        yield f"{name} has another PDQ hash than records.jsonl says"
    framed = to_tensor(frame_image(original, manifest.model.resolution, record.frame.framing))
    difference = measure_coarse_difference(framed, target) if reduced else measure_difference(framed, target)
    same_pillow = manifest.versions.get("pillow") == pillow_version
    if difference > (REDUCED if reduced else 0.0 if same_pillow else OTHER_PILLOW):
        yield f"'images/{record.id}/target.png' is not what {name} gives when it is framed"


def measure_difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the root mean square of the difference of two (3, H, W) pictures in [-1, 1], for intensities in [0, 1]."""
    return float((one - other).square().mean().sqrt() / 2)


def measure_coarse_difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the same for the means over areas of both, 64 x 64 of them where the pictures have as many pixels."""
    side = min(COARSE, one.shape[-1])
    return measure_difference(adaptive_avg_pool2d(one, side), adaptive_avg_pool2d(other, side))
