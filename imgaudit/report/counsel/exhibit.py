"""An exhibit: one image with the pictures that were compared, what was found, and how sure that is."""

from collections.abc import Iterator, Sequence

from PIL import Image

from imgaudit.exceptions import InputError
from imgaudit.report.alarm_wording import sort_alarms
from imgaudit.report.audit.outputs import is_copy
from imgaudit.report.complaint.blocks import Block, Facts, Paragraph, PictureBlock, Pictures, Section
from imgaudit.report.complaint.error_rates import alarm_text
from imgaudit.report.complaint.material import number_text, percent_text
from imgaudit.report.copy_counts import is_counted
from imgaudit.report.counsel.embedding import embed_picture
from imgaudit.report.examined import NO_ORIGINAL, describe_frame, draw_frame, similarity_text
from imgaudit.report.pictures import read_picture
from imgaudit.report.redaction import without_folders
from imgaudit.report.wording import P_VALUE_SENTENCE, RUNG_WORDING, WORDING, part_text, standing
from imgaudit.runs.finished import FinishedRun
from imgaudit.schema.findings import BestReplica, Finding
from imgaudit.schema.records import Measurement, RungMeasurement, Skipped
from imgaudit.schema.replication import Replication
from imgaudit.schema.text import file_name

SHOWN_CHARACTERS = 400
"""Characters of a prompt that are printed; the run holds all of it."""


def make_exhibit(run: FinishedRun, finding: Finding, number: int, folders: Sequence[str]) -> Section:
    """Describe one image on about a page.

    number:   of the exhibit, from 1
    folders:  whose names are removed
    """
    measurement = run.measurements.get(finding.id)
    blocks: list[Block] = [
        Paragraph(WORDING[finding.verdict].meaning, WORDING[finding.verdict].label),
        Paragraph(str(without_folders(finding.reason, folders))),
    ]
    if measurement is not None:
        blocks += _show(run, finding, measurement)
    blocks.append(Facts(list(_facts(finding, measurement, folders))))
    blocks.append(Paragraph(WORDING[finding.verdict].limit, "Limit"))
    blocks += [Paragraph(alarm_text(alarm, folders), "Alarm") for alarm in sort_alarms(finding.alarms)]
    return Section(f"Exhibit {number}: {file_name(finding.path)}", blocks, kind="exhibit")


def _show(run: FinishedRun, finding: Finding, measurement: Measurement) -> Iterator[Block]:
    """Yield the three pictures side by side, and what could not be shown."""
    folder, best = f"images/{finding.id}", finding.best_replica
    shown, missing = list[PictureBlock](), list[str]()
    original = _read(run, f"{folder}/original.png") if measurement.frame else None
    if original is not None and measurement.frame is not None:
        size = f"{measurement.width:,} x {measurement.height:,} pixels"
        caption = f"The owner's picture, {size}. {describe_frame(measurement.frame)}."
        shown.append(PictureBlock(embed_picture(draw_frame(original, measurement)), caption))
    elif target := _read(run, f"{folder}/target.png"):
        caption = f"What was examined of the owner's picture, at the model's size. {NO_ORIGINAL}"
        shown.append(PictureBlock(embed_picture(target), caption))
    if rendered := _read(run, f"{folder}/rendered.png"):
        floor = similarity_text(measurement.vae_floor, "the owner's picture (its examined part)", "this rendering")
        shown.append(PictureBlock(embed_picture(rendered), f"The rendering of it by the model's autoencoder. {floor}."))
    else:
        missing.append("The rendering can no longer be read.")
    if isinstance(best, Skipped):
        missing.append(f"No generated image is shown: {best.skipped}.")
    elif output := _read(run, best.path):
        shown.append(PictureBlock(embed_picture(output), _output_caption(finding, best, measurement)))
    else:
        missing.append("The closest generated image can no longer be read. Its numbers stand as they were measured.")
    yield Pictures(shown)
    yield from (Paragraph(text) for text in missing)


def _read(run: FinishedRun, path: str) -> Image.Image | None:
    try:
        return read_picture(run.folder, path)[1]
    except InputError:
        return None


def _output_caption(finding: Finding, best: BestReplica, measurement: Measurement) -> str:
    measured = similarity_text(best.similarity, "this image", "the rendering")
    thresholds = next((one.thresholds for one in finding.replication if one.rung is best.rung), None)
    ladder = measurement.rungs.get(best.rung)
    told = ""
    if thresholds is not None and isinstance(ladder, RungMeasurement):
        copied = any(one.path == best.path and is_copy(one, thresholds) for one in ladder.replicas)
        told = " It counts as a copy." if copied else " It does not count as a copy."
    return f"The closest image that the model generated. {measured}.{told} Asked with {RUNG_WORDING[best.rung]}."


def _facts(finding: Finding, measurement: Measurement | None, folders: Sequence[str]) -> Iterator[tuple[str, str]]:
    yield "SHA-256 of the file", finding.sha256
    for one in finding.replication:
        yield f"Asked with {RUNG_WORDING[one.rung]}", _describe_answers(one, measurement)
    if text := part_text(finding):
        yield "A part of it", text
    if isinstance(finding.p_value, Skipped):
        yield "Among the controls", f"not compared: {finding.p_value.skipped}"
    else:
        sentence = P_VALUE_SENTENCE.format(p=f"{finding.p_value:.3g}")
        yield (
            "Among the controls",
            f"{sentence} Corrected for the number of images: q = {number_text(finding.q_value)}.",
        )
    for note in measurement.notes if measurement else ():
        yield "Note", str(without_folders(note, folders))


def _why(one: Replication) -> str:
    return one.thresholds.skipped if isinstance(one.thresholds, Skipped) else ""


def _describe_answers(one: Replication, measurement: Measurement | None) -> str:
    """Say what was sent in one way of asking, and how often a copy came back."""
    ladder = measurement.rungs.get(one.rung) if measurement else None
    texts = ladder.texts if isinstance(ladder, RungMeasurement) else []
    sent = f"“{texts[0][:SHOWN_CHARACTERS]}”" if texts else ""
    more = f" and {len(texts) - 1} more texts" if len(texts) > 1 else ""
    counted = "" if is_counted(one) else f"Copies were not counted: there is no valid copy threshold ({_why(one)})."
    counted = counted or (
        f"{one.hits} of {one.n} generated images are copies: {one.rate:.1%}, and between {one.low:.1%} and "
        f"{one.high:.1%} with {100 * one.confidence:g} % confidence. For controls: {percent_text(one.control_rate)}. "
        f"Counts as reproduced: {standing(one)}."
    )
    return f"{sent}{more}. {counted}" if sent else counted
