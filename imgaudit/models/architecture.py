"""A network's architecture: the sizes it can have, and what is published of networks of the same shape.

A configuration file may say anything, but the shapes of the weights say which network it is. What else was published of
a network of this shape (size, schedule, kind of prediction, constants) is compared with what the files say.
"""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import diffusers

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.model_checks.images import make_check
from imgaudit.diffusion.model_checks.sizes import choose_neighbours
from imgaudit.diffusion.schedules import NoiseSchedule
from imgaudit.models.families.latent import DISTILLED_SCHEDULERS, LatentDenoiser
from imgaudit.models.published import PublishedComponent, PublishedModel, read_published_models
from imgaudit.schema.model_checks import ModelCheck

SHAPE_KEYS = (
    "in_channels", "out_channels", "block_out_channels", "layers_per_block", "down_block_types", "up_block_types",
    "cross_attention_dim", "transformer_layers_per_block", "addition_embed_type", "use_linear_projection",
    "projection_class_embeddings_input_dim", "num_layers", "num_single_layers", "joint_attention_dim",
    "pooled_projection_dim", "caption_projection_dim", "caption_channels", "num_cross_attention_heads", "patch_size",
    "guidance_embeds", "dual_attention_layers", "pos_embed_max_size", "latent_channels", "dim", "n_layers",
    "n_refiner_layers", "cap_feat_dim", "intermediate_size", "text_hidden_dim", "num_text_layers",
)  # fmt: skip
"""Keys of a network's configuration that its weights' shapes follow from: none can be changed without being refused."""

CONSTANT_KEYS = (
    "norm_eps", "norm_num_groups", "act_fn", "flip_sin_to_cos", "freq_shift", "attention_head_dim",
    "num_attention_heads", "center_input_sample", "mid_block_scale_factor", "resnet_out_scale_factor",
    "resnet_time_scale_shift", "interpolation_scale", "scaling_factor", "shift_factor", "latents_mean", "latents_std",
    "n_heads", "t_scale", "rope_theta", "batch_norm_eps",
)  # fmt: skip
"""Keys that change what a network does while its weights still fit."""

OTHER_SIZES: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "Stable Diffusion 2.1": (64,),
        "Stable Diffusion XL": (64,),
        "AuraFlow": (128,),
        "PixArt-alpha XL 2 1024": (32, 64),
        "PixArt-Sigma XL 2 1024": (32, 64, 256),
        "Sana 1.6B 1024": (16, 64, 128),
    }
)
"""Sides of latents of published relatives of the same shape: 2.1 base; SDXL Turbo; AuraFlow at its pipeline's own size;
PixArt-alpha of 256 and 512 pixels, PixArt-Sigma of 256, 512 and 2048; Sana of 512, 2048 and 4096 pixels."""

PREDICTIONS = ("epsilon", "v_prediction")
"""Kinds of output of published UNets; which of them a network has is measured by its denoising error."""

CLOSE = 0.01
"""Largest difference between a schedule's alphas_cumprod and the published one's that counts as none."""


@dataclass(frozen=True)
class Architecture:
    """What the shape of a network says."""

    other_sides: tuple[int, ...] = ()
    """Sides of latents that the network may have been trained on, besides the declared one."""
    few_steps: bool = False
    """True where the scheduler is one of models that sample in a few steps."""
    checks: tuple[ModelCheck, ...] = ()
    """What was found."""


def check_architecture(denoiser: Denoiser) -> Architecture:
    """Compare a model's configuration with its shape, and with what is published of this shape."""
    if not isinstance(denoiser, LatentDenoiser):
        return Architecture()
    side, multiple = denoiser.latent_shape[1], _find_multiple(denoiser.network.config)
    checks = [
        make_check(
            "remainder of the declared size", float(side % multiple),
            f"the network needs latents with a side that is a multiple of {multiple}, but sample_size in its "
            f"config.json makes it {side}", high=0.0,
        )
    ]  # fmt: skip
    sides: Sequence[int] = choose_neighbours(side, multiple)
    if (published := find_published(denoiser)) is not None:
        sizes = _published_sizes(published, denoiser)
        checks += [*_check_sizes(side, sizes, published), *_check_constants(denoiser, published)]
        checks += _check_schedule(denoiser, published)
        sides = [other for other in sizes if other != side]
    few_steps = type(denoiser.pipeline.scheduler).__name__ in DISTILLED_SCHEDULERS
    return Architecture(tuple(sides), few_steps, tuple(checks))


def _find_multiple(config: Mapping[str, Any]) -> int:
    """Return the side of latents that a network makes one number of: a UNet by halving, a transformer by patches."""
    if "block_out_channels" in config and "down_block_types" in config:
        return int(2 ** (len(config["block_out_channels"]) - 1))
    patch = config.get("patch_size", 1)
    return patch if isinstance(patch, int) and patch > 0 else 1


def find_published(denoiser: LatentDenoiser) -> PublishedModel | None:
    """Return the published model whose network has the same shape, or None."""
    pipeline_class = type(denoiser.pipeline).__name__
    for model in read_published_models():
        part = model.components.get(denoiser.network_name)
        if (
            model.is_compared
            and model.pipeline_class == pipeline_class
            and part
            and _same_shape(denoiser.network, part)
        ):
            return model
    return None


def _same_shape(network: Any, part: PublishedComponent) -> bool:
    if type(network).__name__ != part.class_name:
        return False
    published = _with_defaults(part)
    return all(_plain(network.config.get(key)) == _plain(published.get(key)) for key in SHAPE_KEYS)


def _with_defaults(part: PublishedComponent) -> dict[str, Any]:
    """Return a published configuration with the defaults of its class."""
    parameters = inspect.signature(getattr(diffusers, part.class_name).__init__).parameters
    defaults = {name: one.default for name, one in parameters.items() if one.default is not inspect.Parameter.empty}
    return {**defaults, **part.config}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def _published_sizes(model: PublishedModel, denoiser: LatentDenoiser) -> list[int]:
    own = _with_defaults(model.components[denoiser.network_name]).get("sample_size")
    return [side for side in (own, *OTHER_SIZES.get(model.name, ())) if isinstance(side, int)]


def _check_sizes(side: int, sizes: Sequence[int], model: PublishedModel) -> Iterable[ModelCheck]:
    # Networks without a size of their own, such as FLUX, are given one by their pipeline.
    if sizes:
        nearest = min(sizes, key=lambda size: abs(size - side))
        yield make_check(
            "size against the published one", float(side),
            f"latents are {side} x {side}, and a network of this shape ({model.name}) was published for "
            f"{' or '.join(f'{size} x {size}' for size in sizes)}; see sample_size in the network's config.json",
            float(nearest), float(nearest),
        )  # fmt: skip


def _check_constants(denoiser: LatentDenoiser, model: PublishedModel) -> Iterable[ModelCheck]:
    differing = []
    for name in (*denoiser.networks, "vae"):
        part, network = model.components.get(name), getattr(denoiser.pipeline, name)
        if part is None or not _same_shape(network, part):
            continue
        published = _with_defaults(part)
        for key in CONSTANT_KEYS:
            own, theirs = _plain(network.config.get(key)), _plain(published.get(key))
            if key in published and own != theirs:
                differing.append(f"{name} {key} is {own!r:.60}, published as {theirs!r:.60}")
    told = "; ".join(differing) or "all constants are as published"
    yield make_check("constants that differ from the published ones", float(len(differing)), told, high=0.0)


def _check_schedule(denoiser: LatentDenoiser, model: PublishedModel) -> Iterable[ModelCheck]:
    if not isinstance(denoiser.schedule, NoiseSchedule):
        return
    part = model.components["scheduler"]
    schedules = [
        getattr(diffusers, part.class_name)(**{**part.config, **rescaled}).alphas_cumprod.double()
        for rescaled in ({}, {"rescale_betas_zero_snr": True})
    ]
    own = denoiser.schedule.alphas_cumprod
    difference = min(
        float((own - published).abs().max()) if own.shape == published.shape else 1.0 for published in schedules
    )
    yield make_check(
        "schedule against the published one", difference,
        f"alphas_cumprod differs by up to {difference:.2g} from that published for this network ({model.name}); see "
        "betas and num_train_timesteps in scheduler_config.json", high=CLOSE,
    )  # fmt: skip
    unknown = denoiser.prediction_type not in PREDICTIONS
    yield make_check(
        "prediction type that was never published", float(unknown),
        f"prediction_type is {denoiser.prediction_type!r} in scheduler_config.json, and networks of this shape were "
        f"published with {' or '.join(PREDICTIONS)}", high=0.0,
    )  # fmt: skip
