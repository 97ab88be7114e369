"""Figures of an evaluated mitigation, each with its denominator and interval; no model is needed."""

from collections.abc import Sequence
from statistics import fmean

from imgaudit.mitigation.evaluation import EvaluationSettings, ModelOutcome, PromptOutcome, Reference
from imgaudit.schema.measures import NEAR_COPY_CORRELATION
from imgaudit.schema.records import Record, Skipped
from imgaudit.statistics import bootstrap_mean, clopper_pearson

TOP = 3
"""Pictures per prompt whose similarity is averaged beside the highest."""


class EvaluationTable(Record):
    """Everything that was measured, and by what."""

    schema_version: int = 1
    """Version of this format."""
    model: str
    """How the model is called."""
    settings: EvaluationSettings
    """What was generated."""
    clip: str | Skipped
    """What judged alignment."""
    aesthetic: str | Skipped
    """What judged quality."""
    reference: Reference | Skipped
    """What answers that copy nothing would score."""
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


class Share(Record):
    """A share of prompts."""

    hits: int
    """How many."""
    n: int
    """Of how many."""
    low: float
    """95 %, Clopper-Pearson."""
    high: float
    """Upper end."""

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
    """Of general pictures."""
    error_rise: Mean | Skipped
    """Error on general images over that of the model as it is, minus 1, per image; 0 for the model itself."""
    response_left: Mean | Skipped
    """Share of the response to general prompts that is left, per image: a model that ignores its prompts copies nothing
    either, and its error hardly rises."""
    unusable: int
    """Pictures that are blank or not finite, of both scenarios."""
    network_evaluations: int
    """Of both scenarios."""
    seconds: float
    """Of both scenarios."""


class EvaluationFigures(Record):
    """The whole table."""

    threshold: float
    """Similarity that a picture must exceed to be a copy."""
    controls: int
    """General prompts none of whose pictures exceeds it."""
    reference_similarity: Mean | Skipped
    """Of answers that copy nothing, to the trigger's images."""
    reference_alignment: Mean | Skipped
    """Of answers that copy nothing, with the trigger prompts."""
    judge_retrieved: Mean | Skipped
    """Share of the general images themselves that the judge tells from nine other prompts by their own."""
    rows: list[MitigationFigures]
    """As the table's models."""


def summarise(table: EvaluationTable) -> EvaluationFigures:
    """Figures of a table whose first model is the one without mitigations.

    A picture is a copy when its similarity exceeds 0.9 and that of every picture that the model as it is made for a
    general prompt to that prompt's own image.
    """
    base = table.models[0]
    controls = [max(one.similarity) for one in base.general]
    threshold = max([NEAR_COPY_CORRELATION, *controls])
    reference = table.reference
    return EvaluationFigures(
        threshold=threshold,
        controls=len(controls),
        reference_similarity=reference if isinstance(reference, Skipped) else _mean(reference.similarity),
        reference_alignment=reference if isinstance(reference, Skipped) else _mean(reference.alignment),
        judge_retrieved=reference if isinstance(reference, Skipped) else _mean([float(t) for t in reference.retrieved]),
        rows=[_figures(one, base, threshold) for one in table.models],
    )


def _figures(model: ModelOutcome, base: ModelOutcome, threshold: float) -> MitigationFigures:
    triggers = model.triggers
    counts = [sum(value > threshold for value in one.similarity) for one in triggers]
    reproduced = sum(count > 0 for count in counts)
    interval = clopper_pearson(reproduced, len(triggers))
    return MitigationFigures(
        name=model.name,
        highest=_mean([max(one.similarity) for one in triggers]),
        top=_mean([fmean(sorted(one.similarity)[-TOP:]) for one in triggers]),
        copies=_mean([count / len(one.similarity) for count, one in zip(counts, triggers, strict=True)]),
        reproduced=Share(hits=reproduced, n=len(triggers), low=interval.low, high=interval.high),
        trigger_alignment=_over(triggers, "alignment"),
        general_alignment=_over(model.general, "alignment"),
        trigger_retrieved=_over(triggers, "retrieved"),
        general_retrieved=_over(model.general, "retrieved"),
        general_aesthetic=_over(model.general, "aesthetic"),
        error_rise=_against(model, base, "error", -1.0),
        response_left=_against(model, base, "response", 0.0),
        unusable=sum(one.unusable for one in [*triggers, *model.general]),
        network_evaluations=model.network_evaluations,
        seconds=model.seconds,
    )


def _over(outcomes: Sequence[PromptOutcome], name: str) -> Mean | Skipped:
    """Mean over prompts of the mean over their pictures; Skipped with the first reason where one has none."""
    values = []
    for one in outcomes:
        found = getattr(one, name)
        if isinstance(found, Skipped):
            return found
        values.append(found / len(one.similarity) if isinstance(found, int) else fmean(found))
    return _mean(values) if values else Skipped(skipped="no prompts")


def _against(model: ModelOutcome, base: ModelOutcome, name: str, add: float) -> Mean | Skipped:
    """Mean over general images of a value over that of the model as it is, plus a constant."""
    pairs = [
        (getattr(one, name), getattr(before, name)) for one, before in zip(model.general, base.general, strict=True)
    ]
    ratios = [after / before + add for after, before in pairs if after is not None and before]
    return _mean(ratios) if ratios else Skipped(skipped="not measured of general images")


def _mean(values: Sequence[float]) -> Mean:
    interval = bootstrap_mean(values)
    return Mean(mean=fmean(values), low=interval.low, high=interval.high, n=len(values))
