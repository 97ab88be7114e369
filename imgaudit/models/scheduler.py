"""The scheduler of a pipeline: of a known class, with every setting that it is given, and as the weights say."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.schedulers import KarrasDiffusionSchedulers

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.family import Component
from imgaudit.models.families.latent import DISTILLED_SCHEDULERS
from imgaudit.models.files.claims import Claims
from imgaudit.models.files.inspection import AGAIN, read_json
from imgaudit.models.library_errors import refuse_errors

SCHEDULERS = (
    *(scheduler.name for scheduler in KarrasDiffusionSchedulers),
    *DISTILLED_SCHEDULERS,
    "SASolverScheduler", "DDIMParallelScheduler", "DDPMParallelScheduler",
)  # fmt: skip
"""Classes that sample what Stable Diffusion was trained to denoise; diffusers has others, for other families."""

TRAINED = (
    "beta_end", "beta_schedule", "beta_start", "num_train_timesteps", "prediction_type", "rescale_betas_zero_snr",
    "trained_betas",
)  # fmt: skip
"""Settings that say how the model was trained. A class that lacks one would leave it out without a word."""

ZERO_SNR = "rescale_betas_zero_snr"
"""Setting by which the schedule ends in pure noise (Lin et al. 2023, arXiv 2305.08891)."""


@dataclass(frozen=True)
class SchedulerSettings:
    """What is loaded in place of a part of scheduler_config.json, and what the user is told."""

    options: Mapping[str, Any] = field(default_factory=dict)
    """Settings that the file of weights gives, by name."""
    notes: Sequence[str] = ()
    """Sentences for the user."""


def settle_scheduler(folder: Path, class_name: str, component: Component, claims: Claims) -> SchedulerSettings:
    """Decide between a scheduler's configuration and what the weights say of themselves.

    folder:      of scheduler_config.json
    class_name:  as model_index.json gives it
    Raises ModelRefusedError where both cannot be true and nothing says which is.
    """
    config = read_json(folder / "scheduler_config.json")
    if class_name not in (component.classes or SCHEDULERS):
        raise _unknown(folder, class_name, component)
    parameters = inspect.signature(getattr(diffusers, class_name).__init__).parameters
    notes = _compare_classes(folder, class_name, component, config)
    for key in TRAINED:
        if config.get(key) not in (None, False) and key not in parameters and not component.classes:
            raise ModelRefusedError(
                f"'{folder.name}/scheduler_config.json' sets {key!r} to {config[key]!r:.80}, which a {class_name} does "
                "not know and would leave out: name a scheduler that knows it in model_index.json"
            )
    if component.classes and claims.prediction_type:
        notes.append(
            f"{claims.file} says that it predicts {claims.prediction_type}; models of this family have no such "
            "setting, so it changes nothing"
        )
        return SchedulerSettings(notes=notes)
    options = _choose(folder, class_name, config, parameters, claims)
    if options:
        told = ", ".join(f"{key} is {value}" for key, value in options.items())
        notes.append(f"{claims.file} says by its marker tensors how it was trained, so {told} in its scheduler")
    return SchedulerSettings(options, notes)


def _compare_classes(folder: Path, class_name: str, component: Component, config: Mapping[str, Any]) -> list[str]:
    written = config.get("_class_name")
    if not isinstance(written, str) or written == class_name:
        return []
    told = (
        f"model_index.json names the scheduler {class_name}, but '{folder.name}/scheduler_config.json' was written for "
        f"{written!r:.80}"
    )
    if component.classes or written not in SCHEDULERS or {class_name, written} & set(DISTILLED_SCHEDULERS):
        raise ModelRefusedError(f"{told}: they are of different kinds of models, so one of them is wrong")
    return [f"{told}; images are sampled with {class_name}, as diffusers does"]


def _choose(
    folder: Path, class_name: str, config: Mapping[str, Any], parameters: Mapping[str, Any], claims: Claims
) -> dict[str, Any]:
    """Return the settings that marker tensors give. Raises ModelRefusedError where only a header contradicts."""
    configured = config.get("prediction_type", "epsilon")
    options: dict[str, Any] = {}
    if claims.prediction_type and claims.prediction_type != configured:
        if not claims.is_marked:
            raise ModelRefusedError(
                f"{claims.file} says in its header that it predicts {claims.prediction_type!r}, but "
                f"'{folder.name}/scheduler_config.json' sets prediction_type to {configured!r:.80}: name a "
                "configuration that agrees with --model-config, or ask the file's author which is right"
            )
        options["prediction_type"] = claims.prediction_type
    if not claims.has_zero_snr or config.get(ZERO_SNR):
        return options
    if options.get("prediction_type", configured) != "v_prediction":
        raise ModelRefusedError(
            f"{claims.file} says that its schedule ends in pure noise (ztsnr), from which only a model that predicts "
            f"velocity can start, but its prediction_type is {configured!r:.80}; ask its author which is right"
        )
    if ZERO_SNR not in parameters:
        raise ModelRefusedError(
            f"{claims.file} says that its schedule ends in pure noise (ztsnr), which a {class_name} cannot do: name a "
            "configuration with another scheduler, such as EulerDiscreteScheduler, with --model-config"
        )
    return options | {ZERO_SNR: True, **({"timestep_spacing": "trailing"} if "timestep_spacing" in parameters else {})}


def load_scheduler(component: Component, folder: Path, class_name: str, options: Mapping[str, Any]) -> Any:
    """Load the scheduler of a folder that was inspected.

    options:  settings that the weights give in place of the configuration's
    Raises ModelRefusedError for an unknown class, and for a schedule that is none.
    """
    if class_name not in (component.classes or SCHEDULERS):
        raise _unknown(folder, class_name, component)
    with refuse_errors(f"{folder.name!r} cannot be loaded"):
        scheduler = getattr(diffusers, class_name).from_pretrained(folder, local_files_only=True, **options)
    alphas = getattr(scheduler, "alphas_cumprod", None)
    if isinstance(alphas, torch.Tensor):
        _refuse_outside(alphas, "alphas", folder)
    elif component.classes:
        _refuse_outside(scheduler.sigmas, "sigmas", folder)
    else:
        raise ModelRefusedError(f"{class_name} has no schedule of alphas, which Stable Diffusion was trained with")
    return scheduler


def _unknown(folder: Path, class_name: str, component: Component) -> ModelRefusedError:
    known = ", ".join(component.classes or SCHEDULERS)
    return ModelRefusedError(f"component {folder.name!r} is {class_name!r:.80}; this version audits those with {known}")


def _refuse_outside(values: torch.Tensor, name: str, folder: Path) -> None:
    if not bool(((values >= 0) & (values <= 1)).all()):
        raise ModelRefusedError(
            f"'{folder.name}/scheduler_config.json' gives {name} that are not between 0 and 1; {AGAIN}"
        )
