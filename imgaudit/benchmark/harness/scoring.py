"""Make score tables: calibrate on a lab's controls, audit its measured images, keep a row of each."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from imgaudit.benchmark.harness.cases import CaseCounts, choose_cases, group_of, load_cases
from imgaudit.benchmark.harness.lab_model import LabModel, hardware
from imgaudit.benchmark.harness.score_table import (
    DIGITS,
    ControlRow,
    ControlTable,
    RungScore,
    ScoreRow,
    ScoreTable,
    Seeds,
)
from imgaudit.decision.null_bank import NullBank
from imgaudit.decision.replication import deciding_p_value
from imgaudit.exceptions import InputError
from imgaudit.io.images import load_image
from imgaudit.io.portfolio import Portfolio, Target
from imgaudit.lab.description import LabDescription
from imgaudit.runs.calibration import measure_bank
from imgaudit.runs.conclusion import conclude
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.manifest import make_manifest, open_manifest
from imgaudit.runs.measurement import measure_targets
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.findings import Finding, Verdict
from imgaudit.schema.measures import DECIDING_DESCRIPTOR, DECIDING_DISTANCE
from imgaudit.schema.protocol import Protocol
from imgaudit.schema.records import Measurement, RungMeasurement, Skipped

COUNTS = CaseCounts()
"""Images of a detection benchmark."""


def control_rows(bank: NullBank, texts: Mapping[str, str]) -> list[ControlRow]:
    """A bank as rows; controls without a score are left out.

    texts:  captions by SHA-256
    """
    return [
        ControlRow(
            sha256=control.sha256,
            kept_out=kept_out,
            text=texts.get(control.sha256, ""),
            complexity=control.complexity,
            log_ratio=control.log_ratio,
            features=_rounded(control.features),
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


def _known(value: float | Skipped | None) -> float | None:
    return None if isinstance(value, Skipped) else value


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
                score=bank.line.residual(error.log_ratio, measurement.complexity),
                p_value=_known(finding.p_value),
                q_value=_known(finding.q_value),
                verdict=finding.verdict,
                features=_rounded(measurement.features),
                rungs={
                    rung: RungScore(
                        hits=ladder[rung].hits,
                        n=len(rm.valid),
                        best=rm.best(DECIDING_DESCRIPTOR),
                        p_value=_known(deciding_p_value(ladder[rung])),
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
    lab: LabModel,
    located: Mapping[str, Path],
    folder: Path,
    *,
    command: Sequence[str],
    protocol: Protocol,
    bank: Path | None = None,
    seed: int,
    counts: CaseCounts = COUNTS,
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> ScoreTable:
    """Calibrate on a lab's controls unless a bank is given, then audit its measured images.

    command:   what was typed, for the run's manifest
    protocol:  what every control and image meets; a bank that is given has its own

    `folder` holds bank and run; what is finished there is not repeated.
    Raises InputError when an image is both in the bank and measured, or is missing from the folder given, and
    CalibrationError when `folder` holds a bank of another protocol.
    """
    bank_path = bank or folder / "calibration.json"
    if bank is not None:
        protocol = NullBank.read(bank).protocol
    config = config_of(protocol, seed)
    cases = choose_cases(lab.description, counts)
    if not bank_path.is_file():
        controls = load_cases(cases.controls, located)
        measure_bank(
            folder / "calibrating", controls, lab.loaded, config.model_copy(update={"seed": seed + 1}),
            note=f"held-out images of lab {lab.description.recipe.name}, never trained on",
            on_bank=lambda made: made.write(bank_path),
            on_progress=lambda done, total: on_progress("calibrating", done, total),
        )  # fmt: skip
    frozen = NullBank.read(bank_path)
    frozen.require(lab.loaded.denoiser.fingerprint, config.protocol)
    portfolio = load_cases([image for image in cases.measured if image.sha256 in located], located)
    used = {control.sha256 for control in [*frozen.controls, *frozen.kept_out]}
    if shared := used & {target.image.sha256 for target in portfolio.targets}:
        raise InputError(f"{len(shared)} benchmark images are in the null bank; they must be kept apart")
    run = RunFolder(folder / "run")
    with run.lock():
        open_manifest(run.path, make_manifest(command, config, {}, lab.loaded, portfolio))
        frozen.write(run.calibration_path)
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
        controls=control_rows(frozen, {image.sha256: image.text for image in lab.description.images}),
        rows=score_rows(result.findings, run.read_measurements()[0], frozen, lab.description),
    )


def measure_controls(
    lab: LabModel,
    located: Mapping[str, Path],
    folder: Path,
    *,
    like: ScoreTable,
    note: str,
    count: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> ControlTable:
    """Calibrate a lab on images of another source under the protocol of a score table; captions are not used.

    like:   the table whose protocol and seed the controls meet; its own images and the lab's are left out
    count:  how many of the images located, in order of SHA-256

    Raises InputError when there are none.
    """
    known = {image.sha256 for image in lab.description.images}
    chosen = [located[sha256] for sha256 in sorted(located) if sha256 not in known][:count]
    if not chosen:
        raise InputError("the folder has no images but the lab's own; another population of controls is needed")
    path = folder / "other-calibration.json"
    if not path.is_file():
        targets = [Target(one, load_image(one).facts, {}) for one in chosen]
        portfolio = Portfolio(sorted(targets, key=lambda target: target.image.sha256), [])
        config = config_of(like.protocol, like.seed + 1)
        measure_bank(
            folder / "other-calibrating", portfolio, lab.loaded, config, note=note,
            on_bank=lambda made: made.write(path), on_progress=on_progress,
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


def config_of(protocol: Protocol, seed: int) -> AuditConfig:
    """The audit configuration whose protocol is this one."""
    inversion, generation = protocol.inversion, protocol.generation
    return AuditConfig(
        framing=protocol.framing,
        steps=inversion.steps,
        draws=inversion.draws,
        learning_rate=inversion.learning_rate,
        score_after=protocol.error.after_steps,
        seeds=generation.seeds,
        num_inference_steps=generation.num_inference_steps,
        guidance_scales=generation.guidance_scales,
        rungs=protocol.ladder.rungs,
        token_words=protocol.tokens.words,
        token_evaluations=protocol.tokens.evaluations,
        seed=seed,
    )
