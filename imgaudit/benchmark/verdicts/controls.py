"""Controls of another population than a lab's own, for comparing banks."""

from collections.abc import Iterator

from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.benchmark.harness.procedure import OnStage, report_procedure
from imgaudit.benchmark.harness.score_table import ControlTable, ScoreTable
from imgaudit.benchmark.harness.scoring import config_of, control_rows
from imgaudit.benchmark.settings import ControlSettings
from imgaudit.decision.null_bank import NullBank
from imgaudit.exceptions import InputError
from imgaudit.io.images import load_image
from imgaudit.io.portfolio import Portfolio, Target
from imgaudit.runs.calibration import measure_bank


def measure_controls(work: LabWork, like: ScoreTable, note: str, count: int) -> ControlTable:
    """Calibrate a lab on images of another source under the protocol of a score table; captions are not used.

    like:   the table whose protocol and seed the controls meet; its own images and the lab's are left out
    note:   where the images come from
    count:  how many of the images located, in order of SHA-256

    Raises InputError when there are none.
    """
    known = {image.sha256 for image in work.lab.description.images}
    chosen = [work.located[sha256] for sha256 in sorted(work.located) if sha256 not in known][:count]
    if not chosen:
        raise InputError("the folder has no images but the lab's own; another population of controls is needed")
    path = work.folder / "other-calibration.json"
    if not path.is_file():
        targets = [Target(one, load_image(one).facts, {}) for one in chosen]
        portfolio = Portfolio(sorted(targets, key=lambda target: target.image.sha256), [])
        config = config_of(like.protocol, like.seed + 1)
        measure_bank(
            work.folder / "other-calibrating", portfolio, work.lab.loaded, config, note=note,
            on_bank=lambda made: made.write(path), on_progress=work.tell("calibrating"),
        )  # fmt: skip
    bank = NullBank.read(path)
    bank.require(like.model_fingerprint, like.protocol)
    return ControlTable(
        note=note,
        model_fingerprint=bank.model_fingerprint,
        protocol=bank.protocol,
        seed=like.seed + 1,
        controls=control_rows(bank, {}),
    )


def format_controls(table: ControlTable) -> Iterator[str]:
    """Format how many controls there are."""
    yield f"{len(table.controls)} controls: {table.note}"


def _measure(settings: ControlSettings, on_stage: OnStage) -> ControlTable:
    like = ScoreTable.read(settings.like)
    return measure_controls(LabWork.open(settings, on_stage), like, settings.note, settings.count)


PROCEDURE = report_procedure(ControlTable, _measure, format_controls)
