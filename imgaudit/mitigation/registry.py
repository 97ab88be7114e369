"""Inference-time mitigations by name, with their settings: what `--mitigation` takes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.exceptions import ConfigError
from imgaudit.mitigation.attention import AttentionRescaling
from imgaudit.mitigation.embedding_descent import EmbeddingDescent
from imgaudit.mitigation.mitigated import MitigatedDenoiser
from imgaudit.mitigation.random_tokens import RandomTokens
from imgaudit.models.loading import LoadedModel

LONGEST_SPEC = 200


@dataclass(frozen=True)
class Setting:
    """One number of a mitigation."""

    default: float
    """Its value unless another is given; a whole number stays one."""
    low: float
    """Smallest."""
    high: float
    """Largest."""
    meaning: str
    """In words."""

    def parse(self, text: str) -> float:
        """Read the value. Raises ValueError for text that is no number or not within the bounds."""
        value = type(self.default)(text)
        if not self.low <= value <= self.high:
            raise ValueError(text)
        return value


@dataclass(frozen=True)
class Mitigation:
    """A kind of mitigation."""

    description: str
    """Effect and source."""
    settings: Mapping[str, Setting]
    """By name."""
    make: Callable[..., MitigatedDenoiser]
    """From a denoiser and every setting."""
    identify: Callable[..., str]
    """The identity that it then has, from every setting."""


MITIGATIONS: Mapping[str, Mitigation] = {
    "descent": Mitigation(
        "changes the prompt's embedding until it moves the first prediction by no more than rms (Wen et al. 2024)",
        {
            "rms": Setting(0.0117, 0.0, 1e6, "where the descent of a sample ends"),
            "iterations": Setting(10, 1, 1000, "most steps"),
            "learning_rate": Setting(0.05, 1e-6, 100.0, "of AdamW, in units of the embedding's scale"),
            "other_noise": Setting(0, 0, 1, "1: descend on another initial noise than the one sampled from"),
        },
        lambda denoiser, other_noise, **settings: EmbeddingDescent(denoiser, other_noise=bool(other_noise), **settings),
        EmbeddingDescent.identify,
    ),
    "random-tokens": Mitigation(
        "puts random words into every prompt (Somepalli et al., NeurIPS 2023)",
        {
            "count": Setting(4, 1, 100, "words"),
            "seed": Setting(0, 0, 2**31, "which words and where"),
        },
        RandomTokens,
        RandomTokens.identify,
    ),
    "attention": Mitigation(
        "takes the end token and padding out of cross-attention and strengthens BOS (Ren et al., ECCV 2024)",
        {"factor": Setting(1.25, 0.0, 100.0, "of BOS's attention logits")},
        AttentionRescaling,
        AttentionRescaling.identify,
    ),
}
"""Every mitigation that needs no change of weights."""


def mitigate(denoiser: Denoiser, spec: str) -> MitigatedDenoiser:
    """Apply the mitigation that `spec` names to a model, as "descent" or "descent:rms=0.01,iterations=20".

    Raises ConfigError for a name or a setting that is not known, a value out of bounds, or a model that the mitigation
    does not fit, with the reason.

    >>> from imgaudit.models import FiniteSetDenoiser
    >>> import torch
    >>> mitigate(FiniteSetDenoiser(torch.zeros(2, 3, 4, 4)), "random-tokens:count=2").identity
    'random-tokens count=2 seed=0'
    """
    kind, values = _parse(spec)
    return kind.make(denoiser, **values)


def identify(spec: str) -> str:
    """Return the identity of the mitigation that `spec` names, without a model. Raises ConfigError as `mitigate` does.

    >>> identify("random-tokens:count=2")
    'random-tokens count=2 seed=0'
    """
    kind, values = _parse(spec)
    return kind.identify(**values)


def _parse(spec: str) -> tuple[Mitigation, dict[str, Any]]:
    name, _, rest = spec[:LONGEST_SPEC].partition(":")
    if name not in MITIGATIONS:
        raise ConfigError(f"{name!r:.80} is no mitigation; expected one of {', '.join(MITIGATIONS)}")
    kind = MITIGATIONS[name]
    values: dict[str, Any] = {key: setting.default for key, setting in kind.settings.items()}
    for part in filter(None, rest.split(",")):
        key, _, text = part.partition("=")
        if key not in kind.settings:
            raise ConfigError(f"{name} has no setting {key!r:.80}; expected {', '.join(kind.settings)}")
        setting = kind.settings[key]
        try:
            values[key] = setting.parse(text)
        except ValueError as error:
            raise ConfigError(
                f"{name}:{key} must be a number from {setting.low:g} to {setting.high:g}, but got {text!r:.80}"
            ) from error
    return kind, values


def apply_mitigation(loaded: LoadedModel, spec: str) -> LoadedModel:
    """Apply a mitigation to a loaded model and add it to the name. Raises ConfigError as `mitigate` does."""
    mitigated = mitigate(loaded.denoiser, spec)
    return replace(
        loaded, denoiser=mitigated, name=f"{loaded.name} behind {mitigated.identity}", mitigation=mitigated.identity
    )
