"""Options of benchmarks of prompts and their words. Light, so that help is shown without loading torch."""

from pydantic import Field

from imgaudit.benchmark.settings import Batched, OnLab, OnModel, Seeded


class TriggerSettings(Batched, Seeded, OnLab):
    """Count the memorised images that a trigger search finds, beside as many random sentences."""

    batch_size: int = Field(256, ge=1, description="Largest network batch.")


class PromptEditSettings(Batched, Seeded, OnModel):
    """Measure how near a prompt must come to a memorised caption to stand out, word by word. Needs no images."""


class PromptScoreSettings(Batched, Seeded, OnModel):
    """Measure how well detectors tell captions of memorised images from others. Needs no images."""


class WordWeightSettings(Batched, Seeded, OnLab):
    """Measure how often the heaviest word of a caption is one that its memorised image needs to come back."""

    captions: int | None = Field(
        None, ge=0, description="Captions to generate images for, the first by SHA-256; by default all."
    )
