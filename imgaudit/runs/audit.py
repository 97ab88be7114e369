"""Audit a folder: order, chunks, resume, and the bookkeeping that every file given ends in exactly one finding.

Generating, deciding and rendering are separate: measurements go to records.jsonl as they finish, and everything else is
computed from the run folder, without the model.
"""

import torch
from safetensors.torch import save

from imgaudit.decision.near_duplicates import ImageSize, group_near_duplicates
from imgaudit.decision.null_bank import NullBank
from imgaudit.exceptions import CalibrationError, ImageError, RunFolderError
from imgaudit.index.near_duplicates import find_near_duplicates
from imgaudit.io.framing import to_batch
from imgaudit.io.portfolio import Portfolio
from imgaudit.io.screening import stack_thumbnails
from imgaudit.io.writing import write_atomically
from imgaudit.models.loading import LoadedModel
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.config import AuditConfig
from imgaudit.similarity.matcher import Matcher

MAX_DECOYS = 1000
"""Decoys beyond these add nothing that a coincidence p-value could show."""


def keep_bank(run: RunFolder, bank: NullBank) -> None:
    """Freeze a bank in a run before any target is scored; one that is damaged there is written again.

    Raises RunFolderError when the run holds another bank, which decided what to look into while it was measured.
    """
    if run.calibration_path.is_file():
        try:
            held = NullBank.read(run.calibration_path)
        except CalibrationError:
            held = bank
        if held != bank:
            raise RunFolderError(
                f"{str(run.path)!r} was begun with another null bank ({len(held.controls)} controls: {held.source}): "
                "continue it with that one, or name another --out"
            )
    bank.write(run.calibration_path)


def require_controls(run: RunFolder, controls: Portfolio) -> None:
    """Raises RunFolderError when the bank of a run holds images that are not among these controls."""
    held = {sha256 for source in NullBank.read(run.calibration_path).sources for sha256 in source.sha256s}
    if missing := held - {target.image.sha256 for target in controls.targets}:
        raise RunFolderError(
            f"{str(run.path)!r} was begun with other controls: {len(missing)} of its {len(held)} are not in the folder "
            "given; continue it with the same folder, or name another --out"
        )


def group_targets(portfolio: Portfolio) -> list[list[str]]:
    """Near-duplicates among the targets, representatives first, from thumbnails alone and before anything is scored.

    The portfolio must have been read with thumbnails.
    """
    if not portfolio.targets:
        return []
    thumbnails = stack_thumbnails([target.thumbnail for target in portfolio.targets])
    sizes = [ImageSize(target.image.id, target.image.width, target.image.height) for target in portfolio.targets]
    return group_near_duplicates(sizes, find_near_duplicates([size.id for size in sizes], thumbnails))


def save_decoys(run: RunFolder, decoys: Portfolio, model: LoadedModel, config: AuditConfig) -> None:
    """Describe images nobody asked for, as the model's autoencoder renders them; only vectors are kept.

    Decoys that can no longer be read are left out.
    """
    if run.decoys_path.is_file() or not decoys.targets:
        return
    denoiser, descriptor = model.denoiser, Matcher().deciding()
    vectors = []
    for start in range(0, min(len(decoys.targets), MAX_DECOYS), config.largest_batch):
        chunk = decoys.targets[start : min(start + config.largest_batch, MAX_DECOYS)]
        pixels = []
        for target in chunk:
            try:
                pixels.append(target.load().pixels)
            except ImageError:
                continue
        if pixels:
            framed = to_batch(pixels, denoiser.resolution, config.framing)
            vectors.append(torch.from_numpy(descriptor.describe(denoiser.decode(denoiser.encode(framed)))))
    if vectors:
        write_atomically(run.decoys_path, save({descriptor.name: torch.cat(vectors)}))
