"""The options of a user: frozen values with a sentence under each field, checked when they are built."""

import difflib
import enum
import math
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from imgaudit.exceptions import ConfigError
from imgaudit.schema.funnel import make_funnel
from imgaudit.schema.policy import Policy
from imgaudit.schema.problems import describe_problem
from imgaudit.schema.protocol import (
    Effort,
    Framing,
    GenerationConfig,
    InversionConfig,
    InvMMConfig,
    LadderConfig,
    MeasureName,
    Protocol,
    RungName,
    Search,
    TokenSearchConfig,
    protocol_for,
)


class FailOn(enum.StrEnum):
    """The verdicts that make `imgaudit audit` exit with 1."""

    REPLICATED = "replicated"
    ATYPICAL = "atypical"
    INCONCLUSIVE = "inconclusive"
    SKIPPED = "skipped"
    NEVER = "never"


class Series(enum.StrEnum):
    """The ways in which a user declares that several different images are one work."""

    NONE = "none"
    FOLDERS = "folders"


MOST_SAMPLES = 65_536
"""The largest batch that can be asked for."""

UNMEASURED_BATCH = 64
"""The batch where none was asked for or measured, and the most that is chosen automatically."""

TRACEBACK_VARIABLE = "IMGAUDIT_TRACEBACK"
"""Set it to see where an error of imgaudit itself happened; no option of an audit."""

PASSPHRASE_VARIABLE = "IMGAUDIT_KEY_PASSPHRASE"
"""Passphrase of a private key, for commands that nobody can answer; no option of an audit."""


class AuditConfig(BaseModel):
    """All options of `imgaudit audit`; each is also a key of imgaudit.toml and an IMGAUDIT_* variable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    effort: Effort = Effort.STANDARD
    """Named budget: quick, standard or thorough."""
    framing: Framing = Framing.CROP_OR_PAD
    """The way to fit images that are not square to the model's size. crop-or-pad: crop, or pad where a crop would lose
    more than a quarter of the picture."""
    series: Series = Series.NONE
    """folders: every subfolder of the targets, controls and decoys holds one series, which counts as one work."""
    steps: int | None = Field(None, ge=1, le=10_000)
    """Inversion steps, instead of the effort's."""
    draws: int | None = Field(None, ge=1, le=1024)
    """Draws per inversion step, instead of the effort's."""
    learning_rate: float | None = Field(None, gt=0, le=100)
    """Learning rate of the inversion, in units of the start condition's root mean square, instead of 0.1."""
    search: Search | None = None
    """texts, as every effort has it: the score of models that predict a flow or a velocity is measured after a search
    in the span of texts. inversion: that of every model is measured within the inversion."""
    score_after: int | None = Field(None, ge=1, le=10_000)
    """After how many inversion steps the score is measured, instead of 8."""
    seeds: int | None = Field(None, ge=1, le=100_000)
    """Seeds per rung, instead of the effort's."""
    num_inference_steps: int | None = Field(None, ge=1, le=1000)
    """Sampling steps, instead of the effort's."""
    guidance_scales: tuple[float, ...] | None = None
    """Guidance scales, instead of the effort's."""
    rungs: tuple[RungName, ...] | None = None
    """Rungs of the elicitation ladder, instead of the effort's."""
    streams: tuple[str, ...] | None = None
    """Text streams of the model that are inverted, instead of all."""
    token_words: int | None = Field(None, ge=1, le=32)
    """Words of the prompt that the tokens rung searches, instead of the effort's."""
    token_evaluations: int | None = Field(None, ge=1, le=1_000_000)
    """Network evaluations of that search per image, instead of the effort's."""
    measures: tuple[MeasureName, ...] | None = None
    """Measures beside those that decide: invmm, which is slow."""
    invmm_steps: int | None = Field(None, ge=1, le=100_000)
    """Longest search of InvMM in steps, instead of its default."""
    funnel: float | None = Field(None, gt=0, le=0.5)
    """Share of images like the controls that are asked in all ways, those with the highest scores; every image is when
    not given."""
    level: float = Field(0.05, gt=0, lt=0.5)
    """False discovery rate over the folder, and level of the copy thresholds; a --policy file overrules it."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Run seed; with an image's SHA-256 it decides every random draw for that image."""
    chunk_size: int = Field(8, ge=1, le=1024)
    """Images inverted together; stored in the run, because it belongs to bit-for-bit repetition."""
    batch_size: int | Literal["auto"] = "auto"
    """Largest batch given to the network at once; halved when memory runs out. Does not change verdicts. auto: as many
    as free memory holds by measurement, at most 64."""
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    """auto, cpu, mps, cuda or cuda:N."""
    fail_on: FailOn = FailOn.REPLICATED
    """The verdicts that make the exit code 1."""
    offline: bool = False
    """Refuse every connection of this process."""
    no_controls: bool = False
    """Audit without controls: every image that the model does not return for its own text is then inconclusive."""
    rescan: bool = False
    """Read every file again, also those that have not changed since an earlier audit."""
    operator: str = Field("", max_length=200)
    """Who runs the audit; written into the manifest."""

    @field_validator("batch_size", mode="before")
    @classmethod
    def _batch(cls, value: Any) -> Any:
        if value == "auto":
            return value
        if not str(value).isdecimal() or not 1 <= int(value) <= MOST_SAMPLES:
            raise ValueError(f"expected auto, or a whole number from 1 to {MOST_SAMPLES:,}")
        return int(value)

    @property
    def largest_batch(self) -> int:
        """The batch size as a number; 64 where nothing was measured."""
        return UNMEASURED_BATCH if self.batch_size == "auto" else self.batch_size

    @model_validator(mode="after")
    def _measures_what_it_sets(self) -> "AuditConfig":
        if self.invmm_steps is not None and "invmm" not in (self.measures or ()):
            raise ValueError("invmm_steps was given without InvMM: add --measure invmm")
        return self

    @model_validator(mode="after")
    def _has_a_protocol(self) -> "AuditConfig":
        # Options that are valid each can be impossible together, and should be refused before anything is opened.
        try:
            _ = self.protocol
        except ValidationError as error:
            raise ValueError(describe_problem(error)) from error
        return self

    @property
    def protocol(self) -> Protocol:
        """The protocol that follows from the effort and the single options."""
        base = protocol_for(self.effort, self.framing)
        inversion = _given(
            {
                "steps": self.steps,
                "draws": self.draws,
                "streams": self.streams,
                "learning_rate": self.learning_rate,
            }
        )
        scales = self.guidance_scales or base.generation.guidance_scales
        seeds = self.seeds or base.generation.seeds
        generation = _given({"num_inference_steps": self.num_inference_steps}) | {
            "seeds": seeds,
            "guidance_scales": scales,
            "selection_seeds": max(1, seeds // 5) if len(scales) > 1 else 0,
        }
        ladder = _given({"rungs": self.rungs})
        searched = InvMMConfig(**_given({"steps": self.invmm_steps}))
        return Protocol(
            framing=base.framing,
            inversion=InversionConfig(**(base.inversion.model_dump() | inversion)),
            error=base.error.model_copy(
                # An impossible option that was given is refused; a default gives way.
                update={"after_steps": self.score_after or min(base.error.after_steps, self.steps or math.inf)}
            ),
            generation=GenerationConfig(**(base.generation.model_dump() | generation)),
            ladder=LadderConfig(**(base.ladder.model_dump() | ladder)),
            tokens=TokenSearchConfig(
                **(
                    base.tokens.model_dump()
                    | _given({"words": self.token_words, "evaluations": self.token_evaluations})
                )
            ),
            span=None if self.search is Search.INVERSION else base.span,
            invmm=searched if "invmm" in (self.measures or ()) else None,
            funnel=None if self.funnel is None else make_funnel(self.funnel),
        )

    @property
    def policy(self) -> Policy:
        """The policy that follows from the level."""
        return Policy(level=self.level, copy_level=self.level)


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def nearest_name(name: str, names: Mapping[str, Any] | list[str]) -> str:
    """Suggest a known key, as "; the nearest known key is 'seed'"; empty when none is near."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"; the nearest known key is {close[0]!r}" if close else ""


def read_nearest_table(start: Path) -> tuple[dict[str, Any], str]:
    """Read the nearest imgaudit.toml or [tool.imgaudit] at or above `start`; nothing is merged.

    Returns the table and the path of its file; an empty table and an empty path where there is none.
    Raises ConfigError for a file that cannot be read.
    """
    for folder in [start, *start.parents]:
        for name in ("imgaudit.toml", "pyproject.toml"):
            path = folder / name
            if not path.is_file():
                continue
            try:
                table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
            except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
                raise ConfigError(f"{str(path)!r} cannot be read: {error}") from error
            if name == "pyproject.toml":
                table = table.get("tool", {}).get("imgaudit", {})
            if table:
                return table, str(path)
    return {}, ""


def read_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the values of IMGAUDIT_* variables by key; those that are no options of a command are left out."""
    return {
        key.removeprefix("IMGAUDIT_").lower(): value
        for key, value in environ.items()
        if key.startswith("IMGAUDIT_") and key not in (TRACEBACK_VARIABLE, PASSPHRASE_VARIABLE)
    }


def resolve_config(
    flags: Mapping[str, Any],
    environ: Mapping[str, str] | None = None,
    start: Path | None = None,
    *,
    others: bool = False,
) -> tuple[AuditConfig, dict[str, str]]:
    """Merge flags over IMGAUDIT_* variables over the nearest configuration file over defaults.

    others:  whether the file and the variables may hold other keys too, which the command line has looked at

    Returns the configuration and, for every key, where its value came from.
    Raises ConfigError that names the source for an unknown key (with the nearest known one) or a bad value.
    """
    environ = os.environ if environ is None else environ
    known = AuditConfig.model_fields
    table, file_name = read_nearest_table(start or Path.cwd())
    layers = [(table, file_name), (read_environment(environ), "environment"), (_given(flags), "command line")]
    values: dict[str, Any] = {}
    sources = dict.fromkeys(known, "default")
    for layer, source in layers:
        for key, value in layer.items():
            name = key.replace("-", "_")
            if name not in known:
                if others and source != "command line":
                    continue
                raise ConfigError(f"unknown key {key!r} in {source}{nearest_name(name, dict(known))}")
            if name in ("guidance_scales", "rungs", "streams", "measures") and isinstance(value, str):
                value = tuple(part.strip() for part in value.split(","))
            values[name], sources[name] = value, source
    try:
        return AuditConfig.model_validate(values), sources
    except ValidationError as error:
        problems = "; ".join(
            f"{item['loc'][0]} (from {sources.get(str(item['loc'][0]), '?')}): {item['msg']}, but got {item['input']!r}"
            if item["loc"]
            else item["msg"].removeprefix("Value error, ")
            for item in error.errors()
        )
        raise ConfigError(f"configuration is not valid: {problems}") from error
