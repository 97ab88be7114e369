"""Detected prompts: the settings that a user chooses, and the record of one prompt."""

from typing import Literal

from pydantic import Field

from imgaudit.schema.records import Record, Skipped

Detector = Literal["magnitude", "sharpness"]
"""magnitude: Wen et al.'s norm; sharpness: |H_d d|^2 of Jeon et al. (ICML 2025, arXiv 2412.04140)."""


class PromptDetectionSettings(Record):
    """Everything but the model and the prompt that a score depends on."""

    detector: Detector = "magnitude"
    """The kind of score."""
    steps: int = Field(1, ge=1, le=1000)
    """Steps of the trajectory that are averaged, counted from the noisiest."""
    sampling_steps: int = Field(50, ge=1, le=1000)
    """Steps of the whole trajectory; they decide how far apart its timesteps are."""
    seeds: int = Field(4, ge=1, le=10_000)
    """Initial noises, the same for every prompt."""
    guidance_scale: float = Field(7.5, ge=1, allow_inf_nan=False)
    """Guidance scale of the trajectory; differences are taken before guidance. The first step does not depend on it."""
    tokens: bool = True
    """True when each word gets a weight, which costs a pass per different word and initial noise."""
    seed: int = 0
    """Run seed."""


class Magnitude(Record):
    """A norm of differences."""

    raw: float
    """|d|_2, which grows with the square root of the number of latents."""
    rms: float
    """The same over sqrt(elements): comparable between resolutions."""


class WordWeight(Record):
    """A word of a prompt, and how much of the magnitude is lost without it."""

    text: str
    """The word as it is written in the prompt."""
    weight: float
    """1 - m(prompt without it) / m(prompt), m the magnitude at the noisiest timestep; a mean over noises. At 1
    the prompt does nothing without the word, at 0 the word does nothing; it can be below 0."""
    start: int = Field(ge=0)
    """Index of its first character."""
    end: int = Field(ge=0)
    """Index after its last character."""


class PromptDetection(Record):
    """The measurement of one prompt."""

    prompt: str
    """The prompt as it was given."""
    space: str
    """Space of score and magnitude: "epsilon", or the network's own where epsilon carries no information."""
    score: float
    """By the chosen detector; higher = more memorised."""
    rms: float
    """Magnitude over sqrt(elements), in `space`."""
    native: Magnitude
    """In the network's own output space."""
    epsilon: Magnitude | Skipped
    """Between predicted noises."""
    by_seed: tuple[float, ...]
    """The score of each seed; their mean is the score."""
    tokens: tuple[WordWeight, ...] | Skipped
    """Words with their weights, every occurrence of a word with the same one; punctuation has none."""
    cut: dict[str, int]
    """Text encoder to the number of tokens of the prompt that it never sees."""


class PromptSkipped(Record):
    """A prompt that has no score."""

    prompt: str
    """The prompt as it was given."""
    skipped: str
    """Reason."""


DetectionRecord = PromptDetection | PromptSkipped
"""One line of results.jsonl."""
