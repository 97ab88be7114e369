"""Bounds on the files of a run, looked at before one is read: a run from elsewhere can hold any file.

Bounds follow from what the run says of itself, the number of its images and their resolution. So what reading it takes
is in proportion to the run that it claims to be.
"""

import re
import struct
from collections.abc import Iterator

from imgaudit.exceptions import RunFolderError, VerificationError
from imgaudit.io.framing import ORIGINAL_SIDE
from imgaudit.io.reading import FolderReader, open_regular
from imgaudit.io.writing import MAX_JSON_BYTES, MAX_PIECES_BYTES
from imgaudit.runs.evidence import EVIDENCE
from imgaudit.runs.folder import MAX_TENSOR_BYTES, RunFolder
from imgaudit.runs.inventory import Inventory

MIB = 2**20

MAX_RESOLUTION = 2048
"""Side of the pictures of a model, in pixels."""

MAX_RECORD_BYTES = 4 * MIB
"""Bytes of a line of records.jsonl."""

MAX_BANK_BYTES = 128 * MIB
"""Bytes of a null bank: that of some ten thousand controls."""

_IMAGE_FOLDER = re.compile(r"images/[^/]+/")

_PICTURE = re.compile(r"images/[^/]+/(target\.png|rendered\.png|original\.png|replicas/.*)", re.DOTALL)
"""Pictures of a run: all but the owner's are at the model's resolution."""

_SHOWN = 5
"""Files that are named when they are refused."""

_PNG_START = struct.Struct(">8sI4sII")


def require_small_files(inventory: Inventory) -> None:
    """Refuse files that are larger than a run with this many images has. Opens none.

    Raises VerificationError that names them.
    """
    images = len({found[0] for name in inventory.files if (found := _IMAGE_FOLDER.match(name))})
    most = 4096 * MIB + 256 * MIB * images
    if (total := sum(size for _, size in inventory.files.items())) > most:
        raise VerificationError(
            f"the run was not opened: its files have {total:,} bytes, and a run of {images} images has at most {most:,}"
        )
    bounds = _find_bounds(len(inventory.files), images)
    _refuse(
        f"{name!r:.200} has {size:,} bytes; at most {bound:,} are read"
        for name, size in inventory.files.items()
        if size > (bound := bounds.get(name) or _find_usual_bound(name))
    )


def require_small_contents(run: RunFolder, inventory: Inventory, resolution: int) -> None:
    """Refuse lines that are too long for a record, and pictures of other sizes than the model's.

    resolution:  side of the model's pictures, as the manifest says
    Only the header of a picture is read. Raises VerificationError that names the files.
    """
    if not 1 <= resolution <= MAX_RESOLUTION:
        raise VerificationError(
            f"'manifest.json' says that pictures have {resolution:,} pixels a side; at most {MAX_RESOLUTION:,} are read"
        )
    _refuse(_long_lines(run))
    with FolderReader(run.path) as reader:
        _refuse(
            f"{name!r:.200} {reason}"
            for name, size in inventory.files.items()
            if _PICTURE.fullmatch(name) and (reason := _refuse_picture(reader, name, size, resolution))
        )


def _find_bounds(files: int, images: int) -> dict[str, int]:
    """Return the most bytes that single files of a run may have.

    files, images:  numbers of files and of image folders in the run
    """
    in_pieces = {
        EVIDENCE: MIB + 1024 * files,
        "report.json": 16 * MIB + 64 * 1024 * images,
        "records.jsonl": 16 * MIB + 256 * 1024 * images,
    }
    return {name: min(bound, MAX_PIECES_BYTES) for name, bound in in_pieces.items()} | {
        "manifest.json": min(16 * MIB + 1024 * files, MAX_JSON_BYTES),
        "calibration.json": MAX_BANK_BYTES,
        "model_checks.json": MIB,
    }


def _find_usual_bound(name: str) -> int:
    """Return the most bytes that any other file may have."""
    if name.endswith(".safetensors"):
        return MAX_TENSOR_BYTES
    return 4 * MIB if name.startswith("images/") and name.endswith(".json") else MAX_JSON_BYTES


def _refuse(reasons: Iterator[str]) -> None:
    """Raise VerificationError when there is a reason."""
    found = []
    for reason in reasons:
        found.append(reason)
        if len(found) == _SHOWN:
            break
    if found:
        raise VerificationError(f"the run was not read further: {'; '.join(found)}")


def _long_lines(run: RunFolder) -> Iterator[str]:
    if not run.records_path.is_file():
        return
    with open_regular(run.records_path) as file:
        number = 0
        while line := file.readline(MAX_RECORD_BYTES + 1):
            number += 1
            if len(line) > MAX_RECORD_BYTES:
                yield f"line {number} of 'records.jsonl' has more than {MAX_RECORD_BYTES:,} bytes"
                return


def _refuse_picture(reader: FolderReader, name: str, size: int, resolution: int) -> str:
    """Return why a picture is not decoded, as the end of a sentence; empty for one that may be."""
    own = name.endswith("/original.png")
    side = ORIGINAL_SIDE if own else resolution
    # Noise does not shrink: three bytes a pixel, one a row, and headers.
    if size > (most := (3 * side + 1) * side * 101 // 100 + 65536):
        return f"has {size:,} bytes; a picture of {side} x {side} pixels has at most {most:,}"
    try:
        with reader.open(name) as file:
            beginning = file.read(_PNG_START.size)
    except (OSError, RunFolderError) as error:
        return f"cannot be read: {error}"
    if len(beginning) < _PNG_START.size:
        return "is no PNG"
    signature, _, kind, width, height = _PNG_START.unpack(beginning)
    if signature != b"\x89PNG\r\n\x1a\n" or kind != b"IHDR":
        return "is no PNG"
    if own:
        larger = max(width, height) > side
        return f"has {width:,} x {height:,} pixels; at most {side:,} a side are read" if larger else ""
    if (width, height) != (resolution, resolution):
        return f"has {width:,} x {height:,} pixels, and pictures of this model have {resolution} x {resolution}"
    return ""
