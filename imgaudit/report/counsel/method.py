"""What the method is, and what was not tested: from the run alone."""

from collections.abc import Iterator, Sequence

from imgaudit.report.complaint.blocks import Block, Facts, Paragraph
from imgaudit.report.complaint.statement import GENERAL_LIMITS
from imgaudit.report.examined import RENDERING_MEANING
from imgaudit.report.redaction import without_folders
from imgaudit.report.wording import RUNG_WORDING, level_text
from imgaudit.runs.finished import FinishedRun
from imgaudit.schema.manifest import SKIPPED_MEASURE
from imgaudit.schema.records import DECIDING_RUNGS
from imgaudit.schema.score_search import describe_search_budget, search_of
from imgaudit.schema.text import as_sentence, file_name

LISTED = 20
"""Files that could not be audited and are named; the others are counted."""


def describe_untested(run: FinishedRun, folders: Sequence[str]) -> Iterator[Block]:
    """Yield what was not tested, from ways of asking to files that could not be read, and the limits of any audit."""
    rungs = run.result.protocol.ladder.rungs
    rows = [
        (f"Asking with {RUNG_WORDING[rung]}", "not tried on any image")
        for rung in DECIDING_RUNGS
        if rung.value not in rungs
    ]
    generation = run.result.protocol.generation
    scales = ", ".join(f"{scale:g}" for scale in generation.guidance_scales)
    rows.append((
        "More attempts",
        f"Each way of asking was tried {generation.seeds} times per image, with {generation.num_inference_steps} "
        f"sampling steps and guidance {scales}. Other numbers, samplers and image sizes were not tried.",
    ))  # fmt: skip
    rows += [
        (f"Measure {name}", source.removeprefix(SKIPPED_MEASURE))
        for name, source in run.manifest.measures.items()
        if source.startswith(SKIPPED_MEASURE)
    ]
    skipped = run.manifest.skipped
    rows += [
        (f"File {file_name(one.path)}", str(without_folders(f"not audited: {one.skipped}", folders)))
        for one in skipped[:LISTED]
    ]
    if len(skipped) > LISTED:
        rows.append(("Other files", f"{len(skipped) - LISTED:,} more files were not audited; manifest.json names them"))
    rows += [("Remark", str(without_folders(remark, folders))) for remark in run.manifest.remarks[:LISTED]]
    yield Facts(rows)
    yield from (Paragraph(limit) for limit in GENERAL_LIMITS)


def describe_method(run: FinishedRun) -> Iterator[Block]:
    """Yield how an audit works, step by step, and its settings."""
    result, model = run.result, run.manifest.model
    protocol, generation = result.protocol, result.protocol.generation
    rules = "Each verdict is what these rules give for the measurements."
    if result.redecided:
        rules = "The verdicts here were decided again, by other rules, which are named above."
    for term, text in (
        ("Asking", "The model was asked for every image in several ways, from a text that anybody could type to "
         "numbers that a search found with the help of the image. Each time it generated several images, from "
         "different random starts (seeds)."),
        ("Comparing", f"Every generated image was compared with the image. {RENDERING_MEANING} Similarity 1.000 means "
         "the same picture; higher is closer."),
        ("Controls", "All of this was done in the same way with control images. A generated image counts as a copy "
         "only where it is closer than what all but a small share of the controls got. So what any model can be made "
         "to return, trained on an image or not, does not count as a copy."),
        ("Deciding", f"The rules by which measurements become verdicts are written down when an audit begins. {rules} "
         "imgaudit verify derives the verdicts again."),
    ):  # fmt: skip
        yield Paragraph(text, term)
    search = search_of(protocol, model.prediction_type)
    budget = describe_search_budget(protocol, search)
    rows = [
        ("Framing", f"{protocol.framing.value}: how images that are not square were made square"),
        ("Ways of asking", ", ".join(protocol.ladder.rungs)),
        ("Inversion", f"{protocol.inversion.steps} steps of {protocol.inversion.draws} draws"),
        *([("Search for the score", budget)] if budget else []),
        ("Paired draws", f"{protocol.error.draws} per image, for the score"),
        ("Generation", f"{generation.seeds} seeds, {generation.num_inference_steps} steps per way of asking"),
        (
            "Level",
            f"{as_sentence(level_text(result.policy.level))} Copies: closer than all but "
            f"{result.policy.copy_level:.0%} of controls",
        ),
        ("Effort", f"{result.summary.network_evaluations:,} network evaluations, {result.summary.seconds:,.0f} s"),
        ("Protocol", protocol.hash),
        ("Policy", result.policy.hash),
    ]
    rows += [("Measure " + name, source) for name, source in run.manifest.measures.items()
             if not source.startswith(SKIPPED_MEASURE)]  # fmt: skip
    yield Facts(rows)
    if checks := result.summary.model_checks:
        failed = [check.sentence for check in checks.checks if not check.passed]
        yield Paragraph(
            f"Before the audit, {len(checks.checks)} checks were made whether the model works as its files say, with "
            f"{checks.images} of the {checks.source}. "
            + (f"{len(failed)} of them failed: {'; '.join(failed)}." if failed else "It passed all of them.")
        )
