"""All benchmarks by name. What a benchmark needs is imported when it runs."""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

from imgaudit.benchmark import layout_settings as layout_options
from imgaudit.benchmark import mitigation_settings as mitigation_options
from imgaudit.benchmark import prompt_settings as prompt_options
from imgaudit.benchmark import settings as options
from imgaudit.benchmark.set_settings import SetSettings

if TYPE_CHECKING:
    from imgaudit.benchmark.harness.procedure import Procedure


@dataclass(frozen=True)
class Benchmark:
    """One benchmark, as the command line lists it."""

    name: str
    """What follows `imgaudit benchmark`."""
    settings: type[options.Settings]
    """Its options."""
    module: str
    """Where it is measured, below imgaudit.benchmark; its PROCEDURE is what runs."""

    @property
    def summary(self) -> str:
        """What it measures, in one line."""
        return self.settings.__doc__ or ""

    def load(self) -> "Procedure[options.Settings, object, object]":
        """Import what measures and prints."""
        module = import_module(f"imgaudit.benchmark.{self.module}")
        return cast("Procedure[options.Settings, object, object]", module.PROCEDURE)


BENCHMARKS = (
    Benchmark("detection", options.VerdictBenchmarkSettings, "verdicts.detection"),
    Benchmark("legs", layout_options.LegSettings, "verdicts.legs"),
    Benchmark("funnel", options.FunnelSettings, "verdicts.funnel"),
    Benchmark("controls", options.ControlSettings, "verdicts.controls"),
    Benchmark("errors", options.ErrorSettings, "verdicts.errors"),
    Benchmark("sets", SetSettings, "verdicts.sets"),
    Benchmark("ladder", options.LadderSettings, "verdicts.ladder"),
    Benchmark("robustness", options.RobustnessSettings, "robustness.attack"),
    Benchmark("replay", options.ReplaySettings, "replays.report"),
    Benchmark("evasion", options.EvasionSettings, "evasion.report"),
    Benchmark("screening", options.ScreeningSettings, "speed.screening"),
    Benchmark("lora", options.LoraSettings, "methods.lora"),
    Benchmark("memory", options.MemorySettings, "speed.memory"),
    Benchmark("price", options.PriceSettings, "speed.price"),
    Benchmark("templates", options.TemplateSettings, "copies.templates"),
    Benchmark("hosted", layout_options.HostedSettings, "copies.hosted"),
    Benchmark("copies", options.CopiesSettings, "copies.recall"),
    Benchmark("mitigations", mitigation_options.MitigationSettings, "methods.mitigations"),
    Benchmark("pruning", mitigation_options.PruningSettings, "methods.pruning"),
    Benchmark("methods", options.MethodSettings, "methods.summary"),
    Benchmark("designs", options.DesignSettings, "budgets.designs"),
    Benchmark("guidance", options.GuidanceSettings, "budgets.guidance"),
    Benchmark("prompts", options.PromptSearchSettings, "budgets.token_search"),
    Benchmark("budget", options.BudgetSettings, "budgets.inversion_steps"),
    Benchmark("frontier", options.FrontierSettings, "budgets.frontier"),
    Benchmark("searches", options.SearchSettings, "searches.report"),
    Benchmark("speed", options.SpeedSettings, "speed.audit_stages"),
    Benchmark("engines", options.EngineSettings, "engines.report"),
    Benchmark("prompt-detection", prompt_options.PromptScoreSettings, "methods.prompt_scores"),
    Benchmark("word-weights", prompt_options.WordWeightSettings, "methods.word_weights"),
    Benchmark("prompt-edits", prompt_options.PromptEditSettings, "methods.prompt_edits"),
    Benchmark("triggers", prompt_options.TriggerSettings, "methods.trigger_search"),
    Benchmark("compile", options.CompileSettings, "speed.compilation"),
    Benchmark("index", options.IndexSettings, "index.plan"),
    Benchmark("invmm", options.InvMMSettings, "methods.invmm_scores"),
    Benchmark("report", options.ReportSettings, "reports.scale"),
    Benchmark("scale", options.ScaleSettings, "scale.bench"),
    Benchmark("verification", options.VerificationSettings, "verification.bench"),
)
"""Every benchmark, in the order of the help."""
