"""Options of benchmarks on labs with layouts. Light, so that help is shown without loading torch."""

from pydantic import Field

from imgaudit.benchmark.settings import LAB, LabSettings


class LegSettings(LabSettings):
    """Count whole copies and layouts that an audit finds by pixels, by the copy descriptor, and by either."""

    model: str = Field("demo-128", description=LAB)
    controls: int = Field(180, ge=1, description="Controls: held-out images, as many in layouts as in the portfolio.")
    held_out: int = Field(100, ge=1, description="Other held-out images to audit.")
    layouts: int = Field(48, ge=0, description="Held-out images to audit in layouts that were never trained on.")
    seen_once: int = Field(0, ge=0, description="Images shown once in training to audit.")


class HostedSettings(LabSettings):
    """Match images that a lab made with its owner's images, as for a hosted model: found, and false."""

    model: str = Field("demo-128", description=LAB)
    each: int = Field(2, ge=1, description="Images to generate for the caption of every memorised image.")
    strangers: int = Field(150, ge=1, description="Images to generate for captions of images that are no targets.")
    held_out: int = Field(60, ge=1, description="Targets that the lab was never trained on.")
    decoys: int = Field(100, ge=39, description="Unrelated images that thresholds come from.")
