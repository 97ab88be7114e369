"""What a large audit of published models would cost: operations counted, speed and price of a GPU assumed."""

from collections.abc import Iterator
from functools import partial

from imgaudit.benchmark.harness.figures import label_rows
from imgaudit.benchmark.harness.procedure import OnStage, Procedure
from imgaudit.benchmark.settings import PriceSettings
from imgaudit.benchmark.speed.operations import ModelOperations, OperationTable, count_operations
from imgaudit.exceptions import InputError
from imgaudit.models.published import choose_models
from imgaudit.runs.work import Work, control_work, expected_work, funnel_work
from imgaudit.schema.funnel import FunnelConfig, make_funnel
from imgaudit.schema.protocol import Protocol, protocol_for
from imgaudit.schema.records import Record
from imgaudit.schema.text import wrap_prose

PETA = 1e15
"""Operations in a petaFLOP."""


class AuditPrice(Record):
    """One model, audited in one way."""

    model: str
    """What people call it."""
    funnel: float | None
    """Share of the images that is asked in all ways; None where all are."""
    evaluations: float
    """Network evaluations of an image to audit, on average; a pass backward counts as one more."""
    operations: float
    """Floating point operations of all images and controls together."""

    def hours(self, tflops: float, utilisation: float) -> float:
        """Return the hours of one GPU.

        tflops:       its operations in a second, at most, in units of 1e12
        utilisation:  the share of these that the model reaches, from 0 to 1
        """
        return self.operations / (tflops * 1e12 * utilisation) / 3600


class PriceReport(Record):
    """Prices of all models, before the price of an hour is known."""

    versions: dict[str, str]
    """Of the libraries that counted."""
    models: list[ModelOperations]
    """What was counted."""
    prices: list[AuditPrice]
    """Each model without a funnel, then with one."""


def price_audits(table: OperationTable, settings: PriceSettings) -> PriceReport:
    """Multiply what is counted of one pass by the passes that the protocol has.

    Raises InputError for a model that is not in the table, and for a range of utilisation that is none.
    """
    _refuse(table, settings)
    chosen = [one for one in table.models if not settings.only or one.name in settings.only]
    return PriceReport(
        versions=table.versions,
        models=chosen,
        prices=[_price(one, settings, funnel) for one in chosen for funnel in (None, FunnelConfig().share)],
    )


def _refuse(table: OperationTable, settings: PriceSettings) -> None:
    names = [one.name for one in table.models]
    if unknown := [name for name in settings.only if name not in names]:
        raise InputError(f"{unknown[0]!r:.80} is not in the table; it has {', '.join(names)}")
    low, high = settings.least_utilisation, settings.most_utilisation
    if low > high:
        raise InputError(f"--least-utilisation is {low:g} and --most-utilisation {high:g}: expected no more than that")


def _price(model: ModelOperations, settings: PriceSettings, funnel: float | None) -> AuditPrice:
    protocol = _choose_protocol(model, settings)
    captioned = not settings.no_captions
    without_text = [name for name in protocol.ladder.rungs if name in ("tokens", "embedding")]
    texts = [name for name in protocol.ladder.rungs if name in ("caption", "paraphrase")] if captioned else []
    whole = expected_work(
        protocol, len(without_text) + len(texts), captioned=captioned, prediction_type=model.prediction_type
    )
    funnelled = protocol.model_copy(update={"funnel": None if funnel is None else make_funnel(funnel)})
    stages = funnel_work(funnelled, whole, model.prediction_type, captioned=captioned)
    # Controls are always asked in all ways.
    control = control_work(protocol, whole)
    each = sum(share * _count_operations(model, stage) for share, stage in stages)
    return AuditPrice(
        model=model.name,
        funnel=funnel,
        evaluations=sum(share * _count_evaluations(model, stage) for share, stage in stages),
        operations=settings.images * each + settings.controls * _count_operations(model, control),
    )


def _choose_protocol(model: ModelOperations, settings: PriceSettings) -> Protocol:
    """Return the effort's protocol, without the search of prompts where the model has no words for it."""
    protocol = protocol_for(settings.effort)
    rungs = tuple(name for name in protocol.ladder.rungs if name != "tokens" or model.has_words)
    return protocol.model_copy(update={"ladder": protocol.ladder.model_copy(update={"rungs": rungs})})


def _count_evaluations(model: ModelOperations, work: Work) -> int:
    return 2 * work.backward + work.forward + work.plain_steps + model.passes_per_step * work.guided_steps


def _count_operations(model: ModelOperations, work: Work) -> int:
    forward = work.forward + work.plain_steps + model.passes_per_step * work.guided_steps
    pictures = work.frames * model.decode + work.images * (model.encode + model.decode)
    return work.backward * model.backward + forward * model.forward + pictures


LABEL = 19
"""Columns for the share of images that is asked in all ways."""


def format_prices(report: PriceReport, settings: PriceSettings) -> Iterator[str]:
    """Format what was counted, what is assumed, and one price per line."""
    low, high, hour = settings.least_utilisation, settings.most_utilisation, settings.price_gpu_hour
    yield f"counted, with {', '.join(f'{name} {version}' for name, version in report.versions.items())}"
    yield f"{'TFLOP of one sample':28}{'pixels':>8}{'forward':>10}{'backward':>10}{'decode':>10}{'encode':>10}"
    for one in report.models:
        sizes = (one.forward, one.backward, one.decode, one.encode)
        yield f"{one.name:28}{one.resolution:8}" + "".join(f"{size / 1e12:10.2f}" for size in sizes)
    yield ""
    captions = "without captions" if settings.no_captions else "with captions"
    yield f"counted: {settings.images:,} images {captions} and {settings.controls:,} controls, {settings.effort} effort"
    yield from wrap_prose(
        f"assumed: a GPU of {settings.tflops:g} TFLOP/s at most, of which a model reaches {low:.0%} to {high:.0%}"
        + (f", at {hour:g} an hour" if hour is not None else "")
    )
    yield ""
    title = "price" if hour is not None else ""
    yield f"{'asked in all ways':{LABEL}}{'evaluations':>11}{'PFLOP':>12}{'GPU hours':>18}{title:>20}".rstrip()
    asked = ["all images" if price.funnel is None else f"{price.funnel:.0%}" for price in report.prices]
    names = [price.model for price in report.prices]
    figures = [_format_price(price, settings) for price in report.prices]
    yield from label_rows(list(zip(names, asked, strict=True)), figures, LABEL)
    yield ""
    yield from wrap_prose(
        "evaluations: of the network, for one image, on average; the network forward and backward counts as two"
    )
    yield from wrap_prose(
        "not counted: text encoders, comparing, writing, and operations other than products, convolutions, attention"
    )


def _format_price(price: AuditPrice, settings: PriceSettings) -> str:
    hours = [price.hours(settings.tflops, share) for share in (settings.most_utilisation, settings.least_utilisation)]
    line = f"{price.evaluations:11,.0f}{price.operations / PETA:12,.0f}{_format_range(hours):>18}"
    hour = settings.price_gpu_hour
    return line + (f"{_format_range([hour * one for one in hours]):>20}" if hour is not None else "")


def _format_range(ends: list[float]) -> str:
    low, high = (f"{end:,.0f}" if end >= 10 else f"{end:.1f}" for end in ends)
    return f"{low} to {high}"


def _measure(settings: PriceSettings, on_stage: OnStage) -> OperationTable:
    return count_operations(choose_models(settings.only), on_progress=partial(on_stage, "counting"))


PROCEDURE = Procedure(_measure, OperationTable.read, OperationTable.write, price_audits, format_prices)
