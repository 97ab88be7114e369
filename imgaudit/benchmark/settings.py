"""Options of every benchmark, with types, defaults and help. Light, so that help is shown without loading torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from imgaudit.schema.protocol import Effort, TokenSearchConfig
from imgaudit.schema.records import Record

_TOKENS = TokenSearchConfig()
_WORK = Path("imgaudit-benchmark")
_LAB = "Bundled lab, or a folder that `lab train` wrote."
_DEVICE = "auto, cpu, mps, cuda or cuda:N."
_CORPUS = "Corpus of the lab; bundled labs bring their images."


@dataclass(frozen=True)
class Positional:
    """Marks an option that is given without a name, as an argument."""

    metavar: str
    """The argument as help shows it."""


class Settings(Record):
    """Options of a benchmark."""


class Tabled(Settings):
    """Options of a benchmark whose table is saved and read again."""

    table: Path | None = Field(None, description="Compute the statistics of this saved table again; needs no model.")
    save: Path | None = Field(None, description="Write the table to this file, to be committed with the lab.")


class Seeded(Tabled):
    """Options of a benchmark that draws random numbers."""

    seed: int = Field(1, description="Run seed.")


class WithFolder(Settings):
    """Options of a benchmark that keeps finished work in a folder."""

    out: Path = Field(_WORK, description="Work folder; an interrupted benchmark continues from it.")


class Batched(Settings):
    """Options of a benchmark that calls the network in batches."""

    batch_size: int = Field(64, ge=1, description="Largest batch given to the network at once.")


class OnModel(Settings):
    """Options of a benchmark that loads a lab's model and needs no images."""

    model: str = Field("demo", description=_LAB)
    device: str = Field("auto", description=_DEVICE)


class OnLab(OnModel):
    """Options of a benchmark that measures a lab's images."""

    images: Path | None = Field(None, description=_CORPUS)


class LabSettings(Batched, WithFolder, Seeded, OnLab):
    """Options of a benchmark that measures a lab's images in batches and keeps finished work."""


class FitSettings(LabSettings):
    """Options of a benchmark by which defaults are chosen, on the lab `fit` alone."""

    model: str = Field("examples/labs/fit", description=_LAB)


class CommandSettings(WithFolder, Seeded):
    """Options of a benchmark that runs imgaudit's own commands on a lab."""

    model: str = Field("demo", description=_LAB)
    images: Path | None = Field(None, description=_CORPUS)


class DetectionSettings(WithFolder, Seeded, OnLab):
    """Options of `detection`."""

    effort: Effort = Field(Effort.QUICK, description="Effort of the audit; a bundled bank has its own.")
    learning_rate: float | None = Field(
        None, description="Learning rate of the inversion, in units of the start's root mean square; by default 0.1."
    )
    score_after: int | None = Field(None, description="Inversion steps before the score; by default 8.")
    brief: bool = Field(False, description="Print only the goals and whether they were met.")


class ControlSettings(WithFolder, Tabled, OnLab):
    """Options of `controls`."""

    images: Path = Field(description="Folder of images that the lab was not trained on.")
    note: str = Field(description="Where the images come from.")
    save: Path = Field(description="File to write the control table to.")
    like: Path = Field(description="Score table; the controls are measured by its protocol, on its lab.")
    count: int = Field(320, ge=1, description="How many images to take, in order of SHA-256.")


class ErrorSettings(Seeded):
    """Options of `errors`."""

    table: Path = Field(description="Score table that `benchmark detection --save` wrote.")
    other: Path | None = Field(None, description="Control table of another population, from `benchmark controls`.")


class LadderSettings(WithFolder, Seeded, OnLab):
    """Options of `ladder`."""

    model: str = Field("examples/labs/report-a", description=_LAB)
    effort: Effort = Field(Effort.QUICK, description="Effort of everything but the rungs.")
    words: int = Field(_TOKENS.words, ge=1, le=32, description="Words of a searched prompt.")
    evaluations: int = Field(_TOKENS.evaluations, ge=1, description="Network evaluations of its search per image.")


class FrontierSettings(LabSettings):
    """Options of `frontier`."""

    baselines: Literal["dori", "invmm", "both", "none"] = Field("dori", description="Published protocols to run too.")
    invmm_images: int = Field(
        8, ge=1, description="Memorised and as many held-out images for InvMM, which takes minutes for each."
    )


class SpeedSettings(Batched, Seeded, OnLab):
    """Options of `speed`."""

    count: int = Field(8, ge=1, description="Images measured together.")
    effort: Effort = Field(Effort.QUICK, description="Effort of the audit that is timed.")


class CompileSettings(Tabled):
    """Options of `compile`."""

    model: str = Field("demo", description="Any model that can be audited.")
    device: str = Field("auto", description=_DEVICE)
    batch_size: int = Field(32, ge=1, description="Samples in every pass.")


class MemorySettings(Tabled):
    """Options of `memory`."""

    only: list[str] = Field([], description="Name of a published model; may be repeated. All of them by default.")


class ScreeningSettings(WithFolder, Seeded):
    """Options of `screening`."""

    images: list[int] = Field([2000, 20000], description="Images of a folder, at least 100; may be repeated.")
    side: int = Field(512, ge=8, description="Width and height of the images, in pixels.")


class RobustnessSettings(Seeded):
    """Options of `robustness`."""

    model: str = Field("demo", description="Model to audit: demo, or a diffusers folder.")
    kills: int = Field(120, ge=0, description="SIGKILLs at random moments of every stage.")
    full_disks: int = Field(20, ge=0, description="Audits that run out of disk; needs a superuser.")
    damaged_runs: int = Field(5, ge=0, description="Runs for each kind of damage to their records.")
    out: Path | None = Field(None, description="Work folder; by default a temporary one.")


class LoraSettings(CommandSettings):
    """Options of `lora`."""

    planted: int = Field(16, ge=1, description="Held-out images that the LoRA is trained on.")
    others: int = Field(32, ge=1, description="Held-out images that nothing is trained on.")
    controls: int = Field(160, ge=8, description="Further held-out images, for both banks.")
    rank: int = Field(32, ge=1, description="Rank of the LoRA.")
    steps: int = Field(400, ge=1, description="Optimiser steps of the LoRA.")


class MitigationSettings(CommandSettings):
    """Options of `mitigations`."""

    clip: Path | None = Field(None, description="Folder of a CLIPModel, to judge text alignment.")
    general: int = Field(40, ge=1, description="General prompts, and as many images to retain.")
    controls: int = Field(60, ge=8, description="Controls of every audit.")
    pictures: int = Field(8, ge=1, description="Pictures generated for each prompt.")


class InvMMSettings(LabSettings):
    """Options of `invmm`."""

    images_each: int = Field(16, ge=1, description="Memorised and as many held-out images.")
    steps: int | None = Field(None, ge=1, description="Steps of the longest search; by default the audit's.")


class TriggerSettings(Batched, Seeded, OnLab):
    """Options of `triggers`."""

    batch_size: int = Field(256, ge=1, description="Largest batch given to the network at once.")


class PromptScoreSettings(Batched, Seeded, OnModel):
    """Options of `prompt-detection`."""


class MethodSettings(Settings):
    """Options of `methods`."""

    labs: Annotated[list[str], Positional("LAB...")] = Field(description="Bundled labs, or lab folders with tables.")


class TemplateSettings(Seeded):
    """Options of `templates`."""

    images: Path | None = Field(None, description="Folder of real pictures, such as Debian's openclipart.")
    pictures: int = Field(300, ge=20, description="Pictures in either half.")
    related: int = Field(100, ge=4, description="Pairs of each kind that share something.")
    unrelated: int = Field(670, ge=1, description="Pairs of each kind that share nothing.")
    fitted: int = Field(400, ge=40, description="Pairs of each kind that set the thresholds.")


class CopiesSettings(Seeded):
    """Options of `copies`."""

    images: list[Path] = Field([], description="Folder of different pictures; may be repeated.")
    pictures: int = Field(60, ge=4, description="Originals in either half.")
    slow: bool = Field(False, description="Add imagehash's crop-resistant hash, which is slow.")


class IndexSettings(WithFolder, Seeded):
    """Options of `index`."""

    sizes: str = Field("10000,100000", description="Numbers of vectors, separated by commas.")
    vectors: str = Field(
        "64 floats,256 bits", description="What is stored, as `64 floats` or `256 bits`, separated by commas."
    )
    kind: str = Field("auto", description="Kind of index, as for `imgaudit index build`.")
    threads: int = Field(1, ge=1, description="Threads of FAISS and numpy.")
    plan: int | None = Field(None, ge=1, description="Print a plan for so many vectors instead of the tables.")
    price_core_hour: float | None = Field(None, ge=0, description="Price of a core for an hour; with --plan.")
    price_gib_month: float | None = Field(None, ge=0, description="Price of a GiB of disk for a month; with --plan.")
    append: bool = Field(False, description="Keep the other rows of the table at --save.")


class ReportSettings(WithFolder, Seeded):
    """Options of `report`."""

    sizes: str = Field("1,50,10000", description="Numbers of images, separated by commas.")
    side: int = Field(512, ge=16, le=2048, description="Width and height of the pictures, in pixels.")
    processes: int | None = Field(
        None, ge=1, description="Processes that write thumbnails; by default as many as processors."
    )
    repeats: int = Field(11, ge=1, description="Repeats of what is timed in the browser.")
