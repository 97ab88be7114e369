"""`imgaudit benchmark memory`: what the published models need, counted without their weights."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from imgaudit.cli.benchmark_options import Json, Quiet, Save, Table, show
from imgaudit.cli.terminal import progress

if TYPE_CHECKING:
    from imgaudit.benchmark.speed.memory import MemoryReport, ModelMemory

Only = Annotated[list[str] | None, typer.Option("--only", help="A published model by its name; repeatable.")]

COLUMNS = ("weights", "denoiser", "backward", "spared", "decode", "at least", "spared", "offloaded")
"""Heads of the columns, all sizes in GiB: what the weights take, then tensors of one sample, then their sums."""


def memory(
    only: Only = None,
    table: Table = None,
    save: Save = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Memory of the published models, stage by stage, counted on their real classes without a weight."""
    from imgaudit.benchmark.speed.memory import MemoryReport, count_models
    from imgaudit.io.writing import read_json, write_json
    from imgaudit.models.published import choose_models

    if table is not None:
        report = MemoryReport.model_validate(read_json(table))
    else:
        models = choose_models(only or [])
        with progress("counting", quiet=quiet) as on_progress:
            report = count_models(models, on_progress=on_progress)
    if save is not None:
        write_json(save, report.model_dump(mode="json"))
    show(report, memory_lines(report), json_output=json_output)


def memory_lines(report: "MemoryReport") -> Iterator[str]:
    """Sizes of every model, then its parameters beside what was published."""
    yield (
        "GiB of tensors at batch 1, counted without weights, with "
        + ", ".join(f"{name} {version}" for name, version in report.versions.items())
    )
    yield ""
    yield f"{'':28}{'type':8}" + "".join(f"{title:>10}" for title in COLUMNS)
    for model in report.models:
        yield _sizes(model)
    yield ""
    yield "each sample more in a batch"
    stages = list(report.models[0].stages) if report.models else []
    yield f"{'':36}" + "".join(f"{stage:>24}" if "," in stage else f"{stage:>10}" for stage in stages)
    for model in report.models:
        sizes = (f"{size.more / 2**30:{24 if ',' in stage else 10}.2f}" for stage, size in model.stages.items())
        yield f"{model.name:28}{model.dtype:8}" + "".join(sizes)
    yield ""
    yield "numbers in the files of weights, beside what was published"
    for model in report.models[::2]:
        for one in model.agreements:
            yield (
                f"{model.name:28}{' + '.join(one.statement.networks):30} {one.counted:>14,}   "
                f"{one.statement.parameters:>5}  {'agrees' if one.agrees else 'DIFFERS'}  {one.statement.source}"
            )


def _sizes(model: "ModelMemory") -> str:
    from imgaudit.benchmark.speed.memory import CHECKPOINTED

    spared = model.stages.get(CHECKPOINTED)
    sizes = (
        model.weights,
        model.networks[model.denoises].bytes,
        model.stages["backward"].one,
        spared.one if spared is not None else None,
        model.stages["decode"].one,
        model.needed(checkpointed=False),
        model.needed(checkpointed=True) if spared is not None else None,
        model.offloaded,
    )
    return f"{model.name:28}{model.dtype:8}" + "".join(
        f"{'-':>10}" if size is None else f"{size / 2**30:10.2f}" for size in sizes
    )
