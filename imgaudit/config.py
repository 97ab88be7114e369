"""What a user may choose: frozen values with a sentence under each field, checked when they are built.

The :class:`Protocol` is the part that decides scores. Its hash keys null banks: an audit under another protocol
cannot use the bank.
"""

import difflib
import enum
import hashlib
import json
import math
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from imgaudit.exceptions import ConfigError
from imgaudit.policy import Policy


class Framing(enum.StrEnum):
    """How an image that is not square meets the model's size."""

    CROP = "crop"
    PAD = "pad"
    SQUASH = "squash"


class Effort(enum.StrEnum):
    """A named budget. The budget is part of the test: with enough steps any image can be forced out of any model."""

    QUICK = "quick"
    STANDARD = "standard"
    THOROUGH = "thorough"


class FailOn(enum.StrEnum):
    """Which verdicts make `imgaudit audit` exit with 1."""

    REPLICATED = "replicated"
    ATYPICAL = "atypical"
    NEVER = "never"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InversionConfig(_Frozen):
    """Optimisation of the prompt embeddings towards one image."""

    steps: int = Field(50, ge=1, le=10_000)
    """Adam steps."""
    draws: int = Field(8, ge=1, le=1024)
    """Fresh (timestep, noise) draws per step."""
    learning_rate: float = Field(0.1, gt=0)
    """Adam's learning rate, in units of the root mean square of the null embedding."""
    initialisation: Literal["null", "random"] = "null"
    """Where the embedding starts: the null condition, or noise of the same root mean square."""
    timesteps: Literal["uniform", "stratified", "high", "middle"] = "stratified"
    """How timesteps are drawn: over all, one per equal stratum, the noisier half, or the middle half."""
    weighting: Literal["native", "min_snr", "x0"] = "native"
    """Loss weight: none in the network's own output space, min-SNR-5, or that of the error in x0."""
    free_tokens: int | None = Field(None, ge=1)
    """How many of the free positions are optimised, from the first on; all when not given."""


class ErrorConfig(_Frozen):
    """Paired measurement of the denoising error under two conditions."""

    draws: int = Field(64, ge=2, le=4096)
    """(timestep, noise) pairs, one per equal stratum of the timesteps; the same under both conditions."""
    after_steps: int = Field(8, ge=1)
    """After how many inversion steps the error is measured: what a short inversion gains tells memorised images from
    others best, while a long one helps every image."""


class GenerationConfig(_Frozen):
    """Sampling of replicas."""

    seeds: int = Field(32, ge=1, le=100_000)
    """Fresh seeds per rung and guidance scale."""
    num_inference_steps: int = Field(20, ge=1, le=1000)
    """Sampling steps."""
    guidance_scales: tuple[float, ...] = (3.0,)
    """Guidance scales; a replica counts at any of them, and so it does for the controls."""
    selection_seeds: int = Field(0, ge=0, le=100_000)
    """With several guidance scales: how many of the first seeds only choose the scale; the others give the rate."""

    @field_validator("guidance_scales")
    @classmethod
    def _scales(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or any(not math.isfinite(scale) or scale < 1 for scale in value):
            raise ValueError("expected one or more finite guidance scales of at least 1")
        return value

    @model_validator(mode="after")
    def _selection(self) -> "GenerationConfig":
        if len(self.guidance_scales) > 1 and not 0 < self.selection_seeds < self.seeds:
            # A scale chosen on the seeds that give its rate would make the rate too high.
            raise ValueError("several guidance scales need selection_seeds between 1 and seeds - 1")
        return self


RungName = Literal["prompt", "caption", "paraphrase", "embedding"]


class LadderConfig(_Frozen):
    """Which rungs are tried."""

    rungs: tuple[RungName, ...] = ("prompt", "caption", "embedding")
    """Rungs of the elicitation ladder; texts that an image does not have are skipped for it."""
    paraphrases: int = Field(8, ge=1, le=256)
    """Other wordings of an image's text; the seeds are spread over them."""

    @field_validator("rungs")
    @classmethod
    def _embedding(cls, value: tuple[RungName, ...]) -> tuple[RungName, ...]:
        if "embedding" not in value:
            raise ValueError("the embedding rung is what controls are compared by and cannot be left out")
        return tuple(name for name in get_args(RungName) if name in value)


class Protocol(_Frozen):
    """Everything that decides a score, in one value. Target and control must meet the same one."""

    framing: Framing = Framing.CROP
    inversion: InversionConfig = InversionConfig()
    error: ErrorConfig = ErrorConfig()
    generation: GenerationConfig = GenerationConfig()
    ladder: LadderConfig = LadderConfig()

    @model_validator(mode="after")
    def _error_within_inversion(self) -> "Protocol":
        if self.error.after_steps > self.inversion.steps:
            raise ValueError(
                f"the error is measured after {self.error.after_steps} inversion steps, but there are only "
                f"{self.inversion.steps}"
            )
        return self

    @property
    def hash(self) -> str:
        """SHA-256 over the protocol's canonical JSON, hexadecimal.

        >>> Protocol().hash == Protocol(framing=Framing.CROP).hash
        True
        """
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    def canonical(self) -> str:
        """JSON with sorted keys and no spaces."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def differences(self, other: "Protocol") -> list[str]:
        """Which keys differ, as "inversion.steps: 25 here, 50 there"."""
        here, there = _flatten(self.model_dump(mode="json")), _flatten(other.model_dump(mode="json"))
        return [f"{key}: {here[key]} here, {there[key]} there" for key in here if here[key] != there[key]]


EFFORTS: dict[Effort, Protocol] = {
    Effort.QUICK: Protocol(inversion=InversionConfig(steps=25), generation=GenerationConfig(seeds=8)),
    Effort.STANDARD: Protocol(ladder=LadderConfig(rungs=("prompt", "caption", "paraphrase", "embedding"))),
    Effort.THOROUGH: Protocol(
        generation=GenerationConfig(
            seeds=160, selection_seeds=32, num_inference_steps=50, guidance_scales=(1.0, 3.0, 7.5)
        ),
        ladder=LadderConfig(rungs=get_args(RungName)),
    ),
}


def protocol_for(effort: Effort, framing: Framing = Framing.CROP) -> Protocol:
    """The protocol of a named effort."""
    return EFFORTS[effort].model_copy(update={"framing": framing})


class AuditConfig(_Frozen):
    """All options of `imgaudit audit`; each is also a key of imgaudit.toml and an IMGAUDIT_* variable."""

    effort: Effort = Effort.STANDARD
    """Named budget: quick, standard or thorough."""
    framing: Framing = Framing.CROP
    """How images that are not square meet the model's size."""
    steps: int | None = Field(None, ge=1, le=10_000)
    """Inversion steps, instead of the effort's."""
    draws: int | None = Field(None, ge=1, le=1024)
    """Draws per inversion step, instead of the effort's."""
    seeds: int | None = Field(None, ge=1, le=100_000)
    """Seeds per rung, instead of the effort's."""
    num_inference_steps: int | None = Field(None, ge=1, le=1000)
    """Sampling steps, instead of the effort's."""
    guidance_scales: tuple[float, ...] | None = None
    """Guidance scales, instead of the effort's."""
    rungs: tuple[RungName, ...] | None = None
    """Rungs of the elicitation ladder, instead of the effort's."""
    level: float = Field(0.05, gt=0, lt=0.5)
    """False discovery rate over the folder, and level of the copy thresholds; a --policy file overrules it."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Run seed; with an image's SHA-256 it decides every random draw for that image."""
    chunk_size: int = Field(8, ge=1, le=1024)
    """Images inverted together; stored in the run, because it belongs to bit-for-bit repetition."""
    batch_size: int = Field(64, ge=1, le=65_536)
    """Largest batch given to the network at once; halved when memory runs out. Does not change verdicts."""
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    """auto, cpu, mps, cuda or cuda:N."""
    fail_on: FailOn = FailOn.REPLICATED
    """Which verdicts make the exit code 1."""
    operator: str = Field("", max_length=200)
    """Who runs the audit; written into the manifest."""

    @property
    def protocol(self) -> Protocol:
        """Effort and single options resolved."""
        base = protocol_for(self.effort, self.framing)
        inversion = _given({"steps": self.steps, "draws": self.draws})
        scales = self.guidance_scales or base.generation.guidance_scales
        seeds = self.seeds or base.generation.seeds
        generation = _given({"num_inference_steps": self.num_inference_steps}) | {
            "seeds": seeds,
            "guidance_scales": scales,
            "selection_seeds": max(1, seeds // 5) if len(scales) > 1 else 0,
        }
        ladder = _given({"rungs": self.rungs})
        return Protocol(
            framing=base.framing,
            inversion=InversionConfig(**(base.inversion.model_dump() | inversion)),
            error=base.error.model_copy(update={"after_steps": min(base.error.after_steps, self.steps or math.inf)}),
            generation=GenerationConfig(**(base.generation.model_dump() | generation)),
            ladder=LadderConfig(**(base.ladder.model_dump() | ladder)),
        )

    @property
    def policy(self) -> Policy:
        """The policy that follows from the level."""
        return Policy(level=self.level, copy_level=self.level)


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def nearest_name(name: str, names: Mapping[str, Any] | list[str]) -> str:
    """ "; the nearest known key is 'seed'", or nothing when none is near."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"; the nearest known key is {close[0]!r}" if close else ""


def _from_file(start: Path) -> tuple[dict[str, Any], str]:
    """The nearest imgaudit.toml or [tool.imgaudit] at or above `start`; the nearest wins, nothing is merged."""
    for folder in [start, *start.parents]:
        for name in ("imgaudit.toml", "pyproject.toml"):
            path = folder / name
            if not path.is_file():
                continue
            try:
                table = tomllib.loads(path.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
                raise ConfigError(f"{str(path)!r} cannot be read: {error}") from error
            if name == "pyproject.toml":
                table = table.get("tool", {}).get("imgaudit", {})
            if table:
                return table, str(path)
    return {}, ""


def resolve_config(
    flags: Mapping[str, Any], environ: Mapping[str, str] | None = None, start: Path | None = None
) -> tuple[AuditConfig, dict[str, str]]:
    """Merge flags over IMGAUDIT_* variables over the nearest configuration file over defaults.

    Returns the configuration and, for every key, where its value came from.
    Raises ConfigError that names the source for an unknown key (with the nearest known one) or a bad value.
    """
    environ = os.environ if environ is None else environ
    known = AuditConfig.model_fields
    table, file_name = _from_file(start or Path.cwd())
    from_environ = {
        key.removeprefix("IMGAUDIT_").lower(): value for key, value in environ.items() if key.startswith("IMGAUDIT_")
    }
    layers = [(table, file_name), (from_environ, "environment"), (_given(flags), "command line")]
    values: dict[str, Any] = {}
    sources = dict.fromkeys(known, "default")
    for layer, source in layers:
        for key, value in layer.items():
            name = key.replace("-", "_")
            if name not in known:
                raise ConfigError(f"unknown key {key!r} in {source}{nearest_name(name, dict(known))}")
            if name in ("guidance_scales", "rungs") and isinstance(value, str):
                value = tuple(part.strip() for part in value.split(","))
            values[name], sources[name] = value, source
    try:
        return AuditConfig.model_validate(values), sources
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc'][:1]))} (from {sources.get(str(item['loc'][0]), '?')}): {item['msg']}, "
            f"but got {item['input']!r}"
            for item in error.errors()
        )
        raise ConfigError(f"configuration is not valid: {problems}") from error
