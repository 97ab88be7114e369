"""From the files of a model to a Denoiser: inspected, loaded from safetensors or GGUF, and tried out."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.devices import (
    Offload,
    choose_device,
    compile_blocks,
    offload_networks,
    refuse_compile,
    refuse_offload,
    use_channels_last,
)
from imgaudit.models.families.registry import find_family
from imgaudit.models.files.claims import (
    read_claims,
    refuse_other_architecture,
    refuse_other_prediction,
    refuse_other_size,
)
from imgaudit.models.files.inspection import hash_model_files, model_fingerprint, read_model_index, refuse_unsafe
from imgaudit.models.files.source import bundled_lab, find_source, resolve_model
from imgaudit.models.files.vocabularies import refuse_tokenizers
from imgaudit.models.files.weights import refuse_unmerged_weights
from imgaudit.models.lora import Lora, fuse_lora, lora_fingerprint, read_lora
from imgaudit.schema.model_name import BUNDLED

__all__ = [
    "BUNDLED", "LoadedModel", "bundled_lab", "hash_model_files", "load_model", "model_fingerprint",
    "read_model_index", "resolve_model",
]  # fmt: skip

# The libraries read these when they are imported, which they first are in the functions below.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("DIFFUSERS_DISABLE_REMOTE_CODE", "1")


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to be audited, and what identifies it."""

    denoiser: Denoiser
    """The adapter."""
    name: str
    """The name that the user gave, and the LoRAs in it."""
    pipeline_class: str
    """diffusers class name."""
    files: Mapping[str, str]
    """Relative path of every weight and configuration file to its SHA-256."""
    revision: str = ""
    """The commit of a model from the hub, whatever branch was asked for; with a single file, its configuration's."""
    loras: Sequence[Lora] = ()
    """LoRAs that were fused into the weights, in this order."""
    variant: str = ""
    """Variant of the files of weights, such as fp16; "" for the plain ones."""
    config: str = ""
    """Source of the configuration of a single file."""
    quantised: str = ""
    """Kind of rounding of its weights, also in its name: it is another model than the one it was made from."""
    compiled: bool = False
    """True where its blocks are compiled, which changes numbers by rounding."""
    mitigation: str = ""
    """The mitigation that is applied while it is used; its weights are as they were."""
    notes: Sequence[str] = ()
    """Sentences for the user on files that contradict each other or hold more than is audited."""


def fingerprint_model(model: str, loras: Sequence[str] = (), *, variant: str = "", config: str = "") -> str:
    """Return the fingerprint of the model that `load_model` would load, from the SHA-256 of its files alone.

    The parameters are those of `load_model`. Raises ModelRefusedError as it does.
    """
    source = find_source(model, variant, config)
    index = read_model_index(source.folder)
    present = find_family(index["_class_name"]).present(index, "network")
    files = source.hash_files(source.find_weights(present, variant))
    return lora_fingerprint(model_fingerprint(files), [read_lora(text) for text in loras])


def load_model(
    model: str,
    device: str = "auto",
    loras: Sequence[str] = (),
    *,
    variant: str = "",
    config: str = "",
    offload: Offload = "none",
    compiled: bool = False,
) -> LoadedModel:
    """Load a model for auditing, from safetensors or GGUF only and without running any code it brings.

    loras:    FILE_OR_FOLDER[:WEIGHT] of what is fused into its weights; its fingerprint is another one then
    variant:  of the files of weights, such as fp16; by default the plain ones, or the only one that there is
    config:   folder or hub id of the configuration that a single file lacks; by default the one that diffusers takes
    offload:  which weights wait in main memory while the GPU does not need them: none, model or sequential
    compiled: whether torch compiles the network's repeated blocks, which takes a minute or so
    Raises ModelRefusedError with the reason and what to do: not found, unsupported class, pickled, damaged or missing
    weights, paths that leave the folder, parts that do not fit together, a LoRA of another model.
    """
    source = find_source(model, variant, config)
    folder, index = source.folder, read_model_index(source.folder)
    chosen = choose_device(device)
    refuse_offload(offload, chosen)
    if compiled:
        refuse_compile(chosen, offload)
    family = find_family(index["_class_name"])
    refuse_unsafe(folder, index, family)
    refuse_tokenizers(folder, index, family)
    refuse_unmerged_weights(folder)
    weights = source.find_weights(family.present(index, "network"), variant)
    added = [read_lora(text) for text in loras]
    files = source.hash_files(weights)

    from imgaudit.models.library_errors import refuse_errors
    from imgaudit.models.pipeline import load_pipeline, try_out
    from imgaudit.models.scheduler import settle_scheduler

    adapter = family.load_adapter()
    if offload == "sequential" and not adapter.offloads_layers:
        raise ModelRefusedError(
            f"--offload sequential cannot be used with models of {family.title}: their pipeline hands prompts to where "
            "the text encoder's weights wait; use --offload model"
        )
    claims = read_claims(next(path for path in weights[family.denoising_network].files if path.suffix != ".json"))
    refuse_other_architecture(claims, index["_class_name"])
    settled = settle_scheduler(folder / "scheduler", index["scheduler"][1], family.components["scheduler"], claims)
    with refuse_errors(f"{model!r} cannot be loaded"):
        dtype = torch.float32 if chosen.type == "cpu" else getattr(torch, family.half)
        pipeline = load_pipeline(folder, index, family, weights, dtype, settled.options)
        source.refuse_other_constants(pipeline)
    for lora in added:
        with refuse_errors(f"LoRA {str(lora.path)!r} cannot be applied"):
            fuse_lora(pipeline, lora)
    with refuse_errors(f"{model!r} cannot be loaded"):
        if chosen.type == "cuda":
            use_channels_last(pipeline)
        place = chosen if offload == "none" else torch.device("cpu")
        denoiser = adapter(pipeline, lora_fingerprint(model_fingerprint(files), added), place)
        if offload != "none":
            offload_networks(denoiser, offload, chosen)
    refuse_other_size(claims, denoiser.resolution)
    _refuse_loras_of_others(added, index["_class_name"], denoiser.prediction_type)
    with refuse_errors(f"{model!r} cannot be used, its parts do not fit together"):
        try_out(denoiser, family)
    if compiled:
        for network in denoiser.networks.values():
            compile_blocks(network)
        with refuse_errors("--compile failed; leave it out, or see that torch finds its compiler"):
            try_out(denoiser, family)
    quantised = source.checkpoint.quantised if source.checkpoint is not None else ""
    return LoadedModel(
        denoiser, _name(model, quantised, added), index["_class_name"], files, _commit(folder), tuple(added),
        max(one.variant for one in weights.values()), source.config, quantised, compiled,
        notes=[*source.list_notes(family), *claims.notes, *settled.notes, *family.notes],
    )  # fmt: skip


def _name(model: str, quantised: str, loras: Sequence[Lora]) -> str:
    """Return the name of a model in reports, with what makes it another one than the user named."""
    label = f" (quantised, {quantised}: another model than the one it was made from)" if quantised else ""
    return " + ".join([model + label, *(f"{lora.path.name} x {lora.weight:g}" for lora in loras)])


def _refuse_loras_of_others(loras: Sequence[Lora], pipeline_class: str, prediction_type: str) -> None:
    """Refuse LoRAs that say in their headers that they were trained on another kind of model: ModelRefusedError."""
    for lora in loras:
        claims = read_claims(lora.path)
        refuse_other_architecture(claims, pipeline_class, is_lora=True)
        refuse_other_prediction(claims, prediction_type)


def _commit(folder: Path) -> str:
    """Return the commit of a folder of the hub's cache, which is named after it; "" for any other."""
    named = folder.parent.name == "snapshots" and re.fullmatch("[0-9a-f]{40}", folder.name)
    return folder.name if named else ""
