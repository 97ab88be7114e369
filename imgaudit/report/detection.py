"""Detected prompts as a page that opens from disk, words highlighted by weight, and as tables to hand on."""

import csv
import io
import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from imgaudit.io.reading import hash_file
from imgaudit.io.writing import write_atomically
from imgaudit.report.pages import write_page
from imgaudit.report.redaction import csv_cell
from imgaudit.runs.detection import DetectionOutcome, JudgedPrompt
from imgaudit.schema.detection import PromptDetection, PromptSkipped, WordWeight
from imgaudit.schema.records import Skipped

MOST_ROWS = 2000
"""Prompts on the page, those with the highest scores; the tables have all."""

MOST_CHARACTERS = 2000
"""Shown of one prompt."""

DETECTORS = {
    "magnitude": "magnitude: how far the model's prediction with the prompt is from its prediction without text, as a "
    "norm (Wen et al., ICLR 2024, arXiv 2407.21720)",
    "sharpness": "sharpness: the squared norm of the difference between the predictions with and without the prompt, "
    "multiplied by its own Jacobian (Jeon et al., ICML 2025, arXiv 2412.04140)",
}


@dataclass(frozen=True)
class Segment:
    """A stretch of a prompt."""

    text: str
    """As it stands there."""
    weight: float | None = None
    """Weight of a word; None between words, and for words that no encoder reads."""
    share: int = 0
    """The weight in per cent, 0 for one below 0."""
    shade: int = 0
    """0 to 9, by the share."""


def write_detection(folder: Path, outcome: DetectionOutcome) -> Path:
    """Write detection.jsonl, detection.csv and report/index.html into FOLDER; returns the page's path."""
    lines = (json.dumps(one.row(), allow_nan=False) for one in outcome.prompts)
    write_atomically(folder / "detection.jsonl", "".join(f"{line}\n" for line in lines))
    write_atomically(folder / "detection.csv", _csv(outcome.prompts))
    scored = [one for one in outcome.prompts if isinstance(one.found, PromptDetection)]
    scored.sort(key=lambda one: (-one.found.score, one.number))  # type: ignore[union-attr]
    views = [
        {"one": one, "segments": list(segments(one)), "command": removal_command(outcome.manifest.command, one)}
        for one in scored[:MOST_ROWS]
    ]
    foot = [
        ("SHA-256 of detection.jsonl", hash_file(folder / "detection.jsonl")),
        ("Model", outcome.manifest.model.fingerprint),
    ]
    return write_page(
        folder / "report", "detection.html.jinja", ("detection.css", "detection.js"), foot,
        outcome=outcome, manifest=outcome.manifest, views=views, scored=len(scored), most=MOST_ROWS,
        skipped=[one for one in outcome.prompts if isinstance(one.found, PromptSkipped)],
        spaces=sorted({one.found.space for one in scored if isinstance(one.found, PromptDetection)}),
        replaced=next((one.found.epsilon for one in scored if isinstance(one.found, PromptDetection)
                       and isinstance(one.found.epsilon, Skipped)), None),
        detector=DETECTORS[outcome.manifest.settings.detector],
    )  # fmt: skip


def segments(one: JudgedPrompt) -> Iterator[Segment]:
    """Split a prompt into words, with their weights, and the text between them."""
    text, place = one.given.text[:MOST_CHARACTERS], 0
    for word in _words(one):
        if word.end > len(text):
            break
        yield Segment(text[place : word.start])
        share = max(0.0, word.weight)
        yield Segment(text[word.start : word.end], word.weight, round(100 * share), min(9, int(10 * share)))
        place = word.end
    yield Segment(text[place:])
    if len(one.given.text) > len(text):
        yield Segment(f" … ({len(one.given.text) - len(text):,} more characters)")


def _words(one: JudgedPrompt) -> Sequence[WordWeight]:
    found = one.found
    return () if isinstance(found, PromptSkipped) or isinstance(found.tokens, Skipped) else found.tokens


def removal_command(command: Sequence[str], one: JudgedPrompt) -> str:
    """Return the command that measures a prompt without its heaviest word; empty where no word can be typed."""
    words = sorted(_words(one), key=lambda word: -word.weight)
    word = next((word.text for word in words if word.text.isprintable() and word.text[0].isalnum()), None)
    if word is None:
        return ""
    return shlex.join(["imgaudit", *command[1:], "--number", str(one.number), f"--drop={word}"])


def _csv(prompts: Sequence[JudgedPrompt]) -> str:
    """Write the numbers of every prompt, its words as text, and the other columns of the given table."""
    others = list(dict.fromkeys(key for one in prompts for key in one.given.columns))
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\r\n")
    heading = ["number", "prompt", "score", "rms", "p_value", "q_value", "words"]
    writer.writerow([*heading, *(csv_cell(f"given_{key}" if key in heading else key) for key in others)])
    for one in prompts:
        found = one.found
        if isinstance(found, PromptSkipped):
            values: list[object] = [Skipped(skipped=found.skipped)] * 4
        else:
            values = [found.score, found.rms, one.p_value, one.q_value]
        words = " ".join(f"{word.text}:{word.weight:.4g}" for word in sorted(_words(one), key=lambda w: -w.weight))
        given = [one.given.columns.get(key) for key in others]
        row = [one.number, one.given.text, *values, words, *("" if value is None else value for value in given)]
        writer.writerow([csv_cell(cell) for cell in row])
    return file.getvalue()
