"""Figures of an evaluated mitigation, each with its denominator and interval; no model is needed."""

from collections.abc import Iterator, Sequence
from statistics import fmean

from pydantic import AliasChoices, Field

from imgaudit.mitigation.evaluation import CopyFreeScores, EvaluationSettings, ModelOutcome, PromptOutcome
from imgaudit.schema.measures import NEAR_COPY_CORRELATION
from imgaudit.schema.records import Count, Record, Skipped
from imgaudit.schema.text import printable, wrap_prose
from imgaudit.statistics import bootstrap_mean, clopper_pearson

TOP = 3
"""Pictures per prompt whose similarity is averaged beside the highest."""


class EvaluationTable(Record):
    """Everything that was measured, and by what."""

    schema_version: int = 1
    """Version of this format."""
    model: str
    """Name of the model."""
    settings: EvaluationSettings
    """The images that were generated."""
    clip: str | Skipped
    """The CLIP that judged alignment."""
    aesthetic: str | Skipped
    """The head that judged quality."""
    copy_free: CopyFreeScores | Skipped = Field(validation_alias=AliasChoices("copy_free", "reference"))
    """Scores of answers that copy nothing."""
    hardware: str
    """Machine, device and threads."""
    models: list[ModelOutcome]
    """The model as it is, then every mitigation."""


class Mean(Record):
    """A mean over prompts."""

    mean: float
    """The mean."""
    low: float
    """95 %, percentile bootstrap over prompts."""
    high: float
    """Upper end."""
    n: int
    """Prompts."""

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.low:.3f} to {self.high:.3f})"


class Share(Count):
    """A share of prompts."""

    def __str__(self) -> str:
        return f"{self.hits} of {self.n} ({self.low:.1%} to {self.high:.1%})"


class MitigationFigures(Record):
    """One row of the table."""

    name: str
    """The mitigation."""
    highest: Mean
    """Trigger prompts: highest similarity of the pictures of a prompt."""
    top: Mean
    """Trigger prompts: mean of the three highest."""
    copies: Mean
    """Trigger prompts: share of the pictures that are copies."""
    reproduced: Share
    """Trigger prompts of which at least one picture is a copy."""
    trigger_alignment: Mean | Skipped
    """Cosine of pictures with their trigger prompts."""
    general_alignment: Mean | Skipped
    """Cosine of pictures with their general prompts."""
    trigger_retrieved: Mean | Skipped
    """Share of pictures that are told from nine other prompts by their trigger prompts."""
    general_retrieved: Mean | Skipped
    """The same of general prompts."""
    general_aesthetic: Mean | Skipped
    """Aesthetic score of images generated for general prompts; higher is liked more."""
    error_rise: Mean | Skipped
    """Error on general images over that of the model as it is, minus 1, per image; 0 for the model itself."""
    response_left: Mean | Skipped
    """Share of the response to general prompts that is left, per image: a model that ignores its prompts copies nothing
    either, and its error hardly rises."""
    unusable: int
    """Pictures that are blank or not finite, of both scenarios."""
    network_evaluations: int
    """Network evaluations of both scenarios."""
    seconds: float
    """Wall time of both scenarios."""


class EvaluationFigures(Record):
    """The whole table."""

    threshold: float
    """Similarity that a picture must exceed to be a copy."""
    controls: int
    """General prompts none of whose pictures exceeds it."""
    copy_free_similarity: Mean | Skipped
    """Similarity of answers that copy nothing to the triggers' images."""
    copy_free_alignment: Mean | Skipped
    """Alignment of answers that copy nothing with the trigger prompts."""
    judge_retrieved: Mean | Skipped
    """Share of the general images themselves that the judge tells from nine other prompts by their own."""
    rows: list[MitigationFigures]
    """As the table's models."""


def summarise(table: EvaluationTable) -> EvaluationFigures:
    """Compute the figures of a table whose first model is the one without mitigations.

    A picture is a copy when its similarity exceeds 0.9 and that of every picture that the model as it is made for a
    general prompt to that prompt's own image.
    """
    base = table.models[0]
    controls = [max(one.similarity) for one in base.general]
    threshold = max([NEAR_COPY_CORRELATION, *controls])
    copy_free = table.copy_free
    return EvaluationFigures(
        threshold=threshold,
        controls=len(controls),
        copy_free_similarity=copy_free if isinstance(copy_free, Skipped) else _mean(copy_free.similarity),
        copy_free_alignment=copy_free if isinstance(copy_free, Skipped) else _mean(copy_free.alignment),
        judge_retrieved=copy_free if isinstance(copy_free, Skipped) else _mean([float(t) for t in copy_free.retrieved]),
        rows=[_figures(one, base, threshold) for one in table.models],
    )


def count_share(hits: int, n: int) -> Share:
    """Return a share of prompts with its Clopper-Pearson interval at 95 %.

    >>> str(count_share(1, 2))
    '1 of 2 (1.3% to 98.7%)'
    """
    ends = clopper_pearson(hits, n)
    return Share(hits=hits, n=n, low=ends.low, high=ends.high)


def _figures(model: ModelOutcome, base: ModelOutcome, threshold: float) -> MitigationFigures:
    triggers = model.triggers
    counts = [sum(value > threshold for value in one.similarity) for one in triggers]
    reproduced = sum(count > 0 for count in counts)
    return MitigationFigures(
        name=model.name,
        highest=_mean([max(one.similarity) for one in triggers]),
        top=_mean([fmean(sorted(one.similarity)[-TOP:]) for one in triggers]),
        copies=_mean([count / len(one.similarity) for count, one in zip(counts, triggers, strict=True)]),
        reproduced=count_share(reproduced, len(triggers)),
        trigger_alignment=_mean_over_prompts(triggers, "alignment"),
        general_alignment=_mean_over_prompts(model.general, "alignment"),
        trigger_retrieved=_mean_over_prompts(triggers, "retrieved"),
        general_retrieved=_mean_over_prompts(model.general, "retrieved"),
        general_aesthetic=_mean_over_prompts(model.general, "aesthetic"),
        error_rise=_mean_against(model, base, "error", -1.0),
        response_left=_mean_against(model, base, "response", 0.0),
        unusable=sum(one.unusable for one in [*triggers, *model.general]),
        network_evaluations=model.network_evaluations,
        seconds=model.seconds,
    )


def _mean_over_prompts(outcomes: Sequence[PromptOutcome], name: str) -> Mean | Skipped:
    """Average over prompts the mean over their pictures; Skipped with the first reason where one has none."""
    values = []
    for one in outcomes:
        found = getattr(one, name)
        if isinstance(found, Skipped):
            return found
        values.append(found / len(one.similarity) if isinstance(found, int) else fmean(found))
    return _mean(values) if values else Skipped(skipped="no prompts")


def _mean_against(model: ModelOutcome, base: ModelOutcome, name: str, add: float) -> Mean | Skipped:
    """Average over general images the ratio of a value to that of the model as it is, plus a constant."""
    pairs = [
        (getattr(one, name), getattr(before, name)) for one, before in zip(model.general, base.general, strict=True)
    ]
    ratios = [after / before + add for after, before in pairs if after is not None and before]
    return _mean(ratios) if ratios else Skipped(skipped="not measured of general images")


def _mean(values: Sequence[float]) -> Mean:
    interval = bootstrap_mean(values)
    return Mean(mean=fmean(values), low=interval.low, high=interval.high, n=len(values))


def figure_lines(figures: EvaluationFigures) -> Iterator[str]:
    """Write the table in lines of at most 80 columns: remaining copies, image quality, cost, and notes."""
    rows = figures.rows
    nothing = "copying nothing"
    yield from _block(
        ("trigger prompts", "reproduced", "pictures that copy"),
        [(row.name, str(row.reproduced), _cell(row.copies)) for row in rows],
    )
    yield from _block(
        ("trigger prompts", "highest similarity", "mean of top 3"),
        [*((row.name, _cell(row.highest), _cell(row.top)) for row in rows),
         (nothing, _cell(figures.copy_free_similarity), "")],
    )  # fmt: skip
    yield from _block(
        ("alignment with", "trigger prompts", "general prompts"),
        [*((row.name, _cell(row.trigger_alignment), _cell(row.general_alignment)) for row in rows),
         (nothing, _cell(figures.copy_free_alignment), "")],
    )  # fmt: skip
    yield from _block(
        ("retrieved by", "trigger prompts", "general prompts"),
        [*((row.name, _cell(row.trigger_retrieved), _cell(row.general_retrieved)) for row in rows),
         ("general images", "", _cell(figures.judge_retrieved))],
    )  # fmt: skip
    yield from _block(
        ("general images", "error", "response to prompts"),
        [(row.name, format_percent(row.error_rise, "+.1%"), format_percent(row.response_left, ".0%")) for row in rows],
    )
    yield from _block(
        ("", "aesthetic, general prompts", "unusable     passes      s"),
        [(row.name, _cell(row.general_aesthetic), f"{row.unusable:<8}{row.network_evaluations:>11,}{row.seconds:>7.0f}")
         for row in rows],
    )  # fmt: skip
    for note in (
        f"A copy is a picture of similarity above {figures.threshold:.3f}: above 0.9, and above all that the model as "
        f"it is made for {figures.controls} general prompts. Intervals are 95 %, over prompts.",
        "Retrieved: told from nine other prompts.",
        "Error, and response (squared difference of conditional and null prediction): of general images, against the "
        "model as it is.",
    ):
        yield from wrap_prose(note, "")
    for reason in dict.fromkeys(
        value.skipped
        for row in figures.rows
        for value in (row.general_alignment, row.general_aesthetic)
        if isinstance(value, Skipped)
    ):
        yield from wrap_prose(f"-: {reason}", "   ")


def _block(heads: tuple[str, str, str], rows: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    """Write two figures of every row beside its name, and an empty line after them."""
    yield "{:24}{:28}{}".format(*heads)
    for name, first, second in rows:
        yield f"{_name(name)}{first:28}{second}".rstrip()
    yield ""


def _name(name: str) -> str:
    """Pad a name to a column of 24; a longer name gets a line of its own."""
    text = printable(name)
    return f"{text:24}" if len(text) < 24 else f"{text}\n{'':24}"


def _cell(value: Mean | Skipped) -> str:
    return "-" if isinstance(value, Skipped) else f"{value.mean:.3f} ({value.low:.2f} to {value.high:.2f})"


def format_percent(value: Mean | Skipped, pattern: str) -> str:
    """Format a mean and its interval by a pattern such as "+.1%"; "-" where it was not measured."""
    if isinstance(value, Skipped):
        return "-"
    mean, low, high = (format(one, pattern) for one in (value.mean, value.low, value.high))
    return f"{mean} ({low} to {high})"
