"""The owner's picture in a run against what was examined of it: its size, its hash, and target.png."""

from collections.abc import Iterator

import torch
from PIL import __version__ as pillow_version

from imgaudit.io.framing import ORIGINAL_SIDE, find_frame, frame_image, to_tensor
from imgaudit.io.pdq_hash import hash_whole_image
from imgaudit.io.writing import read_png
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.manifest import AuditManifest
from imgaudit.schema.records import Measurement

REDUCED = 0.06
"""Root mean square by which target.png may differ from what a reduced copy gives, for intensities in [0, 1]: the
picture was framed at its own size, and resampling twice is not the same as once. Set before any comparison."""

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
    if original.size != _kept_size(record.width, record.height):
        yield f"{name} has {original.width} x {original.height} pixels, which are not those of the record"
        return
    if not reduced and hash_whole_image(original) != record.pdq:
        yield f"{name} has another PDQ hash than records.jsonl says"
    framed = to_tensor(frame_image(original, manifest.model.resolution, record.frame.framing))
    difference = float((framed - target).square().mean().sqrt() / 2)
    same_pillow = manifest.versions.get("pillow") == pillow_version
    if difference > (REDUCED if reduced else 0.0 if same_pillow else OTHER_PILLOW):
        yield f"'images/{record.id}/target.png' is not what {name} gives when it is framed"


def _kept_size(width: int, height: int) -> tuple[int, int]:
    """Return the size of the copy of a picture; see `imgaudit.io.framing.copy_original`."""
    longest = max(width, height)
    if longest <= ORIGINAL_SIDE:
        return width, height
    return max(1, round(width * ORIGINAL_SIDE / longest)), max(1, round(height * ORIGINAL_SIDE / longest))
