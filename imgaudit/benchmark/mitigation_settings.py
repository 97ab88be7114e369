"""Options of the benchmarks of mitigations. Light, so that help is shown without loading torch."""

from pathlib import Path

from pydantic import Field

from imgaudit.benchmark.settings import CommandSettings


class MitigationSettings(CommandSettings):
    """Measure what captions and inversion still return after pruning, fine-tuning and inference-time mitigations."""

    clip: Path | None = Field(
        None, description="CLIP network to judge how well images fit prompts; by default not judged."
    )
    filtered: Path | None = Field(
        None, description="Lab trained with a filter on the images of this one, to measure too; by default none."
    )
    general: int = Field(40, ge=1, description="Other prompts, to measure what is lost, and as many images to keep.")
    controls: int = Field(60, ge=8, description="Controls of every audit.")
    pictures: int = Field(8, ge=1, description="Images generated per prompt.")


class PruningSettings(CommandSettings):
    """Prune by one half of the memorised images, and measure what is left of the other half, both ways round."""

    share: float = Field(0.03, gt=0, lt=1, description="Share of all weights that is set to zero.")
    general: int = Field(40, ge=1, description="Other images in each half, to measure what is lost.")
    controls: int = Field(40, ge=8, description="Controls of every audit.")
    pictures: int = Field(8, ge=1, description="Images generated per prompt.")
