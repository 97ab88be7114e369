"""The conclusion on one image: how the model was asked, how often it returned the work, how certain that is."""

from collections.abc import Iterator

from imgaudit.decision.deciding_number import find_deciding_number
from imgaudit.report.alarm_wording import sort_alarms
from imgaudit.report.complaint.blocks import (
    Block,
    Facts,
    Paragraph,
    Pictures,
    Table,
)
from imgaudit.report.complaint.material import ComplaintMaterial, number_text, percent_text
from imgaudit.report.copy_counts import are_placed, count_copies, rate_text
from imgaudit.report.wording import (
    CAPTION_LIMIT,
    P_VALUE_SENTENCE,
    PART_NOT_TESTED,
    RUNG_WORDING,
    WORDING,
    controls_text,
    level_text,
    standing,
)
from imgaudit.schema.findings import AuditResult, Finding, Verdict
from imgaudit.schema.records import INVERTED_RUNGS, Rung, RungMeasurement, Skipped
from imgaudit.schema.replication import PartReplication, Replication
from imgaudit.schema.text import as_sentence


def describe_finding(material: ComplaintMaterial) -> Iterator[Block]:
    """Yield the verdict with its reason, its limit and every alarm."""
    wording = WORDING[material.finding.verdict]
    yield Paragraph(wording.meaning, wording.label)
    yield Paragraph(material.named(material.finding.reason))
    yield Paragraph(wording.limit, "Limit")
    for alarm in sort_alarms(material.finding.alarms):
        yield Paragraph(as_sentence(material.named(alarm.message)), "Alarm")
    if material.run.result.redecided:
        yield Paragraph(
            "The verdicts were decided again under another policy than the one that the run began with: "
            + "; ".join(material.run.result.redecided),
            "Note",
        )


def describe_asking(material: ComplaintMaterial) -> Iterator[Block]:
    """Yield what was sent to the model, by way of asking."""
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
        sent += f"; can carry up to {measured.bits:,.0f} bits of information taken from the image"
    cut = [f"{encoder} did not read the last {count} tokens" for encoder, count in measured.cut_tokens.items()]
    return "; ".join([sent, *cut])


def describe_rates(material: ComplaintMaterial) -> Iterator[Block]:
    """Yield how often the work was returned, with intervals and the controls' rates."""
    if not material.finding.replication:
        yield Paragraph("No generated image could be compared with controls.")
        return
    headings = (
        "Way of asking", "Copies", "Rate and interval", "Rate for controls", "p against controls", "q of the text",
        "Counts as reproduced",
    )  # fmt: skip
    yield Table(headings, [_rate(one, material.run.result) for one in material.finding.replication])
    parts = [(one, one.part) for one in material.finding.replication if isinstance(one.part, PartReplication)]
    if parts:
        yield Paragraph("How many of the same images contain at least a part of the work:")
        yield Table([*headings[:5], "q", headings[6]], [_part_rate(one, part) for one, part in parts])
    generation = material.run.result.protocol.generation
    rule = (
        "A generated image counts as a copy when, on two measures, it is closer to the rendering of the work than the "
        "best attempt at a control came to the rendering of that control, for all but "
        f"{material.run.result.policy.copy_level:.0%} of the controls, each with the same number of attempts. "
    )
    if not are_placed(material.run.result):
        rule = (
            "There are not enough controls to place copy thresholds. So only near-identical images that a text "
            "returned are counted, by an absolute standard which no control decides. "
        )
    yield Paragraph(
        rule + f"Each way of asking was tried with {generation.seeds} seeds, each with "
        f"{generation.num_inference_steps} sampling steps. Every seed that could be scored at the named guidance counts"
        + (", except the first ones, which chose guidance and text." if len(generation.guidance_scales) > 1 else ".")
    )


def _rate(one: Replication, result: AuditResult) -> tuple[str, ...]:
    count = count_copies(one, result)
    counted = f"{count.counted}: {count.note}" if count.note else count.counted
    invalid = f", {one.invalid} invalid" if one.invalid else ""
    return (
        f"{one.rung.value}, guidance {one.guidance_scale:g}", f"{counted}{invalid}", rate_text(one),
        percent_text(one.control_rate), number_text(one.p_value), number_text(one.q_value), standing(one),
    )  # fmt: skip


def _part_rate(one: Replication, part: PartReplication) -> tuple[str, ...]:
    rate = part.hits / part.n if part.n else 0.0
    interval = f"{rate:.1%} ({part.low:.1%} to {part.high:.1%}, {100 * one.confidence:g} %)"
    return (
        one.rung.value, f"{part.hits} of {part.n}", interval, percent_text(part.control_rate),
        number_text(part.p_value), number_text(part.q_value), "yes" if part.stands else "no",
    )  # fmt: skip


def describe_part(material: ComplaintMaterial) -> Iterator[Block]:
    """Yield which part of the work was returned; nothing where no part was."""
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
        f"match in position.{lies}" + ("" if part.is_tested else f" {PART_NOT_TESTED}")
    )
    yield Pictures(material.regions)
    yield Paragraph(WORDING[Verdict.PARTIAL].limit, "Limit")


def _caption_row(finding: Finding) -> list[tuple[str, str]]:
    """Return the row of the score under the caption; none where there is no such score."""
    found = finding.caption_score
    if found is None or isinstance(found, Skipped):
        return []
    compared = (
        f"p of this score alone {number_text(found.p_value)}, among {found.controls} controls with their own captions"
    )
    return [("Score under the caption", f"{number_text(found.score)}, {compared}. {CAPTION_LIMIT}")]


def describe_certainty(material: ComplaintMaterial) -> Iterator[Block]:
    """Yield the p-value, what it rests on, and the checks of the method."""
    finding, summary = material.finding, material.run.result.summary
    if isinstance(finding.p_value, Skipped):
        yield Paragraph(f"There is no p-value: {finding.p_value.skipped}.")
    else:
        yield Paragraph(P_VALUE_SENTENCE.format(p=f"{finding.p_value:.3g}"))
    rows = [
        ("Score", f"{number_text(finding.score)}, p of the score alone {number_text(finding.score_p_value)}"),
        *_caption_row(finding),
        ("Deciding q", f"{number_text(find_deciding_number(finding, summary.level).value)}, which decided the verdict"),
        ("p", f"{number_text(finding.p_value)}, of scores, generated images and parts together"),
        ("q", f"{number_text(finding.q_value)}, over {summary.hypotheses} images of this audit"),
        (
            "Controls",
            "images that cannot have been in the training set, as far as the owner knows, measured in the same way"
            + (f": {works}" if (works := controls_text(summary)) else ": none"),
        ),
        ("Level", as_sentence(level_text(summary.level))),
    ]
    returned = next((one for one in finding.replication if one.whole_stands), None) or next(
        (one for one in finding.replication if one.partly_stands), None
    )
    if returned is not None and not isinstance(returned.coincidence_p_value, Skipped):
        rows.append(
            (
                "Coincidence",
                f"p = {returned.coincidence_p_value:.3g}, by comparison with images generated for other works",
            )
        )
    yield Facts(rows)
