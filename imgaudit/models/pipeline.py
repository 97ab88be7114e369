"""From a folder that was inspected to a pipeline: every network of a known class, with every weight from its file."""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.schedulers import KarrasDiffusionSchedulers
from torch.nn.modules.module import register_module_parameter_registration_hook
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from imgaudit.exceptions import ImgauditError, ModelRefusedError
from imgaudit.models.inspection import AGAIN, read_json
from imgaudit.models.unet import DISTILLED_SCHEDULERS, UNetDenoiser
from imgaudit.models.weights import Shapes

SCHEDULERS = (
    *(scheduler.name for scheduler in KarrasDiffusionSchedulers),
    *DISTILLED_SCHEDULERS,
    "SASolverScheduler", "DDIMParallelScheduler", "DDPMParallelScheduler",
)  # fmt: skip
"""Classes that sample what Stable Diffusion was trained to denoise; diffusers has others, for other families."""

SLACK = 2**24
"""Numbers by which a network may exceed its file before it is refused unbuilt: so few take no room to speak of."""

TRIAL_SIDE = 8
"""Side of the latents on which a model is tried out: the smallest that Stable Diffusion's four levels can halve."""


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turn whatever the libraries raise on a stranger's files into ModelRefusedError with a message of one line."""
    try:
        yield
    except ImgauditError:
        raise
    except BaseException as error:
        # A panic in the tokenizers' or safetensors' Rust code is no Exception, and has no public name.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = "".join(letter if letter.isprintable() else " " for letter in str(error))
        raise ModelRefusedError(f"{what}: {type(error).__name__}: {' '.join(reason.split())[:400]}") from error


def load_pipeline(folder: Path, index: Mapping[str, Any], shapes: Mapping[str, Shapes], dtype: torch.dtype) -> Any:
    """The StableDiffusionPipeline of a folder that was inspected; nothing outside it is read.

    index:   its model_index.json
    shapes:  what its files of weights hold, by component
    Raises ModelRefusedError for weights that are missing or of another shape, and whatever the libraries raise.
    """
    # Their bars would draw over the command line's own, and cut captions are counted and reported by us.
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()
    networks = {
        name: _load_network(network, folder / name, shapes[name], dtype)
        for name, network in (("text_encoder", CLIPTextModel), ("unet", UNet2DConditionModel), ("vae", AutoencoderKL))
    }
    return StableDiffusionPipeline(
        **networks,
        tokenizer=_load_tokenizer(folder / "tokenizer", networks["text_encoder"]),
        scheduler=_load_scheduler(folder / "scheduler", index["scheduler"][1]),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _load_network(network: Any, folder: Path, shapes: Shapes, dtype: torch.dtype) -> Any:
    for key, weight in _outline(network, folder, shapes).items():
        if key in shapes and shapes[key] != weight.shape:
            raise _other_shape(folder.name, key, shapes[key], weight.shape)
    # transformers raises without a name when shapes differ under other keys; what it then reports is refused below.
    options = {"ignore_mismatched_sizes": True} if network is CLIPTextModel else {}
    loaded, found = network.from_pretrained(
        str(folder), dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True, **options
    )
    # Both libraries only warn of missing weights, and one makes them up at random: another model would be audited.
    if missing := sorted(found["missing_keys"]):
        raise ModelRefusedError(
            f"{folder.name!r} lacks {len(missing)} of the weights that its config.json describes (first: "
            f"{missing[0]!r}); {AGAIN}"
        )
    for key, there, expected in sorted(found["mismatched_keys"]):
        raise _other_shape(folder.name, key, there, expected)
    return loaded


def _other_shape(name: str, key: str, there: Sequence[int], expected: Sequence[int]) -> ModelRefusedError:
    return ModelRefusedError(
        f"{name!r} has weights of another shape than its config.json describes (first: {key!r} is {tuple(there)}, not "
        f"{tuple(expected)}); {AGAIN}"
    )


def _outline(network: Any, folder: Path, shapes: Shapes) -> Mapping[str, torch.Tensor]:
    """A network's weights without their memory; building it stops as soon as it is far larger than its file."""
    held = sum(math.prod(shape) for shape in shapes.values())
    count = numbers = 0

    def measure(module: torch.nn.Module, key: str, weight: torch.nn.Parameter | None) -> None:
        nonlocal count, numbers
        count, numbers = count + 1, numbers + (weight.numel() if weight is not None else 0)
        if count > 2 * len(shapes) + 1000 or numbers > 2 * held + SLACK:
            raise ModelRefusedError(
                f"'{folder.name}/config.json' describes a far larger network than its weights fill ({len(shapes):,} "
                f"tensors of {held:,} numbers): they do not belong together; {AGAIN}"
            )

    hook = register_module_parameter_registration_hook(measure)
    try:
        with refusing(f"'{folder.name}/config.json' describes no network that can be built"), torch.device("meta"):
            if network is CLIPTextModel:
                built = CLIPTextModel(CLIPTextConfig.from_pretrained(folder, local_files_only=True))
            else:
                built = network.from_config(read_json(folder / "config.json"))
            return cast(Mapping[str, torch.Tensor], built.state_dict())
    finally:
        hook.remove()


def _load_tokenizer(folder: Path, text_encoder: Any) -> CLIPTokenizer:
    with refusing("'tokenizer' cannot be loaded"):
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    length, positions = tokenizer.model_max_length, text_encoder.config.max_position_embeddings
    if not 3 <= length <= positions:
        raise ModelRefusedError(
            f"'tokenizer/tokenizer_config.json' sets model_max_length to {length!s:.20}; expected a number from 3 "
            f"to the {positions} positions of the text encoder"
        )
    words, largest = len(text_encoder.get_input_embeddings().weight), max(tokenizer.get_vocab().values(), default=0)
    if largest >= words:
        raise ModelRefusedError(
            f"'tokenizer' has a token {largest:,}, but the text encoder knows {words:,} only; {AGAIN}"
        )
    if None in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id):
        raise ModelRefusedError(f"'tokenizer' names no token for the beginning, the end or padding; {AGAIN}")
    return tokenizer


def _load_scheduler(folder: Path, class_name: str) -> Any:
    if class_name not in SCHEDULERS:
        raise ModelRefusedError(
            f"component 'scheduler' is {class_name!r:.80}; this version audits those with {', '.join(SCHEDULERS)}"
        )
    with refusing("'scheduler' cannot be loaded"):
        scheduler = getattr(diffusers, class_name).from_pretrained(folder, local_files_only=True)
    alphas = getattr(scheduler, "alphas_cumprod", None)
    if not isinstance(alphas, torch.Tensor):
        raise ModelRefusedError(f"{class_name} has no schedule of alphas, which Stable Diffusion was trained with")
    if not bool(((alphas >= 0) & (alphas <= 1)).all()):
        raise ModelRefusedError(f"'scheduler/scheduler_config.json' gives alphas that are not between 0 and 1; {AGAIN}")
    return scheduler


@torch.no_grad()
def try_out(denoiser: UNetDenoiser) -> None:
    """Use every part of a model once, on the smallest input, so that it fails here and not amid an audit.

    Raises ModelRefusedError when what comes out is not finite, and whatever the libraries raise.
    """
    channels, side, _ = denoiser.latent_shape
    latents = torch.zeros(1, channels, *[min(side, TRIAL_SIDE)] * 2)
    condition = denoiser.condition(["a photograph"])
    images = denoiser.decode(latents)
    outputs = {
        "text_encoder": condition.streams["text"],
        "unet": denoiser.predict(latents, torch.tensor([0]), condition).output,
        "vae": torch.cat([images.flatten(), denoiser.encode(images).flatten().cpu()]),
    }
    for name, output in outputs.items():
        if not bool(torch.isfinite(output).all()):
            raise ModelRefusedError(f"{name!r} gives values that are not finite; {AGAIN}, or try --device cpu")
    scheduler = copy.deepcopy(denoiser.pipeline.scheduler)
    scheduler.set_timesteps(4)
    if not bool(((scheduler.timesteps >= 0) & (scheduler.timesteps < len(scheduler.alphas_cumprod))).all()):
        raise ModelRefusedError("'scheduler/scheduler_config.json' gives timesteps outside of the schedule")
    denoiser.network_evaluations = 0
