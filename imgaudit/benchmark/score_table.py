"""The score table of a lab: a row per image, small enough to commit, enough to redo every statistic without a model."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from imgaudit.audit import calibrate, conclude, measure_targets
from imgaudit.benchmark.cases import CaseCounts, Group, choose_cases, group_of, load_cases
from imgaudit.benchmark.lab_model import LabModel, hardware
from imgaudit.calibration import NullBank
from imgaudit.config import AuditConfig, Effort, Protocol, protocol_for
from imgaudit.exceptions import InputError
from imgaudit.findings import Finding, Verdict
from imgaudit.lab.description import LabDescription
from imgaudit.manifest import make_manifest, open_run
from imgaudit.records import Measurement, Record, Rung, RungMeasurement, Skipped
from imgaudit.store import RunFolder, read_json, write_json

COUNTS = CaseCounts()
"""Images of a detection benchmark."""


class RungScore(Record):
    """What one rung gave."""

    hits: int
    """Seeds that made a copy."""
    n: int
    """Seeds that could be scored."""
    best: float | None
    """Highest pixel similarity; None when no seed could be scored."""


class ScoreRow(Record):
    """One image: its truth and what the audit said of it."""

    sha256: str
    """Of the file."""
    group: Group
    """Truth, by the lab."""
    repeats: int
    """How often it was repeated in training."""
    reproduced: int
    """Seeds, of 64 or in vain of 16, that gave it back in the lab's own measurement; 0 where that was not measured."""
    nearest_similarity: float
    """Pixel correlation with the nearest image that the lab was trained on, other than itself."""
    complexity: float
    """log(PNG bytes per pixel)."""
    conditional: float
    """Mean error under the inverted embedding."""
    log_ratio: float
    """Mean log(null error / conditional error)."""
    score: float
    """log_ratio, adjusted for complexity by the bank's line."""
    p_value: float | None
    """Against the bank; None when it was taken away."""
    q_value: float | None
    """Over the images of this table."""
    verdict: Verdict
    """What the audit concluded."""
    rungs: dict[Rung, RungScore]
    """Rungs that were measured."""
    network_evaluations: int
    """Spent on the image."""
    seconds: float
    """Spent on the image."""


class ScoreTable(Record):
    """All rows of one benchmark run, and what they rest on."""

    schema_version: int = 1
    """Version of this format."""
    lab: str
    """Lab model."""
    model_fingerprint: str
    """Its weights."""
    protocol: Protocol
    """What every control and image met."""
    seed: int
    """Run seed."""
    level: float
    """Level of p-values, thresholds and false discovery."""
    hardware: str
    """Machine, device and threads."""
    control_scores: list[float]
    """Scores of the bank's controls; none of them has a row."""
    rows: list[ScoreRow]
    """In order of SHA-256."""

    def of(self, group: Group) -> list[ScoreRow]:
        """Rows of one group."""
        return [row for row in self.rows if row.group is group]

    def write(self, path: Path) -> None:
        """Write as JSON."""
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def read(cls, path: Path) -> "ScoreTable":
        """Read a table that `write` wrote."""
        return cls.model_validate(read_json(path))


def score_rows(
    findings: Sequence[Finding], measurements: Sequence[Measurement], bank: NullBank, lab: LabDescription
) -> list[ScoreRow]:
    """Rows for the images of a lab that a finished run measured."""
    known = {image.sha256: image for image in lab.images}
    measured = {m.id: m for m in measurements}
    rows = []
    for finding in sorted(findings, key=lambda f: f.sha256):
        if finding.verdict is Verdict.SKIPPED or finding.sha256 not in known:
            continue
        image, measurement = known[finding.sha256], measured[finding.id]
        error = measurement.error
        assert not isinstance(error, Skipped)
        hits = {r.rung: r.hits for r in finding.replication}
        rows.append(
            ScoreRow(
                sha256=finding.sha256,
                group=group_of(image),
                repeats=image.repeats,
                reproduced=image.reproduced,
                nearest_similarity=image.nearest_similarity,
                complexity=measurement.complexity,
                conditional=error.conditional,
                log_ratio=error.log_ratio,
                score=bank.line.residual(error.log_ratio, measurement.complexity),
                p_value=None if isinstance(finding.p_value, Skipped) else finding.p_value,
                q_value=None if isinstance(finding.q_value, Skipped) else finding.q_value,
                verdict=finding.verdict,
                rungs={
                    rung: RungScore(hits=hits.get(rung, 0), n=len(rm.valid), best=rm.best("pixel"))
                    for rung, rm in measurement.rungs.items()
                    if isinstance(rm, RungMeasurement)
                },
                network_evaluations=measurement.network_evaluations,
                seconds=measurement.seconds,
            )
        )
    return rows


def measure_scores(
    lab: LabModel,
    located: Mapping[str, Path],
    folder: Path,
    *,
    command: Sequence[str],
    effort: Effort,
    seed: int,
    counts: CaseCounts = COUNTS,
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> ScoreTable:
    """Calibrate on a lab's controls unless the lab brings a bank, then audit its measured images.

    command:  what was typed, for the run's manifest

    `folder` holds bank and run; what is finished there is not repeated.
    Raises InputError when an image is both in the bank and measured, or is missing from the folder given.
    """
    bundled = lab.folder / "calibration.json"
    bank_path = bundled if bundled.is_file() else folder / "calibration.json"
    if bank_path.is_file():
        protocol = NullBank.read(bank_path).protocol
    else:
        protocol = protocol_for(effort, lab.description.recipe.framing)
    config = config_of(protocol, seed)
    cases = choose_cases(lab.description, counts)
    if not bank_path.is_file():
        controls = load_cases(cases.controls, located)
        made = calibrate(
            folder / "calibrating", controls, lab.loaded, config.model_copy(update={"seed": seed + 1}),
            note=f"held-out images of lab {lab.description.recipe.name}, never trained on",
            on_progress=lambda done, total: on_progress("calibrating", done, total),
        )  # fmt: skip
        made.write(bank_path)
    bank = NullBank.read(bank_path)
    bank.require(lab.loaded.denoiser.fingerprint, config.protocol)
    portfolio = load_cases([image for image in cases.measured if image.sha256 in located], located)
    used = {control.sha256 for control in [*bank.controls, *bank.kept_out]}
    if shared := used & {target.image.sha256 for target in portfolio.targets}:
        raise InputError(f"{len(shared)} benchmark images are in the null bank; they must be kept apart")
    run = RunFolder(folder / "run")
    with run.lock():
        open_run(run, make_manifest(command, config, {}, lab.loaded, portfolio))
        bank.write(run.calibration_path)
        for _ in measure_targets(
            run, portfolio, lab.loaded, config, on_progress=lambda done, total: on_progress("measuring", done, total)
        ):
            pass
        result = conclude(run)
    return ScoreTable(
        lab=lab.description.recipe.name,
        model_fingerprint=lab.loaded.denoiser.fingerprint,
        protocol=config.protocol,
        seed=seed,
        level=config.level,
        hardware=hardware(lab.loaded.denoiser),
        control_scores=bank.scores(),
        rows=score_rows(result.findings, run.read_measurements()[0], bank, lab.description),
    )


def config_of(protocol: Protocol, seed: int) -> AuditConfig:
    """The audit configuration whose protocol is this one."""
    inversion, generation = protocol.inversion, protocol.generation
    return AuditConfig(
        framing=protocol.framing,
        steps=inversion.steps,
        draws=inversion.draws,
        seeds=generation.seeds,
        num_inference_steps=generation.num_inference_steps,
        guidance_scales=generation.guidance_scales,
        rungs=protocol.ladder.rungs,
        seed=seed,
    )
