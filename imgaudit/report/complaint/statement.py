"""The statement of a complaint: one work, one model, how it was asked, what it generated, and how certain that is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imgaudit.report.audit.outputs import ShownReplica
from imgaudit.report.complaint.blocks import (
    Blank,
    Block,
    Code,
    Facts,
    Paragraph,
    PictureBlock,
    Pictures,
    Section,
    Statement,
    Table,
)
from imgaudit.report.pages import continuing_commands, reproduction_command
from imgaudit.report.redaction import without_folders
from imgaudit.report.review import ReviewDecision
from imgaudit.report.wording import (
    CAPTION_LIMIT,
    CHOICE_WORDING,
    LEVEL_WORDING,
    P_VALUE_SENTENCE,
    RUNG_WORDING,
    WORDING,
    controls_text,
    part_of,
    standing,
)
from imgaudit.runs.finished import FinishedRun
from imgaudit.schema.findings import Finding, PartReplication, Replication, Verdict
from imgaudit.schema.records import INVERTED_RUNGS, Measurement, Rung, RungMeasurement, Skipped
from imgaudit.schema.text import file_name
from imgaudit.statistics import clopper_pearson

GENERAL_LIMITS = (
    "This statement reports measurements of one model at one budget. It does not say whether a use is lawful, whether "
    "the work was in the training set, or what anybody intended.",
    "Controls are images that are believed not to be in the training set. That they are comparable with the work is "
    "an assumption, which no measurement can prove.",
    "Where nothing was found, it was not found within this budget. That never means that an image cannot be "
    "reproduced.",
)
"""Limits of every verdict; printed in every statement."""


@dataclass(frozen=True)
class ComplaintMaterial:
    """Everything that a statement on one image is made from."""

    run: FinishedRun
    """The run."""
    finding: Finding
    """Conclusion on the image."""
    measurement: Measurement | None
    """Measurement of the image; None when the record is lost."""
    outputs: Sequence[ShownReplica]
    """Every generated image."""
    pictures: Mapping[str, str]
    """Files of the package by their path in the run, for pictures that could be read."""
    regions: Sequence[PictureBlock]
    """Pictures that show which part was returned."""
    decisions: Sequence[ReviewDecision]
    """The newest decision of each reviewer on the image."""
    digests: Mapping[str, str]
    """SHA-256 of the run's manifest.json and report.json, and the head of its evidence where there is one."""
    folders: Sequence[str]
    """Folders whose names are removed."""

    @property
    def work(self) -> str:
        """The work's file name."""
        return file_name(self.finding.path)

    def named(self, text: str) -> str:
        """Return a text of the run without folders."""
        return str(without_folders(text, self.folders))


def make_statement(material: ComplaintMaterial) -> Statement:
    """Write the statement, in the order of a recipient's questions."""
    titled = {
        "What was found": _found(material),
        "The work": _work(material),
        "The model": _model(material),
        "How the model was asked": _asked(material),
        "How often it returned the work": _rates(material),
        "What it generated": _outputs(material),
        "Which part of the work was returned": _part(material),
        "How certain the result is": _certainty(material),
        "What reviewers decided": _decisions(material),
        "What this statement does not say": _limits(material),
        "How to check it": _provenance(material),
        "The request": _request(),
    }
    sections = [Section(title, blocks) for title, made in titled.items() if (blocks := list(made))]
    return Statement(f"Statement on the work {material.work} and the model {_model_name(material)}", sections)


def _model_name(material: ComplaintMaterial) -> str:
    return material.named(material.run.manifest.model.name)


def _found(material: ComplaintMaterial) -> Iterator[Block]:
    wording = WORDING[material.finding.verdict]
    yield Paragraph(wording.meaning, wording.label)
    yield Paragraph(material.named(material.finding.reason))
    yield Paragraph(wording.limit, "Limit")
    for alarm in material.finding.alarms:
        yield Paragraph(material.named(alarm.message), "Alarm")
    if material.run.result.redecided:
        yield Paragraph(
            "The verdicts were decided again under another policy than the one fixed before the run: "
            + "; ".join(material.run.result.redecided),
            "Note",
        )


def _work(material: ComplaintMaterial) -> Iterator[Block]:
    rows = [("File", material.work), ("SHA-256", material.finding.sha256)]
    if material.measurement:
        rows.append(("Size", f"{material.measurement.width} x {material.measurement.height} pixels"))
        rows += [("Note", material.named(note)) for note in material.measurement.notes]
    yield Facts(rows)
    target = material.pictures.get(f"images/{material.finding.id}/target.png")
    if target:
        size = material.run.manifest.model.resolution
        framing = material.run.result.protocol.framing.value
        yield Pictures(
            [PictureBlock(target, f"The work at the model's size, {size} x {size} pixels (framing: {framing})")]
        )


def _model(material: ComplaintMaterial) -> Iterator[Block]:
    model = material.run.manifest.model
    rows = [
        ("Name", _model_name(material)),
        ("Fingerprint", f"{model.fingerprint} (over the weights of {len(model.files)} files, named in manifest.json)"),
        ("Kind", f"{model.pipeline_class}, prediction type {model.prediction_type}, {model.resolution} pixels"),
        ("Revision", model.revision),
        ("Variant", model.variant),
        ("Weights rounded", model.quantised),
        *(("LoRA", f"{material.named(one.file)}, weight {one.weight:g}, SHA-256 {one.sha256}") for one in model.loras),
    ]
    yield Facts([(term, text) for term, text in rows if text])


def _asked(material: ComplaintMaterial) -> Iterator[Block]:
    if material.measurement is None:
        yield Paragraph("The run no longer holds the texts that the model was asked with.")
        return
    rows = []
    for rung, measured in material.measurement.rungs.items():
        if isinstance(measured, Skipped):
            rows.append((rung.value, RUNG_WORDING[rung], f"not measured: {measured.skipped}"))
        else:
            rows.append((rung.value, RUNG_WORDING[rung], _sent(rung, measured)))
    yield Table(("Way of asking", "In words", "Sent to the model"), rows)
    if any(rung in INVERTED_RUNGS and not isinstance(one, Skipped) for rung, one in material.measurement.rungs.items()):
        yield Paragraph(WORDING[Verdict.REPLICATED_BY_INVERSION].limit, "Limit")


def _sent(rung: Rung, measured: RungMeasurement) -> str:
    texts = " / ".join(f"“{text}”" for text in measured.texts)
    sent = (
        texts or "an inverted embedding: numbers in place of a prompt, optimised to return the work; nobody can type it"
    )
    if rung is Rung.EMBEDDING_NOISE:
        sent = "an embedding and initial noise: numbers optimised to return the work; reported only"
    if rung is Rung.TOKENS:
        sent = f"a prompt found by a search that used the work: {texts}"
    if not isinstance(measured.bits, Skipped):
        sent += f"; carries at most {measured.bits:,.0f} bits"
    cut = [f"the last {count} token(s) never reached {encoder}" for encoder, count in measured.cut_tokens.items()]
    return "; ".join([sent, *cut])


def _rates(material: ComplaintMaterial) -> Iterator[Block]:
    if not material.finding.replication:
        yield Paragraph("No generated image could be compared with controls.")
        return
    headings = ("Way of asking", "Copies", "Rate and interval", "Rate for controls", "p", "q", "Counts as reproduced")
    yield Table(headings, [_rate(one) for one in material.finding.replication])
    parts = [(one, one.part) for one in material.finding.replication if isinstance(one.part, PartReplication)]
    if parts:
        yield Paragraph("How many of the same images contain at least a part of the work:")
        yield Table(headings, [_part_rate(one, part) for one, part in parts])
    generation = material.run.result.protocol.generation
    yield Paragraph(
        "A generated image counts as a copy when, on two measures, it is closer to the work than the best attempt at a "
        f"control came to that control for all but {material.run.result.policy.copy_level:.0%} of the controls, each "
        f"with the same number of attempts. {generation.seeds} seeds per way, "
        f"{generation.num_inference_steps} sampling steps each; every seed that could be scored at the named "
        "guidance counts"
        + (", except the first, which chose guidance and text." if len(generation.guidance_scales) > 1 else ".")
    )


def _rate(one: Replication) -> tuple[str, ...]:
    interval = f"{one.rate:.1%} ({one.low:.1%} to {one.high:.1%}, {100 * one.confidence:g} %)"
    invalid = f", {one.invalid} invalid" if one.invalid else ""
    return (
        f"{one.rung.value}, guidance {one.guidance_scale:g}", f"{one.hits} of {one.n}{invalid}", interval,
        _percent(one.control_rate), _number(one.p_value), _number(one.q_value), standing(one),
    )  # fmt: skip


def _part_rate(one: Replication, part: PartReplication) -> tuple[str, ...]:
    rate = part.hits / part.n if part.n else 0.0
    interval = f"{rate:.1%} ({part.low:.1%} to {part.high:.1%}, {100 * one.confidence:g} %)"
    return (
        one.rung.value, f"{part.hits} of {part.n}", interval, _percent(part.control_rate), _number(part.p_value),
        _number(part.q_value), "yes" if part.stands else "no",
    )  # fmt: skip


def _outputs(material: ComplaintMaterial) -> Iterator[Block]:
    shown = [output for output in material.outputs if output.role]
    for rung in dict.fromkeys(output.rung for output in shown):
        of_rung = [output for output in shown if output.rung is rung]
        pictures = [
            PictureBlock(material.pictures[one.replica.path], _caption(one))
            for one in of_rung
            if one.replica.path in material.pictures
        ]
        total = sum(output.rung is rung for output in material.outputs)
        missing = len(of_rung) - len(pictures)
        gone = f" {missing} can no longer be read." if missing else ""
        yield Paragraph(
            f"Asked with {RUNG_WORDING[rung]}: {len(pictures)} of {total} generated images, the closest and the least "
            f"similar. outputs.csv lists all of them.{gone}"
        )
        yield Pictures(pictures)


def _caption(output: ShownReplica) -> str:
    replica = output.replica
    measures = [
        f"{name} {value:.3f}"
        for measured in (replica.similarity, replica.distance)
        if not isinstance(measured, Skipped)
        for name, value in measured.items()
    ]
    told = "a copy" if output.copied else "not a copy"
    asked = f"{output.rung.value}, seed {replica.seed}, guidance {replica.guidance_scale:g}"
    return f"{output.role.capitalize()}: {told}; {asked}; {', '.join(measures)}"


def _part(material: ComplaintMaterial) -> Iterator[Block]:
    part = material.finding.part
    if part is None:
        return
    pair = part.pair
    lies = ""
    if not isinstance(pair.transform, Skipped):
        mirrored = "mirrored, " if pair.transform.mirrored else ""
        lies = (
            f" The generated image fits over the work when {mirrored}scaled by {pair.transform.scale:.2f} and turned "
            f"by {pair.transform.rotation:.0f} degrees."
        )
    yield Paragraph(
        f"{pair.region.area:.0%} of the work agrees with an image generated from {part.rung.value} (seed {part.seed}); "
        f"this area covers {pair.candidate_region.area:.0%} of the generated image. {pair.inliers} local features "
        f"match in position.{lies}"
    )
    yield Pictures(material.regions)
    yield Paragraph(WORDING[Verdict.PARTIAL].limit, "Limit")


def _caption_row(finding: Finding) -> list[tuple[str, str]]:
    """Return the row of the score under the caption; none where there is no such score."""
    found = finding.caption_score
    if found is None or isinstance(found, Skipped):
        return []
    compared = (
        f"p of this score alone {_number(found.p_value)}, among {found.controls} controls with their own captions"
    )
    return [("Score under the caption", f"{_number(found.score)}, {compared}. {CAPTION_LIMIT}")]


def _certainty(material: ComplaintMaterial) -> Iterator[Block]:
    finding, summary = material.finding, material.run.result.summary
    if isinstance(finding.p_value, Skipped):
        yield Paragraph(f"There is no p-value: {finding.p_value.skipped}.")
    else:
        yield Paragraph(P_VALUE_SENTENCE.format(p=f"{finding.p_value:.3g}"))
    rows = [
        ("Score", f"{_number(finding.score)}, p of the score alone {_number(finding.score_p_value)}"),
        *_caption_row(finding),
        ("p", f"{_number(finding.p_value)}, of scores, generated images and parts together"),
        ("q", f"{_number(finding.q_value)}, over {summary.hypotheses} images of this audit"),
        (
            "Controls",
            f"{summary.controls} images, believed not to be in the training set, measured in the same way"
            + (f". {works}" if (works := controls_text(summary)) else ""),
        ),
        ("Level", f"{summary.level:g}: the expected share of false findings among all findings of the audit"),
    ]
    if not isinstance(summary.forcing, Skipped):
        rate = clopper_pearson(summary.forcing.called, summary.forcing.n)
        rows.append(
            (
                "Error check",
                f"{summary.forcing.called} false copies among {summary.forcing.n} controls kept out of the comparison "
                f"and judged by the same rule ({rate.low:.1%} to {rate.high:.1%}, 95 % interval)",
            )
        )
    returned = next((one for one in finding.replication if one.whole_stands), None) or part_of(finding)
    if returned is not None and not isinstance(returned.coincidence_p_value, Skipped):
        rows.append(
            (
                "Coincidence",
                f"p = {returned.coincidence_p_value:.3g}, by comparison with images generated for other works",
            )
        )
    yield Facts(rows)


def _decisions(material: ComplaintMaterial) -> Iterator[Block]:
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


def _number(value: float | Skipped) -> str:
    return f"not measured ({value.skipped})" if isinstance(value, Skipped) else f"{value:.3g}"


def _percent(value: float | Skipped) -> str:
    return f"not measured ({value.skipped})" if isinstance(value, Skipped) else f"{value:.1%}"
