"""All benchmarks by name. What a benchmark needs is imported when it runs."""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

from imgaudit.benchmark import settings as options

if TYPE_CHECKING:
    from imgaudit.benchmark.harness.procedure import Procedure


@dataclass(frozen=True)
class Benchmark:
    """One benchmark, as the command line lists it."""

    name: str
    """What follows `imgaudit benchmark`."""
    summary: str
    """What it measures, in one line."""
    settings: type[options.Settings]
    """Its options."""
    module: str
    """Where it is measured, below imgaudit.benchmark; its PROCEDURE is what runs."""

    def load(self) -> "Procedure[options.Settings, object, object]":
        """Import what measures and prints."""
        module = import_module(f"imgaudit.benchmark.{self.module}")
        return cast("Procedure[options.Settings, object, object]", module.PROCEDURE)


BENCHMARKS = (
    Benchmark(
        "detection",
        "Measure how well an audit tells memorised images from others. No image measured is also a control.",
        options.VerdictBenchmarkSettings, "verdicts.detection",
    ),
    Benchmark(
        "controls", "Measure another population of controls for a lab, for `errors --other`.",
        options.ControlSettings, "verdicts.controls",
    ),
    Benchmark(
        "errors",
        "Compute false discovery and power of portfolios drawn from a score table, and test the bank on fresh images.",
        options.ErrorSettings, "verdicts.errors",
    ),
    Benchmark(
        "ladder",
        "Find the lowest rung that reproduces images, with captions and without, against 60 held-out images.",
        options.LadderSettings, "verdicts.ladder",
    ),
    Benchmark(
        "robustness",
        "Attack an audit with hostile files, kills, full disks and damaged runs, and print how each case ended.",
        options.RobustnessSettings, "robustness.attack",
    ),
    Benchmark(
        "screening", "Time the first and second look at large folders of images, with their memory.",
        options.ScreeningSettings, "speed.screening",
    ),
    Benchmark(
        "lora", "Train a LoRA on a few images, and see whether audits and `compare` find them.",
        options.LoraSettings, "methods.lora",
    ),
    Benchmark(
        "memory", "Count the memory that published models need, stage by stage, without their weights.",
        options.MemorySettings, "speed.memory",
    ),
    Benchmark(
        "templates", "Plant templates, logos and composites, and measure how many are found at 1 % false positives.",
        options.TemplateSettings, "copies.templates",
    ),
    Benchmark(
        "copies",
        "Measure how many changed copies are found at 1 % false positives, beside imagehash and imagededup.",
        options.CopiesSettings, "copies.recall",
    ),
    Benchmark(
        "mitigations",
        "Measure what captions and inversion still return after pruning, fine-tuning and inference-time mitigations.",
        options.MitigationSettings, "methods.mitigations",
    ),
    Benchmark(
        "methods",
        "Print the goals of prompt detection, InvMM, trigger search and mitigations on labs that chose no settings.",
        options.MethodSettings, "methods.summary",
    ),
    Benchmark(
        "designs", "Vary the choices of the inversion one at a time: how defaults are chosen, on the lab `fit` alone.",
        options.FitSettings, "budgets.designs",
    ),
    Benchmark(
        "guidance", "Vary guidance scale and sampling steps, on the lab `fit` alone.",
        options.FitSettings, "budgets.guidance",
    ),
    Benchmark(
        "prompts", "Search prompts with the image in hand, by number of words and budget, on the lab `fit` alone.",
        options.FitSettings, "budgets.token_search",
    ),
    Benchmark(
        "budget", "Measure what more inversion steps gain, and when untrained images are reproduced as well.",
        options.LabSettings, "budgets.inversion_steps",
    ),
    Benchmark(
        "frontier", "Measure detection against network evaluations per image, beside the protocols of DoRI and InvMM.",
        options.FrontierSettings, "budgets.frontier",
    ),
    Benchmark(
        "speed", "Time every stage of an audit, beside the raw time of the same network passes.",
        options.SpeedSettings, "speed.audit_stages",
    ),
    Benchmark(
        "prompt-detection",
        "Measure how well detectors tell captions of memorised images from others. Needs no images.",
        options.PromptScoreSettings, "methods.prompt_scores",
    ),
    Benchmark(
        "triggers", "Count the memorised images that a trigger search finds, beside as many random sentences.",
        options.TriggerSettings, "methods.trigger_search",
    ),
    Benchmark(
        "compile", "Time the same network passes with and without compiled blocks, and the wait before the first.",
        options.CompileSettings, "speed.compilation",
    ),
    Benchmark(
        "index", "Build and search collections by size: time, bytes, recall and memory, beside FAISS alone and numpy.",
        options.IndexSettings, "index.plan",
    ),
    Benchmark(
        "invmm", "Measure how well InvMM tells memorised images from others, and its cost beside the plain embedding.",
        options.InvMMSettings, "methods.invmm_scores",
    ),
    Benchmark(
        "report", "Render reports by number of images: time, bytes, memory, and how soon a browser filters and sorts.",
        options.ReportSettings, "reports.scale",
    ),
)  # fmt: skip
"""Every benchmark, in the order of the help."""
