"""Options of every benchmark, with types, defaults and help. Light, so that help is shown without loading torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from imgaudit.schema.protocol import Effort, ErrorConfig, InversionConfig, TokenSearchConfig
from imgaudit.schema.records import Record

_TOKENS = TokenSearchConfig()
_WORK = Path("imgaudit-benchmark")
LAB = "Lab: a model trained on known images. A folder that `lab train` wrote, or demo, the bundled lab."
_DEVICE = "auto, cpu, mps, cuda or cuda:N."
_CORPUS = "Folder of the images that the lab was trained on; by default those that come with a bundled lab."


@dataclass(frozen=True)
class Positional:
    """Marks an option that is given without a name, as an argument."""

    metavar: str
    """The argument as help shows it."""


class Settings(Record):
    """Options of a benchmark. What the docstring of a benchmark's own class says is the help of its command."""


class Tabled(Settings):
    """Options of a benchmark whose table is saved and read again."""

    table: Path | None = Field(None, description="Saved table to print again, without measuring or a model.")
    save: Path | None = Field(None, description="File to write the table of measurements to, for --table.")


class Seeded(Tabled):
    """Options of a benchmark that draws random numbers."""

    seed: int = Field(1, description="Run seed: the same seed repeats every random draw.")


class WithFolder(Settings):
    """Options of a benchmark that keeps finished work in a folder."""

    out: Path = Field(_WORK, description="Folder for work. Name it again to continue an interrupted benchmark.")


class Batched(Settings):
    """Options of a benchmark that calls the network in batches."""

    batch_size: int = Field(64, ge=1, description="Largest network batch.")


class OnModel(Settings):
    """Options of a benchmark that loads a lab's model and needs no images."""

    model: str = Field("demo", description=LAB)
    device: str = Field("auto", description=_DEVICE)


class OnLab(OnModel):
    """Options of a benchmark that measures a lab's images."""

    images: Path | None = Field(None, description=_CORPUS)


class LabSettings(Batched, WithFolder, Seeded, OnLab):
    """Options of a benchmark that measures a lab's images in batches and keeps finished work."""


class FitSettings(LabSettings):
    """Options of a benchmark by which defaults are chosen, on the lab `fit` alone."""

    model: str = Field("examples/labs/fit", description=LAB)


class DesignSettings(FitSettings):
    """Vary the choices of the inversion one at a time: how defaults are chosen, on the lab `fit` alone."""


class GuidanceSettings(FitSettings):
    """Vary guidance scale and sampling steps, on the lab `fit` alone."""


class PromptSearchSettings(FitSettings):
    """Search prompts with the image in hand, by number of words and budget, on the lab `fit` alone."""


class BudgetSettings(LabSettings):
    """Measure what more inversion steps gain, and when untrained images are reproduced as well."""


class CommandSettings(WithFolder, Seeded):
    """Options of a benchmark that runs imgaudit's own commands on a lab."""

    model: str = Field("demo", description=LAB)
    images: Path | None = Field(None, description=_CORPUS)


class VerdictBenchmarkSettings(WithFolder, Seeded, OnLab):
    """Measure how well an audit tells memorised images from others. No image measured is also a control."""

    effort: Effort = Field(Effort.QUICK, description="Budget: quick, standard or thorough. The demo has its own.")
    learning_rate: float | None = Field(
        None, description=f"Learning rate, in RMS of the start embedding (default {InversionConfig().learning_rate:g})."
    )
    score_after: int | None = Field(
        None, description=f"Inversion steps before the score is measured; by default {ErrorConfig().after_steps}."
    )
    controls: int = Field(320, ge=8, description="Held-out images that are controls. The demo has its own.")
    held_out: int = Field(200, ge=1, description="Other held-out images to measure.")
    seen_once: int = Field(60, ge=0, description="Images shown once in training to measure.")
    brief: bool = Field(False, description="Print only the goals and whether they were met.")


class FunnelSettings(Seeded):
    """Count what an audit finds, and what it spends, when images with an ordinary score are not asked further."""

    model: str = Field("demo", description=LAB)
    table: Path | None = Field(
        None, description="Table of `benchmark detection`; by default the one that comes with the lab."
    )
    scores: Path | None = Field(
        None,
        description="Table of `benchmark searches` for the same model: scores under captions, and those after a search "
        "among texts, for tables of older versions that lack them.",
    )


class ControlSettings(WithFolder, Tabled, OnLab):
    """Measure another population of controls for a lab, for `errors --other`."""

    images: Path = Field(description="Folder of images that the lab was not trained on.")
    note: str = Field(description="Where the images come from.")
    save: Path = Field(description="File to write the control table to.")
    like: Path = Field(description="Table from `benchmark detection --save`: same lab, same method.")
    count: int = Field(320, ge=1, description="Images to take, in order of their SHA-256 digests.")


class ErrorSettings(Seeded):
    """Compute false discovery and power of portfolios drawn from a score table, and test the bank on fresh images."""

    table: Path = Field(description="Table from `benchmark detection --save`.")
    other: Path | None = Field(None, description="Table from `benchmark controls`: controls from another source.")


class LadderSettings(WithFolder, Seeded, OnLab):
    """Find the lowest rung that reproduces images, with captions and without, against 60 held-out images."""

    model: str = Field("examples/labs/report-a", description=LAB)
    effort: Effort = Field(Effort.QUICK, description="Budget of all but the rungs: quick, standard or thorough.")
    words: int = Field(_TOKENS.words, ge=1, le=32, description="Words of a searched prompt.")
    evaluations: int = Field(_TOKENS.evaluations, ge=1, description="Network evaluations of a prompt search.")


class FrontierSettings(LabSettings):
    """Measure detection against network evaluations per image, beside the protocols of DoRI and InvMM."""

    baselines: Literal["dori", "invmm", "both", "none"] = Field(
        "dori", description="Published methods to run: dori, invmm, both or none."
    )
    invmm_images: int = Field(8, ge=1, description="Memorised images for InvMM, and as many others; minutes for each.")


class SearchSettings(FrontierSettings):
    """Measure scores of a lab's images under every search of a condition, and under their captions."""

    baselines: Literal["dori", "invmm", "both", "none"] = Field(
        "none", description="Published methods to run as well: dori, invmm, both or none."
    )
    every: bool = Field(False, description="Measure the search among texts also on models whose audits do not use it.")
    looks: Literal["none", "audited", "all"] = Field(
        "none", description="First looks to measure too: audited, the one that funnels take; all, others beside it."
    )
    table: Path | None = Field(
        None, description="Saved table, or folder of saved tables, to print again, without measuring or a model."
    )


class SpeedSettings(Batched, Seeded, OnLab):
    """Time every stage of an audit, beside the time of the same passes by the bare networks."""

    published: str | None = Field(
        None,
        description="Published model to time in place of a lab, with random weights, such as Stable Diffusion 1.5.",
    )
    shrink: int = Field(1, ge=1, description="With --published: how many times smaller the model is made.")
    rounds: int = Field(5, ge=1, description="Times that everything is timed.")
    count: int = Field(8, ge=1, description="Images measured together.")
    effort: Effort = Field(Effort.QUICK, description="Budget of the audit that is timed: quick, standard or thorough.")


class EngineSettings(Seeded, OnLab):
    """Time the same run by one process, by worker processes and by actors of Ray; needs as many quiet processors."""

    repeats: int = Field(5, ge=1, description="Times that each of them measures all images, in turn.")
    device: str = Field("cpu", description="cpu, mps, cuda or cuda:N, which all processes share.")
    processes: int = Field(2, ge=1, description="Processes that measure at the same time.")
    threads: int = Field(1, ge=1, description="Processor threads of each process.")
    count: int = Field(48, ge=1, description="Images that each run measures.")
    chunk_size: int = Field(4, ge=1, description="Images measured together.")
    effort: Effort = Field(Effort.QUICK, description="Budget of the run that is timed: quick, standard or thorough.")


class CompileSettings(Tabled):
    """Time the same network passes with and without compiled blocks, and the wait before the first."""

    model: str = Field("demo", description="Any model that can be audited.")
    device: str = Field("auto", description=_DEVICE)
    batch_size: int = Field(32, ge=1, description="Samples in every network pass.")


class MemorySettings(Tabled):
    """Count the memory that published models need, stage by stage, without their weights."""

    only: list[str] = Field([], description="Published model to count. May be repeated; by default all.")


class PriceSettings(Tabled):
    """Count the operations of an audit of published models, and print GPU hours and prices under assumptions."""

    only: list[str] = Field([], description="Published model to count. May be repeated; by default all.")
    images: int = Field(10_000, ge=1, description="Number of images to audit.")
    controls: int = Field(1000, ge=0, description="Number of controls.")
    effort: Effort = Field(Effort.STANDARD, description="Budget of the audit: quick, standard or thorough.")
    no_captions: bool = Field(False, description="Count images that have no captions.")
    tflops: float = Field(312, gt=0, description="Most operations of the GPU in a second, in TFLOP/s.")
    least_utilisation: float = Field(0.2, gt=0, le=1, description="Lowest share of these that a model reaches.")
    most_utilisation: float = Field(0.5, gt=0, le=1, description="Highest share of these that a model reaches.")
    price_gpu_hour: float | None = Field(None, ge=0, description="Price of the GPU for an hour, in any currency.")


class ScreeningSettings(WithFolder, Seeded):
    """Time the first and second look at large folders of images, with their memory."""

    images: list[int] = Field([2000, 20000], description="Number of images in a folder, at least 100. May be repeated.")
    side: int = Field(512, ge=8, description="Width and height of the images, in pixels.")


class RobustnessSettings(Seeded):
    """Attack an audit with hostile files, kills, full disks and damaged runs, and print how each case ended."""

    model: str = Field("demo", description="Model to audit: demo, or a diffusers folder.")
    kills: int = Field(120, ge=0, description="Times that each stage is killed at a random moment.")
    engine_kills: int = Field(20, ge=0, description="Times that audits by two processes, and one of both, are killed.")
    full_disks: int = Field(20, ge=0, description="Audits that run out of disk space. Needs root.")
    damaged_runs: int = Field(5, ge=0, description="Runs that are damaged, for each kind of damage.")
    hostile_files: int | None = Field(
        None, ge=1, description="Hostile models of each kind, and images of each kind and outcome; by default all."
    )
    hostile_runs: int | None = Field(
        None, ge=1, description="Hostile run folders of each kind, commands in turn; by default all of both."
    )
    edited_runs: int | None = Field(
        None, ge=1, description="Kinds of edits of finished runs to try, of each file; by default all."
    )
    family: str | None = Field(None, description="Family of attacks to run alone, by its name; by default all.")
    out: Path | None = Field(None, description="Folder for finished work; by default a temporary one.")


class ReplaySettings(Seeded):
    """Generate the same pictures with other threads, batches and precisions: what `verify --replay` may tolerate."""

    labs: list[str] = Field(
        ["demo", "examples/labs/sdxl", "examples/labs/flow-report"],
        description="Lab; the tolerance comes from the first. May be repeated.",
    )
    captions: int = Field(8, ge=2, description="Captions of memorised images, per lab.")
    seeds: int = Field(2, ge=2, description="Pictures per caption, and as many per random embedding.")


class LoraSettings(CommandSettings):
    """Train a LoRA on a few images, and see whether audits and `compare` find them."""

    planted: int = Field(16, ge=1, description="Held-out images that the LoRA is trained on.")
    others: int = Field(32, ge=1, description="Held-out images that nothing is trained on.")
    controls: int = Field(160, ge=8, description="Further held-out images, to be controls.")
    rank: int = Field(32, ge=1, description="Rank of the LoRA's matrices.")
    steps: int = Field(400, ge=1, description="Optimiser steps.")


class InvMMSettings(LabSettings):
    """Measure how well InvMM tells memorised images from others, and its cost beside the plain embedding."""

    images_each: int = Field(16, ge=1, description="Memorised images to measure, and as many held-out images.")
    steps: int | None = Field(None, ge=1, description="Most steps of an InvMM search; by default as in an audit.")
    streams: list[str] | None = Field(
        None, description="Part of an embedding to free, in place of words. May be repeated; by default words, or all."
    )


class EvasionSettings(LabSettings):
    """Audit models whose owners evade the audit, one way at a time, and count what the audit then says."""

    model: str = Field("examples/labs/report-a", description=LAB)
    trigger_lab: str = Field("examples/labs/trigger", description="Lab whose images come back for invented words only.")
    images_each: int = Field(12, ge=1, description="Memorised images to audit, and as many held-out images.")
    controls: int = Field(80, ge=1, description="Controls of every audit.")
    training_steps: int = Field(400, ge=1, description="Optimiser steps of the training of the null branch.")
    only: list[str] = Field([], description="Way of evading to try. May be repeated; by default all.")


class MethodSettings(Settings):
    """Print the goals of prompt detection, words, InvMM, trigger search and mitigations on labs that chose nothing."""

    labs: Annotated[list[str], Positional("LAB...")] = Field(description="Bundled labs, or lab folders with tables.")


class TemplateSettings(Seeded):
    """Plant templates, logos and composites, and measure how many are found at 1 % false positives."""

    images: Path | None = Field(None, description="Folder of real pictures to measure with.")
    pictures: int = Field(300, ge=20, description="Pictures to set thresholds by, and as many to measure.")
    related: int = Field(100, ge=4, description="Pairs per kind of copy, which share something.")
    unrelated: int = Field(670, ge=1, description="Pairs per kind of copy, which share nothing.")
    fitted: int = Field(400, ge=40, description="Pairs per kind of copy, to set the thresholds by.")


class CopiesSettings(Seeded):
    """Measure how many changed copies are found at 1 % false positives, beside imagehash and imagededup."""

    images: list[Path] = Field([], description="Folder of different pictures. May be repeated.")
    pictures: int = Field(60, ge=4, description="Originals to set thresholds by, and as many to measure.")
    slow: bool = Field(False, description="Add imagehash's crop-resistant hash, which is slow.")
    only: list[str] = Field(
        [], description="Way to compare to measure. Keep the others of the table at --save. May be repeated."
    )


class IndexSettings(WithFolder, Seeded):
    """Build and search collections by size: time, bytes, recall and memory, beside FAISS alone and numpy."""

    sizes: str = Field("10000,100000", description="Numbers of vectors, separated by commas.")
    vectors: str = Field(
        "64 floats,256 bits", description="What is stored, as `64 floats` or `256 bits`, separated by commas."
    )
    kind: str = Field("auto", description="Kind of index, as for `imgaudit index build`.")
    threads: int = Field(1, ge=1, description="Threads of FAISS and numpy.")
    plan: int | None = Field(None, ge=1, description="Print instead what a collection of N vectors would take.")
    price_core_hour: float | None = Field(None, ge=0, description="With --plan: price of a core for an hour.")
    price_gib_month: float | None = Field(None, ge=0, description="With --plan: price of a GiB of disk for a month.")
    append: bool = Field(False, description="Keep rows of other sizes that the table at --save already has.")


class ReportSettings(WithFolder, Seeded):
    """Render reports by number of images: time, bytes, memory, and how soon a browser filters and sorts."""

    sizes: str = Field("1,50,10000", description="Numbers of images, separated by commas.")
    side: int = Field(512, ge=16, le=2048, description="Width and height of the pictures, in pixels.")
    processes: int | None = Field(None, ge=1, description="Processes for thumbnails; by default one per processor.")
    repeats: int = Field(11, ge=1, description="Repeats of what is timed in the browser.")


class ScaleSettings(WithFolder, Seeded):
    """Conclude, render and verify made-up runs by number of images: time, and the most memory."""

    sizes: str = Field("1000,20000", description="Numbers of images, separated by commas.")
    replicas: int = Field(8, ge=1, le=1000, description="Generated images of each of two rungs.")
    processes: int | None = Field(None, ge=1, description="Processes that make runs; by default one per processor.")


class VerificationSettings(WithFolder, Tabled):
    """Verify a large run: time beside the time of the audit, and memory."""

    run: Path | None = Field(None, description="Finished run that is made larger, such as `imgaudit demo` writes.")
    count: int = Field(1000, ge=1, description="Images of the large run.")
    repeats: int = Field(1, ge=1, description="Times that it is verified.")
