"""Pruning: weights that a mask marks become zero, in a copy of the model on disk."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.executor import Executor
from imgaudit.exceptions import InputError
from imgaudit.io.writing import write_atomically
from imgaudit.mitigation.activations import ColumnNorms, TrajectorySettings, measure_column_norms
from imgaudit.mitigation.feed_forward import find_feed_forward_outputs
from imgaudit.mitigation.mask_file import MaskFacts, digest
from imgaudit.mitigation.wanda import Mask, build_wanda_mask, density
from imgaudit.mitigation.weight_layers import WeightLayer, find_weight_layers
from imgaudit.models.saving import require_new, save_folder


class PipelineDenoiser(Denoiser, Protocol):
    """A Denoiser around a pipeline that can be saved."""

    pipeline: Any
    """The diffusers pipeline."""
    network: Any
    """The part of it that denoises."""
    network_name: str
    """The pipeline's name for it."""

    @property
    def networks(self) -> Mapping[str, Any]:
        """The networks that predict, by the pipeline's names: two where another one predicts the null."""
        ...


def locate(
    denoiser: PipelineDenoiser,
    targets: Sequence[str],
    others: Sequence[str],
    *,
    sparsity: float,
    settings: TrajectorySettings,
    executor: Executor,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Mask, MaskFacts]:
    """The weights that target prompts use more than other prompts do.

    others:  prompts to compare with; none for the empty prompt, as often as there are targets (as published)
    Raises InputError without targets, ModelRefusedError for a network without feed-forward blocks.
    """
    if not targets:
        raise InputError("expected one or more prompts to locate with")
    compared = list(others) or [""] * len(targets)
    layers = find_feed_forward_outputs(denoiser.network)
    total = len(targets) + len(compared)

    def norms(prompts: Sequence[str], before: int) -> ColumnNorms:
        def advance(done: int, of: int) -> None:
            on_progress(before + done, total)

        return measure_column_norms(denoiser, layers, prompts, settings, executor=executor, on_progress=advance)

    mask = build_wanda_mask(layers, norms(targets, 0), norms(compared, len(targets)), sparsity)
    facts = MaskFacts(
        fingerprint=denoiser.fingerprint, sparsity=sparsity, trajectory=settings, targets_sha256=digest(list(targets)),
        targets=len(targets), references_sha256=digest(list(compared)), references=len(compared), density=density(mask),
    )  # fmt: skip
    return mask, facts


def prune(layers: Mapping[str, WeightLayer], mask: Mask) -> int:
    """Set marked weights to zero, in place, and return how many were not zero before.

    Raises InputError for a mask of other layers or shapes.
    """
    for name, one in mask.items():
        if name not in layers:
            raise InputError(f"the mask marks the layer {name!r:.200}, which this network does not have")
        if one.shape != (shape := layers[name].weight.flatten(1).shape):
            raise InputError(f"the mask of {name!r:.200} has the shape {tuple(one.shape)}, its weights {tuple(shape)}")
    changed = 0
    with torch.no_grad():
        for name, one in mask.items():
            weight = layers[name].weight
            marked = one.to(weight.device).view_as(weight)
            changed += int((weight[marked] != 0).sum())
            weight.masked_fill_(marked, 0.0)
    return changed


def prune_model(denoiser: PipelineDenoiser, mask: Mask, facts: MaskFacts, folder: Path, *, made_by: str) -> int:
    """Prune a model in memory and save it as a new folder; returns how many weights were changed.

    made_by:  how this came about, for the README beside the model
    Raises InputError for a mask of another model, or a folder that is not empty.
    """
    if facts.fingerprint != denoiser.fingerprint:
        raise InputError(
            f"the mask was made for the model {facts.fingerprint[:16]}, but this one is {denoiser.fingerprint[:16]}: "
            "locate again on this model"
        )
    require_new(folder)
    changed = prune(find_weight_layers(denoiser.network), mask)
    where = "of feed-forward blocks" if facts.method == "wanda" else "of the denoising network"
    save_changed(denoiser.pipeline, folder, f"{changed:,} weights {where} were set to zero: {made_by}.")
    return changed


def save_changed(pipeline: Any, folder: Path, what: str) -> None:
    """Save a model that is no longer the published one, and say so beside it."""
    save_folder(pipeline, folder)
    write_atomically(
        folder / "README.md",
        "# A changed model\n\n"
        f"{what}\n\n"
        "What its prompts no longer return may still be in its weights: audit it with inversion, and compare that run "
        "with one of the original (`imgaudit audit`, `imgaudit compare`).\n",
    )
