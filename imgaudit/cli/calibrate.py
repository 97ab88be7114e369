"""`imgaudit calibrate`: a null bank of controls, made or added to."""

from pathlib import Path
from typing import Annotated

import typer

from imgaudit.cli.engine import EngineOptions, count_evaluations
from imgaudit.cli.folders import keep_begun_framing, read_folder
from imgaudit.cli.interruption import Interruption
from imgaudit.cli.model_choice import ModelChoice
from imgaudit.cli.options import Captions, MeasuringOptions, Quiet, ShardOption
from imgaudit.cli.pace import Activity
from imgaudit.cli.paths import require_folder, require_new_file
from imgaudit.cli.signatures import Heading, argument, flag, option, takes_records
from imgaudit.cli.terminal import print_wrapped, say, stage_progress, waiting
from imgaudit.io.offline import go_offline
from imgaudit.schema.shard import Shard


def register(app: typer.Typer, heading: str) -> None:
    """Add the command."""
    app.command(name="calibrate", rich_help_panel=heading)(takes_records(_calibrate))


def _calibrate(
    controls: Annotated[Path, argument("CONTROLS", help="Folder of images that cannot have been in the training "
        "set, as far as you know.", callback=require_folder)],
    model: ModelChoice,
    options: MeasuringOptions,
    engine: EngineOptions,
    out: Annotated[Path, option(Heading.OUTPUT, "File to write the null bank to.", "--out", "-o",
        metavar="FILE", callback=require_new_file)] = Path("calibration.json"),
    captions: Captions = None,
    note: Annotated[str, option(Heading.CONTROLS, "Why these images cannot have been in the training set; recorded in "
        "the bank.", metavar="TEXT", default="the name of the folder")] = "",
    append: Annotated[bool, flag(Heading.OUTPUT, "Add to the bank that --out names, if there is one.",
        "--append")] = False,
    shard: ShardOption = "",
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Measure controls, and save their scores as a file (null bank) for audits."""
    from imgaudit.api import calibrate
    from imgaudit.schema.score_search import describe_score, recorded_search

    part = Shard.parse(shard) if shard else None
    config, sources = options.resolve()
    config = keep_begun_framing(config, sources, out.with_name(out.name + ".work"))
    engine.require_valid(config)
    if config.offline:
        go_offline()
    portfolio = read_folder(controls, config, captions=captions, thumbnails=True, quiet=quiet)
    for skipped in portfolio.skipped:
        say(f"left out: {skipped.path}: {skipped.skipped}", quiet=quiet)
    with waiting(f"loading model {model.name}", quiet=quiet):
        loaded = model.load(engine.find_first_device(config.device))
    activity = Activity()
    interruption = Interruption(activity=activity)
    with (
        interruption.listening(),
        stage_progress(quiet=quiet, activity=activity) as advance,
        engine.opened(model, config) as processes,
    ):
        activity.count_evaluations = count_evaluations(loaded, processes)
        made = calibrate(
            loaded, portfolio, out=out, config=config, note=note or f"folder {controls}", append=append,
            shard=part, on_progress=interruption.stopping_stages(advance),
            on_note=lambda sentence: say(sentence, quiet=quiet), on_step=activity.begin, engine=processes,
        )  # fmt: skip
    if score := describe_score(recorded_search(made.protocol), made.baselines):
        print_wrapped(score)
    if part is not None:
        print_wrapped(f"{part}: {made.works} controls measured ->", str(out))
        print_wrapped("No audit takes a shard: imgaudit merge SHARD... --out BANK makes a null bank of all shards")
        return
    print_wrapped(f"{len(made.controls)} controls, {len(made.kept_out)} more kept out of the bank ->", str(out))
