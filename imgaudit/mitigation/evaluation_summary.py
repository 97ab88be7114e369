"""Figures of an evaluated mitigation, each with its denominator and interval; no model is needed."""

from collections.abc import Iterator, Sequence
from statistics import fmean

from pydantic import AliasChoices, Field

from imgaudit.mitigation.evaluation import CopyFreeScores, EvaluationSettings, ModelOutcome, PromptOutcome
from imgaudit.schema.measures import NEAR_COPY_CORRELATION
from imgaudit.schema.records import Count, Record, Skipped
from imgaudit.schema.text import printable
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
    """Write the table in lines of at most 120 columns: remaining copies, image quality, cost, and notes."""
    yield f"{'trigger prompts':24}{'reproduced':27}{'pictures that copy':21}{'highest similarity':21}mean of top 3"
    for row in figures.rows:
        yield (f"{_name(row.name)}{row.reproduced!s:27}{_cell(row.copies):21}{_cell(row.highest):21}{_cell(row.top)}")
    yield f"{'copying nothing':24}{'':48}{_cell(figures.copy_free_similarity)}"
    yield ""
    yield f"{'':24}{'alignment':44}retrieved"
    yield f"{'':24}{'trigger prompts':22}{'general prompts':22}{'trigger prompts':22}general prompts"
    for row in figures.rows:
        yield (
            f"{_name(row.name)}{_cell(row.trigger_alignment):22}{_cell(row.general_alignment):22}"
            f"{_cell(row.trigger_retrieved):22}{_cell(row.general_retrieved)}"
        )
    yield f"{'copying nothing':24}{_cell(figures.copy_free_alignment)}"
    yield f"{'general images':24}{'':66}{_cell(figures.judge_retrieved)}"
    yield ""
    heading = f"{'error, clean images':25}{'response to prompts':23}{'aesthetic':21}{'unusable':9}{'passes':>10}"
    yield f"{'':24}{heading}{'s':>7}"
    for row in figures.rows:
        yield (
            f"{_name(row.name)}{format_percent(row.error_rise, '+.1%'):25}{format_percent(row.response_left, '.0%'):23}"
            f"{_cell(row.general_aesthetic):21}{row.unusable:<9}{row.network_evaluations:>10,}{row.seconds:>7.0f}"
        )
    yield ""
    yield (
        f"A copy is a picture of similarity above {figures.threshold:.3f}: above 0.9, and above all that the model as "
        "it is made"
    )
    yield (
        f"for {figures.controls} general prompts. Intervals are 95 %, over prompts. Retrieved: told from nine other "
        "prompts."
    )
    yield "Error, and response (squared difference of conditional and null prediction): of general images, against the"
    yield "model as it is."
    for reason in dict.fromkeys(
        value.skipped
        for row in figures.rows
        for value in (row.general_alignment, row.general_aesthetic)
        if isinstance(value, Skipped)
    ):
        yield f"-: {reason}"


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
