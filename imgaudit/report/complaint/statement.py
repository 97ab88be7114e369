"""The statement of a complaint: one work, one model, how it was asked, what it generated, and how certain that is."""

from collections.abc import Iterator
from typing import Any

from imgaudit.report.complaint.blocks import (
    Blank,
    Block,
    Code,
    Facts,
    Paragraph,
    Section,
    Statement,
    Table,
    list_texts,
)
from imgaudit.report.complaint.error_rates import describe_errors
from imgaudit.report.complaint.exhibits import describe_outputs, describe_work
from imgaudit.report.complaint.findings import (
    describe_asking,
    describe_certainty,
    describe_finding,
    describe_part,
    describe_rates,
)
from imgaudit.report.complaint.material import ComplaintMaterial, model_name
from imgaudit.report.glossary import find_words
from imgaudit.report.pages import continuing_commands, describe_sealing, format_command, reproduction_command
from imgaudit.report.redaction import without_folders
from imgaudit.report.wording import (
    CHOICE_WORDING,
    LEVEL_WORDING,
    WORDING,
)
from imgaudit.runs.history import read_history

GENERAL_LIMITS = (
    "This statement reports measurements of one model at one budget. It does not say whether a use is lawful, whether "
    "the work was in the training set, or what anybody intended.",
    "Controls are images that cannot have been in the training set, as far as the owner knows. That this is so, and "
    "that they are comparable with the work, are assumptions, which no measurement can prove.",
    "Where nothing was found, it was not found within this budget. That never means that an image cannot be "
    "reproduced.",
)
"""Limits of every verdict; printed in every statement."""


def make_statement(material: ComplaintMaterial) -> Statement:
    """Write the statement, in the order of a recipient's questions."""
    titled = {
        "What was found": describe_finding(material),
        "The work": describe_work(material),
        "The model": describe_model(material),
        "How the model was asked": describe_asking(material),
        "How often it returned the work": describe_rates(material),
        "What it generated": describe_outputs(material),
        "Which part of the work was returned": describe_part(material),
        "How certain the result is": describe_certainty(material),
        "What reviewers decided": describe_decisions(material),
        "How often the method errs": describe_errors(material.run, material.folders),
        "What this statement does not say": _limits(material),
        "How to check it": _provenance(material),
        "The request": _request(),
    }
    sections = [Section(title, blocks) for title, made in titled.items() if (blocks := list(made))]
    words = find_words(" ".join(text for section in sections for text in list_texts(section)))
    sections.append(Section("Words used here", [Facts(words)]))
    return Statement(f"Statement on the work “{material.work}” and the model “{model_name(material)}”", sections)


def describe_model(material: ComplaintMaterial) -> Iterator[Block]:
    """Yield the model's name, fingerprint and kind."""
    model = material.run.manifest.model
    rows = [
        ("Name", model_name(material)),
        ("Fingerprint", f"{model.fingerprint} (over the weights of {len(model.files)} files, named in manifest.json)"),
        ("Kind", f"{model.pipeline_class}, prediction type {model.prediction_type}, {model.resolution} pixels"),
        ("Revision", model.revision),
        ("Variant", model.variant),
        ("Weights rounded", model.quantised),
        *(("Note on its files", str(without_folders(note, material.folders))) for note in model.notes),
        *(("LoRA", f"{material.named(one.file)}, weight {one.weight:g}, SHA-256 {one.sha256}") for one in model.loras),
    ]
    yield Facts([(term, text) for term, text in rows if text])


def describe_decisions(material: ComplaintMaterial) -> Iterator[Block]:
    """Yield what reviewers decided, beside the machine's verdict."""
    verdict = WORDING[material.finding.verdict].label
    if not material.decisions:
        yield Paragraph(f"The machine's verdict is: {verdict}. No decision of a reviewer is recorded.")
        return
    now = material.digests["report.json"]
    rows = []
    for one in material.decisions:
        level = one.replication_level
        scale = "no answer" if level is None else f"{level} of 5: {LEVEL_WORDING[level]}"
        seen = WORDING[one.machine_verdict].label
        seen += "" if one.result_sha256 == now else f" (on another result, {one.result_sha256[:16]})"
        made = f"{one.made:%Y-%m-%d %H:%M}"
        rows.append((one.reviewer, CHOICE_WORDING[one.decision], scale, one.comment, made, seen))
    yield Paragraph(
        f"The machine's verdict is: {verdict}. Reviewers' decisions are recorded beside it and do not change it."
    )
    yield Table(("Reviewer", "Decision", "How much was returned", "Comment", "When (UTC)", "Verdict they saw"), rows)


def _limits(material: ComplaintMaterial) -> Iterator[Block]:
    yield Paragraph(WORDING[material.finding.verdict].limit, WORDING[material.finding.verdict].label)
    for limit in GENERAL_LIMITS:
        yield Paragraph(limit)


def _provenance(material: ComplaintMaterial) -> Iterator[Block]:
    manifest, result = material.run.manifest, material.run.result
    yield Paragraph("The command that made this audit, with the names of folders removed:")
    command: dict[str, Any] = {"command": without_folders(manifest.command, material.folders)}
    yield Code(reproduction_command(result.model_copy(update={"run": command})))
    for time, line in continuing_commands(result):
        yield Paragraph(f"The run was continued at {time} with:")
        yield Code(without_folders([line], material.folders)[0])
    for one in describe_sealing(result):
        yield Paragraph(f"Seal: {without_folders(one, material.folders)}")
    for entry in read_history(material.run.folder).entries:
        if entry.start.number > 1:
            yield Paragraph(f"The run was changed at {entry.start.time} ({entry.start.work}) with:")
            yield Code(format_command(without_folders(entry.start.command, material.folders)))
    yield Facts(
        [
            ("Protocol", result.protocol.hash),
            ("Policy", result.policy.hash),
            ("Seed", str(manifest.seed)),
            ("Started", manifest.started),
            ("Machine", f"{manifest.device}, {manifest.threads} threads, {manifest.platform}"),
            ("Versions", ", ".join(f"{name} {version}" for name, version in manifest.versions.items())),
            *((f"SHA-256 of {name}" if "." in name else name, digest) for name, digest in material.digests.items()),
        ]
    )
    yield Paragraph(
        "SHA256SUMS lists the files of this package with their digests; check them with: sha256sum -c SHA256SUMS. "
        "Anyone who has the whole run can compare it with these digests, and derive the verdicts from the "
        "measurements again, with imgaudit verify."
    )


def _request() -> Iterator[Block]:
    yield Paragraph("To be filled in by the owner of the rights or their representative.")
    for label in (
        "Name and address",
        "Right in the work, and since when",
        "What is requested, and by when",
        "Signature",
    ):
        yield Blank(label)
