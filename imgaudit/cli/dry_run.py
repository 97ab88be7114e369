"""`--dry-run`: what would be done, and what it costs by measurement of a few passes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from imgaudit.cli.model_choice import ModelChoice
from imgaudit.cli.pace import format_duration
from imgaudit.cli.terminal import say
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.policy import Policy

if TYPE_CHECKING:
    from imgaudit.io.portfolio import Portfolio
    from imgaudit.runs.cost import Cost
    from imgaudit.runs.work import Work
    from imgaudit.schema.protocol import Protocol
    from imgaudit.schema.records import Rung

STAGES = {
    "backward": "forward and backward",
    "forward": "the network forward",
    "decode": "decoding",
    "encode": "encoding",
}
"""Names of the passes, as people read them."""


def print_plan(
    config: AuditConfig, policy: Policy, portfolio: "Portfolio", *, controls: int, to_calibrate: int
) -> "list[Work]":
    """Files, rungs, protocol, policy, network evaluations, and what the controls can find.

    controls:      how many give p-values
    to_calibrate:  how many have to be measured first
    Returns        what every image takes at most, those to calibrate on included
    """
    from imgaudit.decision.controls_needed import describe_controls_needed
    from imgaudit.runs.work import expected_work, invmm_work
    from imgaudit.runs.works import count_works
    from imgaudit.schema.records import Rung

    rungs, inverted = _find_rungs(config, portfolio)
    works = _expected_works(config, portfolio)
    captioned = Rung.CAPTION in rungs
    works += [expected_work(config.protocol, len(inverted) + len(rungs), captioned=captioned)] * to_calibrate
    typer.echo(
        f"{portfolio.count} files: {len(portfolio.targets)} images to audit, {len(portfolio.skipped)} would be skipped"
    )
    for skipped in portfolio.skipped:
        typer.echo(ascii(f"skipped: {skipped.path}: {skipped.skipped}")[1:-1])
    typer.echo(
        "rungs: "
        + ", ".join(
            [*(f"{rung.value} for {sum(has)}" for rung, has in rungs.items()), *(f"{r} for all" for r in inverted)]
        )
    )
    typer.echo(f"protocol {config.protocol.hash[:16]}: {_describe_protocol(config.protocol)}")
    typer.echo(f"policy {policy.hash[:16]}: {_describe_policy(policy)}")
    typer.echo(
        f"network evaluations: at most {sum(work.evaluations for work in works):,}"
        + (f", of which controls: {to_calibrate} images" if to_calibrate else "")
    )
    if config.protocol.span is not None:
        searched = 2 * config.protocol.span.steps * config.protocol.span.draws
        typer.echo(
            f"  of them the score's search among texts: {searched:,} for each image, if the model predicts a flow"
        )
        others = config.protocol.model_copy(update={"span": None}).hash
        typer.echo(f"  or a velocity; other models do without, under protocol {others[:16]}")
    if config.protocol.invmm is not None:
        moved = invmm_work(config.protocol).evaluations
        typer.echo(f"  of them InvMM: at most {moved:,} for each image; it ends earlier where it succeeds")
    grouped = policy.near_duplicates == "grouped"
    hypotheses = count_works(portfolio, config.series) if grouped else len(portfolio.targets)
    typer.echo(describe_controls_needed(controls, max(1, hypotheses), policy.level))
    return works


def _describe_protocol(protocol: "Protocol") -> str:
    generation = protocol.generation
    scales = ", ".join(f"{scale:g}" for scale in generation.guidance_scales)
    inversion = protocol.inversion
    return (
        f"framing {protocol.framing.value}; inversion of {inversion.steps} steps of {inversion.draws} draws; "
        f"{generation.seeds} images per rung, of {generation.num_inference_steps} sampling steps at guidance {scales}"
    )


def _describe_policy(policy: Policy) -> str:
    values = policy.model_dump(mode="json").items()
    return ", ".join(f"{key.replace('_', ' ')} {str(value).replace('_', ' ')}" for key, value in values)


def _find_rungs(config: AuditConfig, portfolio: "Portfolio") -> "tuple[dict[Rung, list[bool]], list[str]]":
    """Return each text rung with the images that have a text for it, and the rungs that need none."""
    from imgaudit.diffusion.rungs import find_rung_texts
    from imgaudit.schema.records import INVERTED_RUNGS, TEXT_RUNGS, Skipped

    protocol = config.protocol
    rungs = {
        rung: [not isinstance(find_rung_texts(t, rung, protocol, config.seed), Skipped) for t in portfolio.targets]
        for rung in TEXT_RUNGS
        if rung.value in protocol.ladder.rungs
    }
    return rungs, [rung.value for rung in INVERTED_RUNGS if rung.value in protocol.ladder.rungs]


def _expected_works(config: AuditConfig, portfolio: "Portfolio") -> "list[Work]":
    """Return what every image to audit takes at most."""
    from imgaudit.runs.work import expected_work
    from imgaudit.schema.records import Rung

    rungs, inverted = _find_rungs(config, portfolio)
    captioned = rungs.get(Rung.CAPTION, [False] * len(portfolio.targets))
    return [
        expected_work(
            config.protocol, len(inverted) + sum(has[number] for has in rungs.values()), captioned=captioned[number]
        )
        for number in range(len(portfolio.targets))
    ]


def estimate_duration(model: ModelChoice, config: AuditConfig, portfolio: "Portfolio", *, quiet: bool) -> str:
    """Return in words how long an audit without controls takes at most, by measurement of a few passes."""
    from imgaudit.runs.cost import estimate_cost
    from imgaudit.similarity.matcher import standard_matcher

    works = _expected_works(config, portfolio)
    if not works or not _is_here(model):
        return f"at most {sum(work.evaluations for work in works):,} network evaluations"
    say(f"loading model {model.name} to time a few passes", quiet=quiet)
    denoiser = model.load(config.device).denoiser
    cost = estimate_cost(
        denoiser, config.protocol, works, standard_matcher(denoiser.resolution, config.device)[0],
        chunk_size=config.chunk_size, batch_size=config.batch_size,
    )  # fmt: skip
    return f"about {format_duration(cost.least_seconds)} to {format_duration(cost.most_seconds)}"


def print_cost(model: ModelChoice, config: AuditConfig, works: "Sequence[Work]", *, quiet: bool) -> None:
    """Time and memory of an audit with this model on this device, and what each figure was measured on.

    works:  what every image takes at most
    """
    from imgaudit.diffusion.generation import require_steps
    from imgaudit.diffusion.inversion import select_streams
    from imgaudit.runs.cost import estimate_cost
    from imgaudit.runs.work import stream_work
    from imgaudit.similarity.matcher import standard_matcher

    if not works:
        return
    if not _is_here(model):
        typer.echo("time and memory: not measured, because the model would have to be fetched first")
        return
    say(f"loading model {model.name} to time a few passes", quiet=quiet)
    denoiser = model.load(config.device).denoiser
    require_steps(denoiser, config.protocol.generation.num_inference_steps)
    streams = select_streams(denoiser.null_condition(), config.streams)
    matcher, _ = standard_matcher(denoiser.resolution, config.device)
    cost = estimate_cost(
        denoiser, config.protocol, works, matcher, chunk_size=config.chunk_size, batch_size=config.batch_size
    )
    for line in (*_time_lines(cost, len(works)), *_memory_lines(cost)):
        typer.echo(line)
    if more := stream_work(config.protocol, len(streams)).evaluations:
        seconds = cost.seconds.of(stream_work(config.protocol, len(streams)))
        typer.echo(
            f"network evaluations: at most {more:,} more, about {format_duration(seconds)}, for each image whose "
            f"embedding gives copies, to tell which of {', '.join(streams)} carries them"
        )


def _is_here(choice: ModelChoice) -> bool:
    """Tell whether a model is on this machine; a dry run fetches nothing."""
    from huggingface_hub import try_to_load_from_cache

    from imgaudit.models import BUNDLED

    model = choice.name
    if Path(model).is_file():
        if choice.config is None:
            return False
        model = choice.config
    name, _, revision = model.partition("@")
    if model in BUNDLED or Path(model).exists() or model.count("/") != 1 or model.startswith((".", "/", "~")):
        return True
    return isinstance(try_to_load_from_cache(name, "model_index.json", revision=revision or None), str)


def _time_lines(cost: "Cost", images: int) -> Iterator[str]:
    from imgaudit.runs.cost import LONG, REPEATS, SHORT

    seconds, where = cost.seconds, cost.device + (f", {cost.threads} threads" if cost.device == "cpu" else "")
    yield (
        f"time: at most {format_duration(cost.least_seconds)} to {format_duration(cost.most_seconds)} for "
        f"{images} images, "
        f"{images * 3600 / cost.total_seconds:,.0f} an hour, on {where}"
    )
    basis = f"median of {REPEATS} batches of {seconds.batch}"
    guided = f"from {REPEATS} runs each of {SHORT} and of {LONG} steps"
    for name, value, measured in (
        ("network forward and backward", seconds.backward, basis),
        ("network forward", seconds.forward, basis),
        ("sampling step, no guidance", seconds.plain_step, guided),
        ("sampling step, guided", seconds.guided_step, guided),
        ("generated image, besides steps", seconds.frame, "the same runs, matching and PNG"),
    ):
        if value:
            yield f"  {name:30} {1000 * value:10.2f} ms each   {measured}"


def _memory_lines(cost: "Cost") -> Iterator[str]:
    kind = "the device's" if cost.device.startswith("cuda") else "main"
    yield (
        f"memory: at least {_size(cost.peak_bytes)} of {kind} memory at batch {cost.batch_size}; with the model loaded "
        f"{_size(cost.free)} are free"
    )
    for name, size, basis in (
        ("held with the model loaded", cost.held, "measured"),
        (f"tensors of {STAGES[cost.stage]}", cost.tensors, "counted in passes of 1 and 2 samples, workspaces left out"),
        ("generated images of a chunk", cost.waiting, "computed; always in main memory"),
    ):
        yield f"  {name:30} {_size(size):>13}   {basis}"


def _size(count: float) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
