"""How often the method errs, as the run itself shows it: the same part in statements and in the file for counsel."""

from collections.abc import Iterator, Sequence

from imgaudit.decision.null_bank import NullBank
from imgaudit.report.alarm_wording import sort_alarms
from imgaudit.report.complaint.blocks import Block, Facts, Paragraph
from imgaudit.report.redaction import without_folders
from imgaudit.report.wording import (
    CORRECTION_WORDING,
    blind_comparison_text,
    controls_text,
    controls_used_text,
    level_text,
)
from imgaudit.runs.finished import FinishedRun
from imgaudit.schema.error_checks import RateInterval
from imgaudit.schema.findings import Alarm
from imgaudit.schema.records import Skipped
from imgaudit.schema.text import as_sentence
from imgaudit.statistics import clopper_pearson


def alarm_text(alarm: Alarm, folders: Sequence[str]) -> str:
    """Return the message of an alarm as a sentence without folders."""
    return as_sentence(str(without_folders(alarm.message, folders)))


def describe_errors(run: FinishedRun, folders: Sequence[str]) -> Iterator[Block]:
    """Yield how often the method errs, with bounds; every number is one of this run."""
    summary, level = run.result.summary, run.result.summary.level
    if not summary.controls:
        yield Paragraph(
            "This audit had no controls, so it says nothing about how often the method errs on this model. Only copies "
            "from texts that were not derived from an image can be concluded without controls."
        )
        return
    yield Paragraph(
        "The method was tried on controls: images that cannot have been in the training set, as far as the owner "
        "knows. They went through the same procedure, with the same settings, on the same model. What happens with "
        "controls happens without training."
    )
    rows = [("Controls", _describe_controls(run, run.bank, folders))]
    rate = summary.false_positive
    rows.append(("False alarms per image", _describe_rate(rate, level)))
    if isinstance(summary.forcing, Skipped):
        rows.append(("Check on other controls", f"not made: {summary.forcing.skipped}"))
    else:
        found = clopper_pearson(summary.forcing.called, summary.forcing.n)
        rows.append((
            "Check on other controls",
            f"{summary.forcing.n} controls were kept out and judged by the same rule as the works. It called "
            f"{summary.forcing.called or 'none'} of them reproduced. So the rate of such errors is between "
            f"{found.low:.1%} and {found.high:.1%} with 95 % confidence.",
        ))  # fmt: skip
    rows.append((
        "Over all images",
        f"{as_sentence(level_text(level)).removesuffix('.')} "
        f"({CORRECTION_WORDING[run.result.policy.correction]}, over {summary.hypotheses} works).",
    ))  # fmt: skip
    said = controls_used_text(run.result)
    rows.append(("What the controls can show", f"{said[0].upper()}{said[1:]}."))
    if compared := blind_comparison_text(summary):
        rows.append(("Fair comparison", compared))
    yield Facts(rows)
    for alarm in sort_alarms(summary.alarms):
        yield Paragraph(alarm_text(alarm, folders), "Alarm")
    version = run.manifest.versions.get("imgaudit", "")
    yield Paragraph(
        "The method was also measured on models whose training images are known. Those figures are not part of this "
        f"run, so none is quoted here. They are in the documentation of imgaudit {version}, on the page “Measured: "
        "false findings, power and the ladder”, and the command imgaudit benchmark errors prints them again."
    )


def _describe_controls(run: FinishedRun, bank: NullBank | None, folders: Sequence[str]) -> str:
    source = f". Origin of the files: {without_folders(bank.source, folders)}" if bank else ""
    return f"{controls_text(run.result.summary)}{source}"


def _describe_rate(rate: RateInterval | Skipped, level: float) -> str:
    if isinstance(rate, Skipped):
        return f"not known: {rate.skipped}"
    return (
        f"An image like the controls gets a p-value of {level:g} or less with a probability between {rate.low:.1%} and "
        f"{rate.high:.1%} (95 % confidence, given these controls)."
    )
