"""Time and memory of an audit on this machine, by measurement of a few passes, in words."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from imgaudit.cli.dry_run import Plan
from imgaudit.cli.model_choice import ModelChoice
from imgaudit.cli.pace import format_duration
from imgaudit.cli.terminal import print_wrapped, progress, waiting
from imgaudit.schema.model_name import BUNDLED, is_hub_id
from imgaudit.schema.protocol import Effort

if TYPE_CHECKING:
    from imgaudit.models import LoadedModel
    from imgaudit.runs.cost import Cost
    from imgaudit.runs.work import Work

LONG = 600
"""Seconds; a dry run names the quick effort for audits that may take longer."""

STAGES = {
    "backward": "a search step (the network forward and backward)",
    "forward": "a prediction (the network forward)",
    "decode": "decoding an image",
    "encode": "encoding an image",
}
"""Names of the passes, as people read them."""


@dataclass(frozen=True)
class MeasuredCost:
    """The cost of a plan on this machine, and the model that was loaded to measure it."""

    cost: "Cost"
    """Time and memory."""
    loaded: "LoadedModel"
    """The model."""
    seconds_loading: float
    """Time that it took to load the model."""
    works: "Sequence[Work]"
    """The most that every image takes."""


def estimate_duration(model: ModelChoice, plan: Plan, *, quiet: bool) -> str:
    """Return in words how long an audit takes at most, by measurement of a few passes."""
    if not plan.works() or not _is_here(model):
        return f"at most {sum(work.evaluations for work in plan.works()):,} network evaluations"
    cost = _measure(model, plan, quiet=quiet).cost
    busy = ", though this machine is too busy to tell well" if _find_signs(cost) else ""
    return f"{_range(cost)}{busy}"


def print_cost(model: ModelChoice, plan: Plan, *, quiet: bool) -> None:
    """Print the time and memory of an audit with this model on this device, and what each figure was measured on."""
    if not plan.works():
        return
    typer.echo("")
    typer.echo("How long it takes, and how much memory")
    if not _is_here(model):
        _print_evaluations(plan, plan.works(), None)
        print_wrapped("  Time and memory were not measured, because the model would have to be fetched first.")
        return
    measured = _measure(model, plan, quiet=quiet)
    for line in (*_time_lines(measured, plan), *_timing_lines(measured.cost)):
        print_wrapped(f"  {line}")
    _print_evaluations(plan, measured.works, measured.loaded.denoiser.prediction_type)
    for line in (*_stream_lines(measured, plan), *_memory_lines(measured.cost)):
        print_wrapped(f"  {line}")
    # The protocol of an audit depends on the kind of model, so it is known only now.
    protocol = plan.config.protocol.for_model(measured.loaded.denoiser.prediction_type)
    print_wrapped(f"  To compare with other audits: protocol {protocol.hash[:16]}, policy {plan.policy.hash[:16]}.")


def _measure(model: ModelChoice, plan: Plan, *, quiet: bool) -> MeasuredCost:
    """Load the model and time a few passes. Raises ConfigError where it lacks a stream or cannot make as few steps."""
    from imgaudit.diffusion.generation import require_steps
    from imgaudit.diffusion.inversion import select_streams
    from imgaudit.runs.cost import estimate_cost
    from imgaudit.similarity.matcher import standard_matcher

    config, began = plan.config, time.monotonic()
    with waiting(f"loading model {model.name} to time a few passes", quiet=quiet):
        loaded = model.load(config.device)
    seconds = time.monotonic() - began
    denoiser = loaded.denoiser
    require_steps(denoiser, config.protocol.generation.num_inference_steps)
    select_streams(denoiser.null_condition(), config.streams)
    works = plan.works(denoiser.prediction_type)
    matcher, _ = standard_matcher(denoiser.resolution, getattr(denoiser, "device", "cpu"))
    with progress("timing the model", quiet=quiet) as advance:
        cost = estimate_cost(
            denoiser, config.protocol, works, matcher, chunk_size=config.chunk_size,
            batch_size=config.batch_size, on_progress=advance,
        )  # fmt: skip
    return MeasuredCost(cost, loaded, seconds, works)


def _is_here(choice: ModelChoice) -> bool:
    """Tell whether a model is on this machine; a dry run fetches nothing."""
    from huggingface_hub import try_to_load_from_cache

    model = choice.name
    if Path(model).is_file():
        if choice.config is None:
            return False
        model = choice.config
    name, _, revision = model.partition("@")
    if model in BUNDLED or Path(model).exists() or not is_hub_id(model):
        return True
    return isinstance(try_to_load_from_cache(name, "model_index.json", revision=revision or None), str)


def _range(cost: "Cost") -> str:
    """Return the times between which the audit takes, in words."""
    least, most = format_duration(cost.least_seconds), format_duration(cost.most_seconds)
    return f"about {least}" if least == most else f"about {least} to {most}"


def _time_lines(measured: MeasuredCost, plan: Plan) -> Iterator[str]:
    cost, images, controls = measured.cost, len(plan.portfolio.targets), len(plan.control_works())
    threads = "1 thread" if cost.threads == 1 else f"{cost.threads} threads"
    where = cost.device + (f" with {threads}" if cost.device == "cpu" else "")
    of = f"{images} images to audit and {controls} controls" if controls else f"{images} images"
    less = "; less where InvMM's search succeeds early" if plan.config.protocol.invmm is not None else ""
    yield f"Time: {_range(cost)} for {of}, on {where}{less}."
    signs = _find_signs(cost)
    # On a busy machine one number would say more than was measured.
    every = (cost.most_seconds, cost.least_seconds) if signs else (cost.total_seconds,)
    rates = " to ".join(f"{len(measured.works) * 3600 / seconds:,.0f}" for seconds in every)
    yield (
        f"That is {rates} images an hour. Loading the model, which took "
        f"{format_duration(measured.seconds_loading)}, and checking it come on top."
    )
    if signs:
        yield (
            f"Warning: other programs keep this machine busy: {'; '.join(signs)}. The audit may take several times as "
            "long, or as short. Measure again when the machine is quiet."
        )
    if cost.most_seconds > LONG and plan.config.effort is not Effort.QUICK:
        yield "--effort quick takes less time: it makes fewer images, and so may miss copies that more would show."


def _find_signs(cost: "Cost") -> list[str]:
    """List the signs because of which no estimate can be relied on."""
    contradictory = ["the times measured contradict each other, also when measured again"]
    return [*(contradictory if cost.is_contradictory else []), *cost.busyness.reasons]


def _timing_lines(cost: "Cost") -> Iterator[str]:
    """Yield the times measured, in milliseconds for one image."""
    seconds = cost.seconds
    few = "" if seconds.batch == cost.batch_size else ", which takes less time and gives much the same for one image"
    yield (
        f"The network is given up to {_images(cost.batch_size)} at once (a batch). It was timed on "
        f"{_images(seconds.batch)} at once{few}."
    )
    if cost.is_contradictory:
        yield "What a single step takes is not shown, because the times measured contradict each other."
        return
    yield "Measured for one image:"
    for name, value in (
        ("step of the search", seconds.backward),
        ("prediction", seconds.forward),
        ("sampling step without guidance", seconds.plain_step),
        ("sampling step with guidance", seconds.guided_step),
        ("comparing and saving", seconds.frame),
    ):
        if value:
            yield f"  {name:32} {1000 * value:10.2f} ms"


def _print_evaluations(plan: Plan, works: "Sequence[Work]", prediction_type: str | None) -> None:
    """Print how often the network is run, which is the same on every machine."""
    total = sum(work.evaluations for work in works)
    parts = [f"Network evaluations: at most {total:,}"]
    if controls := plan.control_works(prediction_type):
        parts.append(f"of which {sum(work.evaluations for work in controls):,} for the controls")
    print_wrapped(f"  {', '.join(parts)}. One is a run of the model's network on one image.")
    if said := _compare_controls(plan, prediction_type):
        print_wrapped(f"  {said}")
    if plan.config.protocol.invmm is not None:
        from imgaudit.runs.work import invmm_work

        moved = invmm_work(plan.config.protocol).evaluations
        print_wrapped(f"  Of them InvMM takes at most {moved:,} for each image.")
    if prediction_type is None and plan.config.protocol.span is not None:
        searched = 2 * plan.config.protocol.span.steps * plan.config.protocol.span.draws
        print_wrapped(
            f"  Of them {searched:,} for each image are needed only for models that predict a flow or a velocity."
        )


def _compare_controls(plan: Plan, prediction_type: str | None) -> str:
    """Say why a control takes more or less than an image to audit; empty where it does not."""
    every = (plan.target_works(prediction_type), plan.control_works(prediction_type))
    image, control = (max((work.evaluations for work in works), default=0) for works in every)
    if plan.controls is None or not (image and control) or image == control:
        return ""
    texts = [
        {rung.value for rung, has in plan.find_rungs(images)[0].items() if any(has)}
        for images in (plan.own, plan.controls)
    ]
    numbers = f"A control takes at most {control:,}, an image to audit at most {image:,}"
    look = "get a first look, a short score that a later audit with --funnel compares with"
    if texts[0] == texts[1]:
        return f"{numbers}: controls {look}."
    more, only = ("controls", texts[1] - texts[0]) if control > image else ("images to audit", texts[0] - texts[1])
    what = " or a ".join(sorted(only))
    return f"{numbers}: only {more} have a {what}, and the model is asked for them with it too. Controls {look}."


def _stream_lines(measured: MeasuredCost, plan: Plan) -> Iterator[str]:
    """Yield what it takes to tell which text encoder carries copies, where the model has several."""
    from imgaudit.diffusion.inversion import select_streams
    from imgaudit.runs.work import stream_work

    streams = select_streams(measured.loaded.denoiser.null_condition(), plan.config.streams)
    work = stream_work(plan.config.protocol, len(streams))
    if work.evaluations:
        yield (
            f"At most {work.evaluations:,} more, about {format_duration(measured.cost.seconds.of(work))}, for each "
            "image that its embedding returns: they tell which of the model's text encoders "
            f"({', '.join(streams)}) carries the copy."
        )


def _memory_lines(cost: "Cost") -> Iterator[str]:
    from imgaudit.runs.cost import format_bytes

    kind = "the device's" if cost.device.startswith("cuda") else "main"
    yield (
        f"Memory: at least {format_bytes(cost.peak_bytes)} of {kind} memory, with {_images(cost.batch_size)} at once; "
        f"{format_bytes(cost.free)} are free with the model loaded. Counted in that:"
    )
    for name, size in (
        ("in use with the model loaded", cost.held),
        (f"more in {STAGES[cost.stage]}", cost.tensors),
        ("generated images, in main memory", cost.waiting),
    ):
        yield f"  {name}: {format_bytes(size)}"


def _images(number: int) -> str:
    return "1 image" if number == 1 else f"{number} images"
