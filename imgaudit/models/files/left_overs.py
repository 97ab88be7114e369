"""Tensors of a single file that no network reads: known to do nothing, checked, told to the user, or refused."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.files.claims import MARKERS
from imgaudit.models.files.inspection import quote

ALPHAS, SCALE = "alphas_cumprod", "scale_factor"
"""The schedule and the factor of latents that older training programs kept among the weights."""

CLOSE = 0.01
"""Largest difference between the schedule in a file and its configuration's that counts as none."""

HARMLESS = re.compile(
    # The same schedule in other forms, and weights of the loss, as CompVis's and Stability's programs saved them.
    r"^(betas|alphas_cumprod_prev|(sqrt_|log_)(one_minus_)?(recip_|recipm1_)?alphas_cumprod|posterior_\w+|lvlb_weights"
    r"|logvar|denoiser\.(sigmas|log_sigmas)|global_step|epoch)$"
    # Text encoders' parts for comparing texts with images, which no prompt passes through.
    r"|(^|\.)logit_scale$|^cond_stage_model\.text_projection$"
    # Loss of the autoencoder.
    r"|^(first_stage_model|vae)\.loss\."
)
"""Left-over tensors that take no part in generating images from text."""

AVERAGED = re.compile(r"^model_ema\.|(^|\.)ema_model\.")
"""Copies of the weights that were averaged over the training."""


def check_left_overs(path: Path, names: Sequence[str]) -> Iterator[str]:
    """Look through the tensors of a single file that no network reads, and yield what the user has to know of them.

    Raises ModelRefusedError for one that is not known to do nothing.
    """
    averaged = [name for name in names if AVERAGED.search(name)]
    if averaged:
        yield (
            f"{quote(path)} holds {_count(averaged)} of averaged weights (EMA) beside the plain ones; the plain "
            "ones are audited, as diffusers loads them"
        )
    known = {*averaged, *MARKERS, ALPHAS, SCALE}
    unknown = [name for name in names if name not in known and not HARMLESS.search(name)]
    if unknown:
        raise ModelRefusedError(
            f"{quote(path)} holds {_count(unknown)} that no part of its model reads (such as "
            f"{unknown[0]!r:.99}): they would be left out, and another model than this one would be audited"
        )


def _count(names: Sequence[str]) -> str:
    return f"{len(names):,} tensor{'s' if len(names) != 1 else ''}"


def refuse_other_constants(
    path: Path, held: dict[str, torch.Tensor], alphas: torch.Tensor | None, scale: float
) -> None:
    """Refuse a single file whose own schedule or factor of latents is not its configuration's: ModelRefusedError.

    held:    those of its tensors ALPHAS and SCALE that there are
    alphas:  the configuration's alphas_cumprod (T,); None for families without
    scale:   the autoencoder's scaling_factor
    """
    own = held.get(ALPHAS)
    if own is not None and alphas is not None:
        same = own.shape == alphas.shape
        difference = float((own.double() - alphas.double()).abs().max()) if same else 1.0
        if difference > CLOSE:
            told = (
                f"differs from it by up to {difference:.2g}"
                if same
                else f"has {own.numel():,} of {len(alphas):,} steps"
            )
            raise ModelRefusedError(
                f"{quote(path)} holds a schedule ({ALPHAS}) that is not the one of scheduler_config.json: it {told}; "
                "name a configuration of the same model with --model-config"
            )
    factor = held.get(SCALE)
    if factor is not None and factor.numel() == 1 and abs(float(factor) - scale) > CLOSE * abs(scale):
        raise ModelRefusedError(
            f"{quote(path)} says that latents are scaled by {float(factor):.5g} ({SCALE}), but the autoencoder's "
            f"config.json says {scale:.5g}; name a configuration of the same model with --model-config"
        )
