"""Make score tables: calibrate on a lab's controls, audit its measured images, keep a row of each."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from imgaudit.benchmark.harness.cases import CaseCounts, choose_cases, group_of
from imgaudit.benchmark.harness.lab_model import describe_hardware
from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.benchmark.harness.score_table import (
    DIGITS,
    ControlRow,
    RungScore,
    ScoreRow,
    ScoreTable,
    Seeds,
)
from imgaudit.decision.null_bank import NullBank
from imgaudit.exceptions import InputError
from imgaudit.lab.description import LabDescription, LabImage
from imgaudit.runs.calibration import measure_bank
from imgaudit.runs.conclusion import conclude
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.manifest import make_manifest, open_manifest
from imgaudit.runs.measurement import measure_targets
from imgaudit.schema.caption_score import CaptionScore
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.findings import Finding, Verdict
from imgaudit.schema.measures import DECIDING_DESCRIPTOR, DECIDING_DISTANCE
from imgaudit.schema.protocol import Protocol, Search
from imgaudit.schema.records import Measurement, RungMeasurement, Skipped
from imgaudit.schema.replication import Replication

COUNTS = CaseCounts()
"""Images of a detection benchmark."""


def control_rows(bank: NullBank, known: Mapping[str, LabImage]) -> list[ControlRow]:
    """Return a bank as rows; controls without a score are left out.

    known:  images of the lab by SHA-256
    """
    return [
        ControlRow(
            sha256=control.sha256,
            kept_out=kept_out,
            text=known[control.sha256].text if control.sha256 in known else "",
            complexity=control.complexity,
            log_ratio=control.log_ratio,
            caption_log_ratio=control.caption_log_ratio,
            features=_rounded(control.features),
            nearest_similarity=known[control.sha256].nearest_similarity if control.sha256 in known else None,
            rungs={
                rung: Seeds.of((seed.similarity, seed.distance) for seed in seeds)
                for rung, seeds in control.rungs.items()
            },
        )
        for kept_out, controls in ((True, bank.kept_out), (False, bank.controls))
        for control in controls
        if not isinstance(control.log_ratio, Skipped)
    ]


def _seeds(measured: RungMeasurement) -> Seeds:
    return Seeds.of(
        (replica.similarity[DECIDING_DESCRIPTOR], replica.distance[DECIDING_DISTANCE])
        for replica in measured.valid
        if not isinstance(replica.similarity, Skipped) and not isinstance(replica.distance, Skipped)
    )


def _rounded(features: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, DIGITS) for name, value in features.items()}


def _text_or_control_p_value(replication: Replication) -> float | None:
    coincidence = _known(replication.coincidence_p_value)
    return _known(replication.p_value) if coincidence is None else coincidence


def _known(value: float | Skipped | None) -> float | None:
    return None if isinstance(value, Skipped) else value


def _caption_values(found: CaptionScore | Skipped | None) -> dict[str, float | None]:
    """Return the fields of a row that hold the score under its caption; none where there is no such score."""
    if found is None or isinstance(found, Skipped):
        return {}
    return {
        "caption_log_ratio": found.log_ratio,
        "caption_score": _known(found.score),
        "caption_p_value": _known(found.p_value),
    }


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
        ladder = {replication.rung: replication for replication in finding.replication}
        rows.append(
            ScoreRow(
                sha256=finding.sha256,
                group=group_of(image),
                text=image.text,
                repeats=image.repeats,
                reproduced=image.reproduced,
                nearest_similarity=image.nearest_similarity,
                complexity=measurement.complexity,
                conditional=error.conditional,
                log_ratio=error.log_ratio,
                **_caption_values(finding.caption_score),
                score=bank.line.residual(error.log_ratio, measurement.complexity),
                p_value=_known(finding.score_p_value),
                q_value=_known(finding.q_value),
                verdict=finding.verdict,
                features=_rounded(measurement.features),
                rungs={
                    rung: RungScore(
                        hits=ladder[rung].hits,
                        n=len(rm.valid),
                        best=rm.best(DECIDING_DESCRIPTOR),
                        p_value=_text_or_control_p_value(ladder[rung]),
                        bits=_known(rm.bits),
                        stands=ladder[rung].stands,
                        seeds=_seeds(rm),
                    )
                    for rung, rm in measurement.rungs.items()
                    if isinstance(rm, RungMeasurement)
                },
                network_evaluations=measurement.network_evaluations,
                seconds=measurement.seconds,
            )
        )
    return rows


def measure_scores(
    work: LabWork, protocol: Protocol, *, command: Sequence[str], bank: Path | None = None, counts: CaseCounts = COUNTS
) -> ScoreTable:
    """Calibrate on a lab's controls unless a bank is given, then audit its measured images.

    protocol:  what every control and image meets; a bank that is given has its own
    command:   what was typed, for the run's manifest

    The work folder holds bank and run; what is finished there is not repeated.
    Raises InputError when an image is both in the bank and measured, or is missing from the folder given, and
    CalibrationError when the folder holds a bank of another protocol.
    """
    lab, folder = work.lab, work.folder
    bank_path = bank or folder / "calibration.json"
    if bank is not None:
        protocol = NullBank.read(bank).protocol
    protocol = protocol.for_model(work.denoiser.prediction_type)
    config = config_of(protocol, work.seed)
    cases = choose_cases(lab.description, counts)
    portfolio = work.load([image for image in cases.measured if image.sha256 in work.located])
    run = RunFolder(folder / "run")
    with run.lock():
        # First of all: a folder that holds another lab's run is refused before controls are measured.
        open_manifest(run.path, make_manifest(command, config, {}, lab.loaded, portfolio))
        if not bank_path.is_file():
            measure_bank(
                folder / "calibrating", work.load(cases.controls), lab.loaded,
                config.model_copy(update={"seed": work.seed + 1}),
                note=f"held-out images of lab {lab.description.recipe.name}, never trained on",
                on_bank=lambda made: made.write(bank_path), on_progress=work.tell("calibrating"),
            )  # fmt: skip
        frozen = NullBank.read(bank_path)
        frozen.require(work.denoiser.fingerprint, config.protocol)
        used = {control.sha256 for control in [*frozen.controls, *frozen.kept_out]}
        if shared := used & {target.image.sha256 for target in portfolio.targets}:
            raise InputError(f"{len(shared)} benchmark images are in the null bank; they must be kept apart")
        frozen.write(run.calibration_path)
        for _ in measure_targets(run, portfolio, lab.loaded, config, on_progress=work.tell("measuring")):
            pass
        result = conclude(run)
    return ScoreTable(
        lab=lab.description.recipe.name,
        model_fingerprint=work.denoiser.fingerprint,
        protocol=config.protocol,
        baseline=next(iter(frozen.baselines), "null"),
        seed=work.seed,
        level=config.level,
        hardware=describe_hardware(work.denoiser),
        controls=control_rows(frozen, {image.sha256: image for image in lab.description.images}),
        rows=score_rows(result.findings, run.read_measurements()[0], frozen, lab.description),
    )


def config_of(protocol: Protocol, seed: int) -> AuditConfig:
    """The audit configuration whose protocol is this one."""
    inversion, generation = protocol.inversion, protocol.generation
    return AuditConfig(
        framing=protocol.framing,
        steps=inversion.steps,
        draws=inversion.draws,
        learning_rate=inversion.learning_rate,
        search=Search.INVERSION if protocol.span is None else Search.TEXTS,
        score_after=protocol.error.after_steps,
        seeds=generation.seeds,
        num_inference_steps=generation.num_inference_steps,
        guidance_scales=generation.guidance_scales,
        rungs=protocol.ladder.rungs,
        token_words=protocol.tokens.words,
        token_evaluations=protocol.tokens.evaluations,
        seed=seed,
    )
