"""The protocol: everything that decides scores, in frozen values with a sentence under each field.

Its hash keys null banks: an audit under another protocol cannot use the bank.
"""

import enum
import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from imgaudit.schema.funnel import FunnelConfig

EVERYTHING = "all"
"""Word for the streams in a difference where none were chosen."""

NOTHING = "none"
"""Word for a part that one of two protocols does not have, such as a search."""


class Framing(enum.StrEnum):
    """The ways to fit an image that is not square to the model's size."""

    CROP_OR_PAD = "crop-or-pad"
    CROP = "crop"
    PAD = "pad"
    SQUASH = "squash"

    def used_for(self, width: int, height: int) -> "Framing":
        """Return crop, pad or squash: how an image of this size is framed.

        crop-or-pad crops unless more than a quarter of the picture would be lost; then it pads.

        >>> [Framing.CROP_OR_PAD.used_for(*size).value for size in ((4, 3), (3, 2), (2, 3))]
        ['crop', 'pad', 'pad']
        """
        if self is not Framing.CROP_OR_PAD:
            return self
        # In whole numbers, so that a picture of 4 by 3 is on the same side of the bound at any size.
        return Framing.CROP if 4 * min(width, height) >= 3 * max(width, height) else Framing.PAD


class Search(enum.StrEnum):
    """The ways to search the condition under which the score is measured."""

    TEXTS = "texts"
    INVERSION = "inversion"


class Effort(enum.StrEnum):
    """A named budget. The budget is part of the test: with enough steps any image can be forced out of any model."""

    QUICK = "quick"
    STANDARD = "standard"
    THOROUGH = "thorough"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InversionConfig(_Frozen):
    """Optimisation of the prompt embeddings towards one image."""

    steps: int = Field(50, ge=1, le=10_000)
    """Adam steps."""
    draws: int = Field(8, ge=1, le=1024)
    """Fresh (timestep, noise) draws per step."""
    learning_rate: float = Field(0.1, gt=0)
    """Adam's learning rate, in units of the root mean square of each stream of the model's start condition."""
    initialisation: Literal["null", "random"] = "null"
    """Start of the embedding: the start condition (null, or the empty prompt), or noise of its scale."""
    timesteps: Literal["uniform", "stratified", "high", "middle"] = "stratified"
    """Drawing of timesteps: over all, one per equal stratum, the noisier half, or the middle half."""
    weighting: Literal["native", "min_snr", "x0"] = "native"
    """Loss weight: none in the network's own output space, min-SNR-5, or that of the error in x0."""
    free_tokens: int | None = Field(None, ge=1)
    """Number of free positions that are optimised, from the first on; all when not given."""
    streams: tuple[str, ...] | None = Field(None, exclude_if=lambda value: value is None)
    """The model's streams that are optimised, the others staying at the start condition; all when not given. Left
    out of the hash when not given, so that it says what it said before streams could be chosen."""

    @field_validator("streams")
    @classmethod
    def _streams(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is None:
            return None
        if not value or not all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in value):
            raise ValueError("expected one or more names of streams, such as text,pooled")
        return tuple(sorted(set(value)))


class SpanConfig(_Frozen):
    """Search of a condition in the span of texts, with which the score of some models is measured."""

    prediction_types: tuple[Literal["epsilon", "v_prediction", "sample", "flow"], ...] = ("v_prediction", "flow")
    """Models whose score is measured after this search, by what their network predicts. That of others is measured
    within the inversion."""
    texts: int = Field(600, ge=8, le=100_000)
    """Texts of random words of the model's vocabulary whose embeddings span the search."""
    directions: int = Field(512, ge=1, le=10_000)
    """Directions that are searched, those in which the texts differ most."""
    spread: float = Field(0.5, ge=0)
    """Distance at which a search starts from the mean of the texts, in standard deviations of the texts."""
    steps: int = Field(128, ge=1, le=10_000)
    """Adam steps."""
    draws: int = Field(1, ge=1, le=1024)
    """Fresh (timestep, noise) draws per step."""
    learning_rate: float = Field(0.3, gt=0)
    """Adam's learning rate, in standard deviations of the texts along each direction."""
    timesteps: Literal["uniform", "stratified", "high", "middle"] = "high"
    """Drawing of timesteps; the noisier half is where the condition decides most."""


class ErrorConfig(_Frozen):
    """Paired measurement of the denoising error under two conditions."""

    draws: int = Field(64, ge=2, le=4096)
    """(timestep, noise) pairs, one per equal stratum of the timesteps; the same under both conditions."""
    after_steps: int = Field(8, ge=1)
    """After how many inversion steps the error is measured: what a short inversion gains tells memorised images from
    others best, while a long one helps every image."""


def _valid_scales(value: tuple[float, ...]) -> tuple[float, ...]:
    if not value or any(not math.isfinite(scale) or scale < 1 for scale in value):
        raise ValueError("expected one or more finite guidance scales of at least 1")
    return value


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
        return _valid_scales(value)

    @model_validator(mode="after")
    def _selection(self) -> "GenerationConfig":
        if len(self.guidance_scales) > 1 and not 0 < self.selection_seeds < self.seeds:
            # A scale chosen on the seeds that give its rate would make the rate too high.
            raise ValueError("several guidance scales need selection_seeds between 1 and seeds - 1")
        return self


RungName = Literal["prompt", "caption", "paraphrase", "tokens", "embedding"]


class TokenSearchConfig(_Frozen):
    """Search of a prompt of a few words for one image, by gradients over the tokenizer's vocabulary."""

    words: int = Field(6, ge=1, le=32)
    """Words of the prompt."""
    evaluations: int = Field(2000, ge=1, le=1_000_000)
    """Network evaluations allowed per image; a backward pass counts as one more."""
    draws: int = Field(4, ge=1, le=256)
    """(timestep, noise) draws per gradient and per candidate."""
    candidates: int = Field(32, ge=2, le=1024)
    """Prompts that are tried per iteration, the best so far included."""
    shortlist: int = Field(64, ge=1, le=4096)
    """Words per position, by the gradient, that swaps are drawn from."""
    timesteps: Literal["uniform", "stratified", "high", "middle"] = "high"
    """Drawing of timesteps; a text decides most where the image is mostly noise."""

    @model_validator(mode="after")
    def _one_iteration(self) -> "TokenSearchConfig":
        if self.iterations < 1:
            raise ValueError(
                f"one iteration takes {self.per_iteration} network evaluations, but only {self.evaluations} are allowed"
            )
        return self

    @property
    def per_iteration(self) -> int:
        """Network evaluations of one iteration per image."""
        return self.draws * (2 + self.candidates)

    @property
    def iterations(self) -> int:
        """Iterations that the evaluations allow."""
        return self.evaluations // self.per_iteration


MeasureName = Literal["invmm"]
"""Measures beside those that decide."""


class InvMMConfig(_Frozen):
    """InvMM (arXiv 2405.05846): the search of noise and condition, its adaptive weight, and its checks of success."""

    steps: int = Field(400, ge=1, le=100_000)
    """Longest optimisation; published: 2000."""
    draws: int = Field(16, ge=1, le=1024)
    """Fresh (timestep, noise, condition) draws per step."""
    learning_rate: float = Field(0.1, gt=0)
    """Adam's, of noise and mixture logits as it is; of embeddings in units of the root mean square of each stream."""
    temperature: float = Field(2.0, gt=0)
    """Temperature of the Gumbel-softmax."""
    check_every: int = Field(25, ge=1)
    """Steps between checks of success, at which the divergence's weight is adapted as well."""
    progress_window: int = Field(100, ge=1)
    """Last steps over which prediction losses are averaged."""
    least_progress: float = Field(1e-3, ge=0)
    """The weight is halved when that average fell by less since the last check."""
    increment: float = Field(1e-3, ge=0)
    """Added to the weight at every step, and at every check that finds progress."""
    noises: int = Field(8, ge=1, le=1024)
    """Samples per check and guidance scale, all of which must be copies."""
    guidance_scales: tuple[float, ...] = (3.0,)
    """Guidance scales tried in turn at a check; one success is enough."""
    num_inference_steps: int = Field(20, ge=1, le=1000)
    """Sampling steps of a check."""
    similarity: float = 0.9
    """Similarity that every sample must reach, by the deciding descriptor. Fixed, so that controls can meet it too."""
    gate_margin: float | None = Field(0.5, ge=0)
    """Nothing is sampled when what is predicted at once from the noise misses that by more; null for no such gate."""

    @field_validator("guidance_scales")
    @classmethod
    def _scales(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        return _valid_scales(value)


class LadderConfig(_Frozen):
    """The rungs that are tried."""

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
    """The way to make images square. Efforts and options say crop-or-pad where none is chosen; here the default stays
    what it was when it was the only one."""
    inversion: InversionConfig = InversionConfig()
    error: ErrorConfig = ErrorConfig()
    generation: GenerationConfig = GenerationConfig()
    ladder: LadderConfig = LadderConfig()
    tokens: TokenSearchConfig = TokenSearchConfig()
    span: SpanConfig | None = Field(None, exclude_if=lambda value: value is None)
    """Search in the span of texts. None where every score is measured within the inversion, as it was before this
    search existed; then it is left out of the hash."""
    invmm: InvMMConfig | None = Field(None, exclude_if=lambda value: value is None)
    """Settings of InvMM, measured after everything else; None without it, and then left out of the hash, so that
    it says what it said before; scores and verdicts do not depend on it."""
    funnel: FunnelConfig | None = Field(None, exclude_if=lambda value: value is None)
    """The rule by which images with an ordinary score are not asked further; None where every image is asked in all
    ways. Controls are always asked in all ways, and the rule is applied to them when targets are compared with them."""

    @model_validator(mode="after")
    def _error_within_inversion(self) -> "Protocol":
        if self.error.after_steps > self.inversion.steps:
            raise ValueError(
                f"the error is measured after {self.error.after_steps} inversion steps, but there are only "
                f"{self.inversion.steps}"
            )
        if self.funnel is not None and self.invmm is not None:
            raise ValueError("a funnel leaves out images that InvMM is asked for: choose --funnel or --measure invmm")
        return self

    def searches_span(self, prediction_type: str) -> bool:
        """Return True when the score of models that predict this is measured after a search in the span of texts.

        >>> Protocol(span=SpanConfig()).searches_span("flow"), Protocol().searches_span("flow")
        (True, False)
        """
        return self.span is not None and prediction_type in self.span.prediction_types

    @property
    def score_steps(self) -> set[int]:
        """Steps of the searches that come before a score: within the inversion, and in the span of texts."""
        return {self.error.after_steps, *([self.span.steps] if self.span else [])}

    def for_model(self, prediction_type: str) -> "Protocol":
        """Return the protocol as runs and null banks of models that predict this record it.

        It lacks the search in the span of texts where such models are measured without it. So what was measured before
        that search was there still agrees with what is measured now.

        >>> Protocol(span=SpanConfig()).for_model("epsilon") == Protocol()
        True
        """
        return self if self.searches_span(prediction_type) else self.model_copy(update={"span": None})

    @property
    def hash(self) -> str:
        """SHA-256 over the protocol's canonical JSON, hexadecimal.

        >>> Protocol().hash == Protocol(framing=Framing.CROP).hash
        True
        """
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    @property
    def deciding(self) -> "Protocol":
        """The protocol of controls: without measures that decide nothing, and without the funnel, which controls skip.

        Null banks must agree with this part.

        >>> Protocol(invmm=InvMMConfig()).deciding == Protocol(funnel=FunnelConfig()).deciding == Protocol()
        True
        """
        return self.model_copy(update={"invmm": None, "funnel": None})

    def canonical(self) -> str:
        """Return the protocol as JSON with sorted keys and no spaces."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    def differences(self, other: "Protocol") -> list[str]:
        """List the keys that differ, as "inversion.steps: 25 here, 50 there".

        A search that only one of them has is named by its option.

        >>> Protocol(span=SpanConfig()).differences(Protocol())
        ['search: texts here, inversion there']
        """
        here, there = _flatten(self.model_dump(mode="json")), _flatten(other.model_dump(mode="json"))
        if (self.span is None) is not (other.span is None):
            here, there = _name_search(here), _name_search(there)
        return [
            f"{key}: {_word(key, here)} here, {_word(key, there)} there"
            for key in dict.fromkeys([*here, *there])
            if here.get(key) != there.get(key)
        ]


EFFORTS: dict[Effort, Protocol] = {
    Effort.QUICK: Protocol(
        inversion=InversionConfig(steps=25), generation=GenerationConfig(seeds=8), span=SpanConfig()
    ),
    Effort.STANDARD: Protocol(
        span=SpanConfig(), ladder=LadderConfig(rungs=("prompt", "caption", "paraphrase", "embedding"))
    ),
    Effort.THOROUGH: Protocol(
        span=SpanConfig(),
        generation=GenerationConfig(
            seeds=160, selection_seeds=32, num_inference_steps=50, guidance_scales=(1.0, 3.0, 7.5)
        ),
        ladder=LadderConfig(rungs=get_args(RungName)),
    ),
}


def protocol_for(effort: Effort, framing: Framing = Framing.CROP_OR_PAD) -> Protocol:
    """Return the protocol of a named effort."""
    return EFFORTS[effort].model_copy(update={"framing": framing})


def _word(key: str, values: Mapping[str, Any]) -> Any:
    return values.get(key, EVERYTHING if key.endswith("streams") else NOTHING)


def _name_search(values: Mapping[str, Any]) -> dict[str, Any]:
    """Put the name of the search in place of its settings."""
    rest = {key: value for key, value in values.items() if not key.startswith("span.")}
    return rest | {"search": (Search.INVERSION if len(rest) == len(values) else Search.TEXTS).value}


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
