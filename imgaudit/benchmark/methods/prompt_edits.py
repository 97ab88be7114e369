"""How near a prompt must come to the caption of a memorised image before it stands out: what a search could find.

Captions of memorised images are edited word by word, and those of held-out images in the same way. Where the magnitude
of edited captions does not stand out, a search that compares prompts by it has nothing to follow there. The search of
`imgaudit triggers` goes by the mean square of the norm whose mean this is.
"""

import enum
from collections.abc import Iterator, Sequence
from statistics import median

import torch

from imgaudit.benchmark.harness.cases import CaseCounts, Group, choose_cases, group_of
from imgaudit.benchmark.harness.figures import (
    MeasuredRate,
    Separation,
    format_separations,
    measure_rate,
    measure_separation,
)
from imgaudit.benchmark.harness.lab_model import describe_hardware
from imgaudit.benchmark.harness.lab_work import LabWork, on_lab
from imgaudit.benchmark.harness.procedure import record_procedure
from imgaudit.benchmark.harness.table import LabRecord, Table
from imgaudit.benchmark.methods.prompt_scores import distinct_captions, score_captions
from imgaudit.diffusion.seeds import draw_seed
from imgaudit.diffusion.word_proposals import split_caption
from imgaudit.exceptions import InputError
from imgaudit.lab.description import LabImage
from imgaudit.schema.detection import PromptDetectionSettings
from imgaudit.schema.records import Record
from imgaudit.schema.text import wrap_prose
from imgaudit.statistics import exceedance_threshold


class Way(enum.StrEnum):
    """How a caption is edited."""

    WHOLE = "not at all"
    REPLACED = "words at random places replaced"
    LEFT_OUT = "words at random places left out"
    FIRST = "first words alone"
    KEPT = "words at random places kept, others replaced"


EDITS = (
    (Way.WHOLE, 0),
    *((way, count) for way in (Way.REPLACED, Way.LEFT_OUT, Way.FIRST) for count in (1, 2, 3)),
    *((Way.KEPT, count) for count in (2, 1, 0)),
)
"""Way and number of words. Each is done to captions that have more words than this number. Keeping none gives a
sentence that has nothing of its caption but the number of words: what lengths alone do."""
LEVEL = 0.05
"""Share of the edited captions of held-out images that may stand out."""


class EditRow(Record):
    """The magnitudes of captions that were edited in one way."""

    way: Way
    """How they were edited."""
    words: int
    """Words replaced, left out or kept."""
    memorised: list[float]
    """Edited captions of memorised images; higher is a stronger pull."""
    held_out: list[float]
    """Those of held-out images, edited alike."""


class EditTable(LabRecord, Table):
    """What was measured, committed with a lab."""

    long_lists = ("rows",)

    space: str
    """Of the magnitude."""
    vocabulary: int
    """Different words that replace others: those in captions of further held-out images."""
    rows: list[EditRow]
    """One per way and number of words."""


class EditFigures(Record):
    """How edited captions of memorised images stand out."""

    way: Way
    """How they were edited."""
    words: int
    """Words replaced, left out or kept."""
    above: MeasuredRate
    """Those above the threshold."""
    separation: Separation
    """All thresholds at once."""
    medians: tuple[float, float]
    """Of memorised and held-out images' captions."""


class EditReport(Record):
    """What `imgaudit benchmark prompt-edits` prints."""

    table: EditTable
    """What it rests on."""
    figures: list[EditFigures]
    """One per way and number of words that enough captions have."""


def name_edit(way: Way, count: int) -> str:
    """Name an edit.

    >>> name_edit(Way.FIRST, 1), name_edit(Way.KEPT, 0)
    ('first word alone', '0 words kept, rest replaced')
    """
    words = "word" if count == 1 else "words"
    names = {
        Way.WHOLE: "whole caption",
        Way.REPLACED: f"{count} {words} replaced",
        Way.LEFT_OUT: f"{count} {words} left out",
        Way.FIRST: "first word alone" if count == 1 else f"first {count} words alone",
        Way.KEPT: f"{count} {words} kept, rest replaced",
    }
    return names[way]


def edit_words(
    words: Sequence[str], way: Way, count: int, vocabulary: Sequence[str], generator: torch.Generator
) -> list[str] | None:
    """Return an edited caption's words; None for a caption that this edit leaves as it is, or without a word.

    Words that take the place of others are drawn from those of `vocabulary` that the caption does not have.

    >>> edit_words(["a", "red", "fox"], Way.FIRST, 2, [], torch.Generator())
    ['a', 'red']
    """
    if way is Way.WHOLE:
        return list(words)
    if count >= len(words):
        return None
    if way is Way.FIRST:
        return list(words[:count])
    places = torch.randperm(len(words), generator=generator).tolist()
    changed = set(places[count:] if way is Way.KEPT else places[:count])
    if way is Way.LEFT_OUT:
        return [word for place, word in enumerate(words) if place not in changed]
    others = [word for word in vocabulary if word not in words]
    drawn = torch.randint(len(others), (len(words),), generator=generator).tolist()
    return [others[drawn[place]] if place in changed else word for place, word in enumerate(words)]


def measure_prompt_edits(work: LabWork, counts: CaseCounts | None = None) -> EditTable:
    """Measure edited captions of memorised and held-out images.

    Raises InputError when the model has no null branch, or the lab memorised nothing.
    """
    denoiser = work.denoiser
    if denoiser.no_null:
        raise InputError(denoiser.no_null)
    cases = choose_cases(work.lab.description, counts or CaseCounts(seen_once=0))
    groups = (Group.MEMORISED, Group.HELD_OUT)
    captions, _ = distinct_captions(cases.of(*groups))
    memorised, held_out = ([image for image in captions if group_of(image) is group] for group in groups)
    if not memorised:
        raise InputError(f"lab {work.lab.description.recipe.name!r} memorised no image: there is no caption to edit")
    vocabulary = sorted({word for image in cases.controls for word in split_caption(image.text)})
    settings, rows, space = PromptDetectionSettings(seed=work.seed, tokens=False), [], ""
    for done, (way, count) in enumerate(EDITS):
        work.on_stage(name_edit(way, count), done, len(EDITS))
        scores = []
        for images in (memorised, held_out):
            texts = [text for image in images if (text := _edit(image, way, count, vocabulary, work.seed))]
            found = score_captions(denoiser, texts, settings, work.executor)
            scores.append([float(f"{one.score:.4g}") for one in found])
            space = found[0].space if found else space
        rows.append(EditRow(way=way, words=count, memorised=scores[0], held_out=scores[1]))
    return EditTable(
        lab=work.lab.description.recipe.name, seed=work.seed, hardware=describe_hardware(denoiser), space=space,
        vocabulary=len(vocabulary), rows=rows,
    )  # fmt: skip


def _edit(image: LabImage, way: Way, count: int, vocabulary: Sequence[str], seed: int) -> str:
    """Return an image's edited caption, empty where the edit does not apply."""
    generator = torch.Generator().manual_seed(draw_seed(seed, image.sha256, f"prompt edits {way}", count))
    return " ".join(edit_words(split_caption(image.text), way, count, vocabulary, generator) or [])


def report_prompt_edits(table: EditTable) -> EditReport:
    """Compute the statistics of a table; no model is needed."""
    figures = []
    for row in table.rows:
        separation = measure_separation(row.way, Group.HELD_OUT, row.memorised, row.held_out)
        if separation is None:
            continue
        threshold = exceedance_threshold(row.held_out, LEVEL)
        above = measure_rate(row.way, Group.MEMORISED, [score > threshold for score in row.memorised])
        medians = (median(row.memorised), median(row.held_out))
        figures.append(EditFigures(way=row.way, words=row.words, above=above, separation=separation, medians=medians))
    return EditReport(table=table, figures=figures)


def format_prompt_edits(report: EditReport) -> Iterator[str]:
    """Format one edit per line, and then how well its magnitude separates. Lines have at most 80 columns."""
    table = report.table
    yield from wrap_prose(f"lab {table.lab}, seed {table.seed}, {table.hardware}; nothing fitted")
    yield from wrap_prose(
        f"magnitude at the first step, 4 noises, in {table.space}; {table.vocabulary:,} words to replace others with"
    )
    yield ""
    yield f"{'':28}{'median magnitude':23}memorised, above all but 5 %"
    yield f"{'edit of captions':28}{'memorised':11}{'held out':12}of held out"
    for one in report.figures:
        above = f"{one.above.hits} of {one.above.n} ({one.above.low:.0%} to {one.above.high:.0%})"
        yield f"{name_edit(one.way, one.words):28}{one.medians[0]:<11.3g}{one.medians[1]:<12.3g}{above}"
    yield ""
    against = "magnitudes of memorised images' captions against held-out ones'"
    areas = [
        one.separation.model_copy(update={"name": name_edit(one.way, one.words), "against": against})
        for one in report.figures
    ]
    yield from format_separations("edit of captions", areas)


PROCEDURE = record_procedure(EditTable, on_lab(measure_prompt_edits), report_prompt_edits, format_prompt_edits)
