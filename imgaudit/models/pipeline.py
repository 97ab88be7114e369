"""From a folder that was inspected to a pipeline: every network of a known class, with every weight from its file."""

import copy
import importlib.util
import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, cast

import diffusers
import torch
import transformers
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.family import Component, Family
from imgaudit.models.files.inspection import AGAIN, read_json
from imgaudit.models.files.vocabularies import VOCABULARIES, refuse_pieces
from imgaudit.models.files.weights import Shapes, Weights
from imgaudit.models.guider import load_guider
from imgaudit.models.library_errors import refuse_errors
from imgaudit.models.scheduler import load_scheduler
from imgaudit.models.text_processor import TextProcessor

SLACK = 2**24
"""Numbers by which a network may exceed its file before it is refused unbuilt: so few take no room to speak of."""

MOST_NUMBERS = 2**38
"""Numbers of a network whose weights are not here; the largest that is published has 2^36."""

MOST_TENSORS = 100_000
"""Tensors of such a network."""

MAX_PROMPT_TOKENS = 10_000
"""Prompts that a tokenizer would pad to more tokens fill the memory; T5's are padded to 512."""

HARMLESS_IN_TEXT_ENCODERS = re.compile(
    # Older transformers saved the numbers of the positions, 0 to 76, which newer ones count themselves.
    r"(^|\.)position_ids$"
    # Whole CLIP models were saved where their text encoder was meant; no prompt passes through the rest.
    r"|^(vision_model|visual_projection)\.|^logit_scale$|^text_projection\.weight$"
    # T5 and language models were saved with what writes text, where only what reads it is used.
    r"|^decoder\.|^lm_head\.weight$"
)
"""Left-over weights of text encoders that take no part in generating images from text."""

HARMLESS = re.compile(r"^pos_embed\.pos_embed$")
"""Left-over weights of other networks: a table of positions, which newer diffusers compute from the size."""

OTHER_CONFIGURATION = "name the configuration of the same model with --model-config"
"""Advice where a single file has weights that its configuration does not describe: that may be another model's."""

LEFT_OVER = f"they would be left out, and another model than this one would be audited; {AGAIN}"
"""Advice where a folder has such weights: its configuration was changed, or something was added to the file."""

TRIAL_SIDE = 8
"""Side of the latents on which a model is tried out: the smallest that Stable Diffusion's four levels can halve."""


def load_pipeline(
    folder: Path,
    index: Mapping[str, Any],
    family: Family,
    weights: Mapping[str, Weights],
    dtype: torch.dtype,
    scheduler_options: Mapping[str, Any],
) -> Any:
    """Load the pipeline of a folder that was inspected; nothing outside it is read.

    index:   its model_index.json
    family:  the family of the pipeline that this names
    weights:  what its files of weights hold, by component
    Raises ModelRefusedError for weights that are missing or of another shape, and whatever the libraries raise.
    """
    # Their bars would draw over the command line's own, and cut captions are counted and reported by us.
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()
    parts: dict[str, Any] = dict.fromkeys(family.components)
    for name, component in family.present(index, "network").items():
        parts[name] = _load_network(component, folder / name, weights[name], dtype)
    for name, component in family.present(index, "tokenizer").items():
        parts[name] = load_tokenizer(component, folder / name, parts[component.text_encoder])
    for name, component in family.present(index, "scheduler").items():
        parts[name] = load_scheduler(component, folder / name, index[name][1], scheduler_options)
    for name in family.present(index, "guider"):
        parts[name] = load_guider(folder / name, index[name][1])
    return assemble(family, index, parts)


def assemble(family: Family, index: Mapping[str, Any], parts: Mapping[str, Any]) -> Any:
    """Return the pipeline of a family around its parts, with the switches of its model_index.json."""
    switches = {switch: index[switch] for switch in family.switches if switch in index}
    return getattr(diffusers, family.pipeline_class)(**parts, **family.arguments, **switches)


def _load_network(component: Component, folder: Path, weights: Weights, dtype: torch.dtype) -> Any:
    is_text_encoder = component.library == "transformers"
    network = getattr(transformers if is_text_encoder else diffusers, component.classes[0])
    expected = build_on_meta(network, folder, weights.shapes).state_dict()
    for key, weight in expected.items():
        if key in weights.shapes and weights.shapes[key] != weight.shape:
            raise _other_shape(folder.name, key, weights.shapes[key], weight.shape)
    if weights.load is not None and not is_text_encoder:
        _refuse_missing(folder.name, expected.keys() - weights.shapes.keys())
        _refuse_unexpected(folder.name, weights.shapes.keys() - expected.keys(), OTHER_CONFIGURATION)
        loaded = network.from_single_file(
            weights.load(), config=str(folder.parent), subfolder=folder.name, local_files_only=True, dtype=dtype
        )
    else:
        loaded = _from_pretrained(network, folder, weights, dtype, is_text_encoder)
    for key, weight in chain(loaded.named_parameters(), loaded.named_buffers()):
        if not bool(torch.isfinite(weight).all()):
            raise ModelRefusedError(f"{folder.name!r} has weights that are not finite (such as {key!r}); {AGAIN}")
    return loaded


def _from_pretrained(network: Any, folder: Path, weights: Weights, dtype: torch.dtype, is_text_encoder: bool) -> Any:
    options: dict[str, Any] = {"use_safetensors": True, "local_files_only": True}
    source: str | None = str(folder)
    if weights.load is not None:
        config = network.config_class.from_pretrained(folder, local_files_only=True)
        source, options = None, {"config": config, "state_dict": weights.load()}
    elif weights.variant:
        options["variant"] = weights.variant
    if is_text_encoder:
        # transformers raises without a name when shapes differ under other keys; what it reports is refused below.
        options["ignore_mismatched_sizes"] = True
    loaded, found = network.from_pretrained(source, dtype=dtype, output_loading_info=True, **options)
    # Both libraries only warn of missing weights, and one makes them up at random: another model would be audited.
    _refuse_missing(folder.name, found["missing_keys"])
    for key, there, expected in sorted(found["mismatched_keys"]):
        raise _other_shape(folder.name, key, there, expected)
    harmless = HARMLESS_IN_TEXT_ENCODERS if is_text_encoder else HARMLESS
    _refuse_unexpected(
        folder.name,
        [key for key in found["unexpected_keys"] if not harmless.search(key)],
        OTHER_CONFIGURATION if weights.load is not None else LEFT_OVER,
    )
    return loaded


def _refuse_missing(name: str, keys: Collection[str]) -> None:
    if keys:
        raise ModelRefusedError(
            f"{name!r} lacks {len(keys)} of the weights that its config.json describes (such as {min(keys)!r}); {AGAIN}"
        )


def _refuse_unexpected(name: str, keys: Collection[str], advice: str) -> None:
    if keys:
        raise ModelRefusedError(
            f"{name!r} has {len(keys)} weights that its config.json does not describe (such as {min(keys)!r:.99}): "
            f"{advice}"
        )


def _other_shape(name: str, key: str, there: Sequence[int], expected: Sequence[int]) -> ModelRefusedError:
    return ModelRefusedError(
        f"{name!r} has weights of another shape than its config.json describes (such as {key!r} is {tuple(there)}, not "
        f"{tuple(expected)}); {AGAIN}"
    )


def build_on_meta(network: Any, folder: Path, shapes: Shapes | None) -> torch.nn.Module:
    """Build a network without the memory of its weights; stops as soon as it is far larger than its file.

    network:  its class, of diffusers or transformers
    folder:   with its config.json
    shapes:   what its files of weights hold; None where they are not here, and then it stops beyond the largest models
    Raises ModelRefusedError for a configuration that describes no network, or one that is far too large.
    """
    held = MOST_NUMBERS if shapes is None else sum(math.prod(shape) for shape in shapes.values())
    most = MOST_TENSORS if shapes is None else 2 * len(shapes) + 1000
    count = numbers = 0

    def measure(module: torch.nn.Module, key: str, weight: torch.Tensor | None) -> None:
        nonlocal count, numbers
        count, numbers = count + 1, numbers + (weight.numel() if weight is not None else 0)
        if count > most or numbers > 2 * held + SLACK:
            told = (
                "than any that is known"
                if shapes is None
                else f"than its weights fill ({len(shapes):,} tensors of {held:,} numbers): they do not belong together"
            )
            raise ModelRefusedError(f"'{folder.name}/config.json' describes a far larger network {told}; {AGAIN}")

    hooks = register_module_parameter_registration_hook(measure), register_module_buffer_registration_hook(measure)
    try:
        with refuse_errors(f"'{folder.name}/config.json' describes no network that can be built"), torch.device("meta"):
            if issubclass(network, transformers.PreTrainedModel):
                return network(network.config_class.from_pretrained(folder, local_files_only=True))
            return cast(torch.nn.Module, network.from_config(read_json(folder / "config.json")))
    finally:
        for hook in hooks:
            hook.remove()


def load_tokenizer(component: Component, folder: Path, text_encoder: Any) -> Any:
    """Load the tokenizer of a folder that was inspected.

    text_encoder:  the network that its tokens go to; on the device "meta" is enough
    Raises ModelRefusedError for one that names too few tokens, or more than the text encoder knows.
    """
    name, vocabulary = folder.name, VOCABULARIES[component.classes[0]]
    readers = ("sentencepiece", "google.protobuf")
    if vocabulary.has_pieces and not (folder / "tokenizer.json").is_file() and not all(map(_is_there, readers)):
        raise ModelRefusedError(
            f"{name!r} has no tokenizer.json, and its spiece.model cannot be read without two libraries: pip install "
            "sentencepiece protobuf"
        )
    with refuse_errors(f"{name!r} cannot be loaded"):
        kind = getattr(transformers, component.loaded_as or component.classes[0])
        tokenizer = kind.from_pretrained(folder, local_files_only=True)
    named = {"beginning": tokenizer.bos_token_id, "end": tokenizer.eos_token_id, "padding": tokenizer.pad_token_id}
    if vocabulary.has_pieces:
        # What was made of a spiece.model has not been looked at before.
        refuse_pieces(folder, json.loads(tokenizer.backend_tokenizer.to_str()))
    if None in (named[token] for token in vocabulary.tokens):
        raise ModelRefusedError(f"{name!r} names no token for the {', the '.join(vocabulary.tokens)}; {AGAIN}")
    if vocabulary.names_length and component.names_length:
        _refuse_lengths(tokenizer, text_encoder, name)
    _refuse_tokens(tokenizer, text_encoder, name)
    return TextProcessor(tokenizer) if component.is_processor else tokenizer


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _refuse_lengths(tokenizer: Any, text_encoder: Any, name: str) -> None:
    # T5 knows distances between words, not their positions.
    positions = getattr(text_encoder.config, "max_position_embeddings", None)
    most = f"{MAX_PROMPT_TOKENS:,}" if positions is None else f"the {positions} positions of the text encoder"
    if not 3 <= tokenizer.model_max_length <= (positions or MAX_PROMPT_TOKENS):
        raise ModelRefusedError(
            f"'{name}/tokenizer_config.json' sets model_max_length to {tokenizer.model_max_length!s:.20}; expected a "
            f"number from 3 to {most}"
        )


def _refuse_tokens(tokenizer: Any, text_encoder: Any, name: str) -> None:
    words, largest = len(text_encoder.get_input_embeddings().weight), max(tokenizer.get_vocab().values(), default=0)
    if largest >= words:
        raise ModelRefusedError(f"{name!r} has a token {largest:,}, but the text encoder knows {words:,} only; {AGAIN}")


@torch.no_grad()
def try_out(denoiser: Any, family: Family) -> None:
    """Use every part of a model once, on the smallest input, so that it fails here and not amid an audit.

    Raises ModelRefusedError when a result is not finite, and whatever the libraries raise.
    """
    channels, side, _ = denoiser.latent_shape
    latents = torch.zeros(1, channels, *[min(side, TRIAL_SIDE)] * 2)
    condition = denoiser.condition(["a photograph"])
    images = denoiser.decode(latents)
    encoded = denoiser.encode(images)
    if images.shape[-1] != latents.shape[-1] * (denoiser.resolution // side) or encoded.shape != latents.shape:
        raise ModelRefusedError(f"'vae' makes other sizes of latents and images than its config.json says; {AGAIN}")
    conditions = [condition, denoiser.null_condition()] if denoiser.null_network_name else [condition]
    outputs = {
        " or ".join(family.text_encoders): torch.cat([stream.flatten().cpu() for stream in condition.streams.values()]),
        **{
            name: denoiser.predict(latents, torch.tensor([0]), one).output
            for name, one in zip(denoiser.networks, conditions, strict=True)
        },
        "vae": torch.cat([images.flatten(), encoded.flatten().cpu()]),
    }
    for name, output in outputs.items():
        if not bool(torch.isfinite(output).all()):
            raise ModelRefusedError(f"{name!r} gives values that are not finite; {AGAIN}, or try --device cpu")
    _try_schedule(copy.deepcopy(denoiser.pipeline.scheduler))
    denoiser.network_evaluations = 0


def _try_schedule(scheduler: Any) -> None:
    # Schedules that depend on an image's size are told how much to shift; any number will do.
    scheduler.set_timesteps(4, **({"mu": 1.0} if scheduler.config.get("use_dynamic_shifting") else {}))
    if hasattr(scheduler, "alphas_cumprod"):
        fits = (scheduler.timesteps >= 0) & (scheduler.timesteps < len(scheduler.alphas_cumprod))
    else:
        fits = (scheduler.timesteps >= 0) & (scheduler.timesteps <= scheduler.config.num_train_timesteps)
    if not bool(fits.all()):
        raise ModelRefusedError("'scheduler/scheduler_config.json' gives timesteps outside of the schedule")
