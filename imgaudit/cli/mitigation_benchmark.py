"""`imgaudit benchmark mitigations`: located on half of the memorised images, judged on the other half, then audited."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgaudit.cli.benchmark_options import Images, Json, Model, Out, Quiet, Save, Seed, Table, show, stages

if TYPE_CHECKING:
    from imgaudit.benchmark.methods.mitigations import MitigationReport


def mitigations(
    model: Model = "demo",
    images: Images = None,
    clip: Annotated[Path | None, typer.Option(help="Folder of a CLIPModel, to judge text alignment.")] = None,
    general: Annotated[int, typer.Option(min=1, help="General prompts, and as many images to retain.")] = 40,
    controls: Annotated[int, typer.Option(min=8, help="Controls of every audit.")] = 60,
    pictures: Annotated[int, typer.Option(min=1, help="Pictures per prompt.")] = 8,
    out: Out = Path("imgaudit-benchmark"),
    seed: Seed = 1,
    table: Table = None,
    save: Save = None,
    json_output: Json = False,
    quiet: Quiet = False,
) -> None:
    """Pruning, fine-tuning and inference-time mitigations: what captions return, and what inversion brings back."""
    from imgaudit.benchmark.harness.score_table import read_record, write_lines
    from imgaudit.benchmark.methods.mitigations import MitigationTable, measure_mitigations, mitigation_report

    if table is not None:
        measured = read_record(MitigationTable, table)
    else:
        from imgaudit.benchmark.harness.cases import locate
        from imgaudit.models.loading import BUNDLED, bundled_lab

        # A bundled lab has its images in several folders.
        folder = images or (bundled_lab(model) if model in BUNDLED else Path(model))
        with stages(quiet=quiet) as on_progress:
            measured = measure_mitigations(
                model, locate(folder), out / "mitigations", clip=clip, general=general, controls=controls,
                images=pictures, seed=seed, on_progress=on_progress,
            )  # fmt: skip
    if save is not None:
        write_lines(save, measured, ("commands",))
    report = mitigation_report(measured)
    show(report, mitigation_lines(report), json_output=json_output)


def mitigation_lines(report: "MitigationReport") -> Iterator[str]:
    """What was run, both scenarios, what audits bring back, hopes."""
    from imgaudit.cli.benchmark_tables import goal_lines
    from imgaudit.mitigation.evaluation_summary import figure_lines
    from imgaudit.schema.records import Skipped

    measured, first = report.table, report.figures.rows[0]
    settings = measured.evaluation.settings
    yield (
        f"lab {measured.lab}, {measured.located} memorised images locate, {first.reproduced.n} others judge, "
        f"{measured.controls} controls, seed {measured.seed}"
    )
    yield (
        f"{settings.images} pictures a prompt, guidance {settings.guidance_scale:g}, {settings.num_inference_steps} "
        f"steps; {measured.hardware}"
    )
    yield ""
    yield from measured.commands
    yield ""
    yield from figure_lines(report.figures)
    yield ""
    yield "audited up to inversion        retained of what the audit of the model as it is reproduces"
    for name, found in measured.retention.items():
        if isinstance(found, Skipped):
            yield f"{name:30} {found.skipped}"
            continue
        yield (
            f"{name:30} {found.retained} of {found.reproduced} ({found.low:.1%} to {found.high:.1%}): "
            f"{found.from_text} from text, {found.by_inversion_only} only by inversion"
        )
    yield from goal_lines(report.targets)
