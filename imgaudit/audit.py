"""Audit a folder: order, chunks, resume, and the bookkeeping that every file given ends in exactly one finding.

Generating, deciding and rendering are separate: measurements go to records.jsonl as they finish, and everything else is
computed from the run folder, without the model.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from imgaudit.calibration import NullBank, build_bank
from imgaudit.config import AuditConfig
from imgaudit.exceptions import RunFolderError
from imgaudit.executor import Executor
from imgaudit.findings import AuditResult, Finding, Summary, Verdict
from imgaudit.grouping import ImageSize, group_near_duplicates
from imgaudit.images import frame_image, to_batch, to_image, to_tensor
from imgaudit.manifest import make_manifest, open_run, utc_now
from imgaudit.matching import CrossMatches, Matcher, cross_match
from imgaudit.measurement import MeasuredImage, measure_chunk
from imgaudit.models.loading import LoadedModel
from imgaudit.planner import planner_line
from imgaudit.policy import Policy
from imgaudit.portfolio import Portfolio, Target, path_text
from imgaudit.protocol import Framing, Protocol
from imgaudit.records import Measurement, Rung, RungMeasurement, Skipped, SkippedImage
from imgaudit.replication import Evidence
from imgaudit.statistics import false_positive_interval
from imgaudit.store import RunFolder, read_json, write_json
from imgaudit.verdict import Decision, findings_of

MAX_DECOYS = 1000
"""Decoys beyond these add nothing that a coincidence p-value could show."""


def chunks(targets: Sequence[Target], size: int) -> list[list[Target]]:
    """Fixed chunks of the SHA-sorted list: the unit of work that is repeated as a whole after a kill."""
    return [list(targets[start : start + size]) for start in range(0, len(targets), size)]


def measure_targets(
    run: RunFolder,
    portfolio: Portfolio,
    model: LoadedModel,
    config: AuditConfig,
    *,
    keep_images: bool = True,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Measurement]:
    """Measure what a run still lacks, chunk by chunk; every finished chunk is on disk before the next begins.

    Chunks are cut from the whole list, finished images included, so that a resumed chunk has the same neighbours.
    """
    measurements, already_skipped = run.read_measurements()
    finished = {measurement.id for measurement in measurements}
    recorded = {record.path for record in already_skipped}
    for skipped in portfolio.skipped:
        if skipped.path not in recorded:
            run.append_record({"stage": "skipped", **skipped.model_dump(mode="json")})
    executor = Executor(config.batch_size)
    done = len(finished)
    on_progress(done, len(portfolio.targets))
    for chunk in chunks(portfolio.targets, config.chunk_size):
        if all(target.image.id in finished or path_text(target.path) in recorded for target in chunk):
            continue
        measured = measure_chunk(model.denoiser, chunk, config.protocol, run_seed=config.seed, executor=executor)
        for image in measured:
            if image.measurement.id in finished:
                continue
            if not image.measurement.is_finite:
                failed = SkippedImage(path=image.measurement.path, skipped="the model's errors on it are not finite")
                run.append_record({"stage": "skipped", **failed.model_dump(mode="json")})
                continue
            if keep_images:
                save_image(run, image)
            run.append_record({"stage": "measured", **image.measurement.model_dump(mode="json")})
            done += 1
            yield image.measurement
        on_progress(done, len(portfolio.targets))


def save_image(run: RunFolder, image: MeasuredImage) -> None:
    """Write target, its rendering, replicas, embedding and curves of one image, before its record."""
    folder = run.image_folder(image.measurement.id)
    (folder / "replicas").mkdir(parents=True, exist_ok=True)
    to_image(image.framed).save(folder / "target.png")
    to_image(image.reference).save(folder / "rendered.png")
    for path, frame in image.images.items():
        to_image(torch.nan_to_num(frame, nan=-1.0)).save(run.path / path)
    save_file(
        {name: stream.contiguous() for name, stream in image.prompt_embeds.items()}, folder / "embeds.safetensors"
    )
    curves = {
        "loss": image.measurement.loss_curve,
        "by_timestep": []
        if isinstance(image.measurement.error, Skipped)
        else [point.model_dump() for point in image.measurement.error.by_timestep],
    }
    write_json(folder / "curves.json", curves)


def _read_png(path: Path) -> torch.Tensor:
    try:
        with Image.open(path) as image:
            return to_tensor(image)
    except OSError as error:
        raise RunFolderError(f"{str(path)!r} is missing or damaged: {error}") from error


def group_targets(portfolio: Portfolio, model: LoadedModel, framing: Framing) -> list[list[str]]:
    """Near-duplicates among the targets, representatives first, from pixels alone and before anything is scored."""
    matcher, side = Matcher(), model.denoiser.resolution
    sources = {target.image.id: target.image.pixels for target in portfolio.targets}

    def framed(image_id: str) -> torch.Tensor:
        return to_tensor(frame_image(sources[image_id], side, framing))

    if not sources:
        return []
    vectors = np.concatenate([matcher.deciding().describe(framed(name)[None]) for name in sources])
    sizes = [ImageSize(name, pixels.width, pixels.height) for name, pixels in sources.items()]
    return group_near_duplicates(sizes, matcher.near_duplicates(list(sources), vectors, framed))


def save_decoys(run: RunFolder, decoys: Portfolio, model: LoadedModel, config: AuditConfig) -> None:
    """Describe images nobody asked for, as the model's autoencoder renders them; only vectors are kept."""
    if run.decoys_path.is_file() or not decoys.targets:
        return
    denoiser, descriptor = model.denoiser, Matcher().deciding()
    vectors = []
    for chunk in chunks(decoys.targets[:MAX_DECOYS], config.batch_size):
        framed = to_batch([target.image.pixels for target in chunk], denoiser.resolution, config.framing)
        vectors.append(torch.from_numpy(descriptor.describe(denoiser.decode(denoiser.encode(framed)))))
    save_file({descriptor.name: torch.cat(vectors)}, run.decoys_path)


def match_run(
    run: RunFolder, measurements: Sequence[Measurement], matcher: Matcher, groups: Sequence[Sequence[str]] = ()
) -> tuple[dict[str, list[tuple[str, float]]], dict[Rung, CrossMatches]]:
    """Near-duplicates among the targets, and every replica against every target and decoy, from the files of a run.

    Only vectors are kept, so that the pixels of one image at a time are in memory.
    """
    descriptor = matcher.deciding()

    def describe(path: Path) -> npt.NDArray[np.generic]:
        [vector] = descriptor.describe(_read_png(path)[None])
        return np.asarray(vector)

    def load_target(image_id: str) -> torch.Tensor:
        return _read_png(run.image_folder(image_id) / "target.png")

    ids = [measurement.id for measurement in measurements]
    framed = [describe(run.image_folder(name) / "target.png") for name in ids]
    duplicates = matcher.near_duplicates(ids, np.stack(framed), load_target) if framed else {}
    crossed: dict[Rung, CrossMatches] = {}
    decoys = load_file(run.decoys_path)[descriptor.name].numpy() if run.decoys_path.is_file() else None
    for rung in Rung:
        ladder = [(m.id, measured) for m in measurements if isinstance(measured := m.ladder(rung), RungMeasurement)]
        if ladder:
            rendered = {name: describe(run.image_folder(name) / "rendered.png") for name, _ in ladder}
            replicas = (
                (name, np.stack([describe(run.path / replica.path) for replica in measured.valid]))
                for name, measured in ladder
                if measured.valid
            )
            crossed[rung] = cross_match(descriptor, rendered, replicas, decoys=decoys, groups=groups)
    return duplicates, crossed


def conclude(run: RunFolder, policy: Policy | None = None) -> AuditResult:
    """Decide a run from its files and write report.json and evidence.json. Needs no model.

    policy: another one than was fixed before the run; the result is then marked as decided again
    """
    manifest: dict[str, Any] = read_json(run.manifest_path)
    protocol = Protocol.model_validate(manifest["protocol"])
    fixed = Policy.model_validate(manifest["policy"])
    policy = policy or fixed
    bank = NullBank.read(run.calibration_path) if run.calibration_path.is_file() else None
    measurements, skipped = run.read_measurements()
    duplicates, crossed = match_run(run, measurements, Matcher(), manifest["groups"])
    decision = Decision(
        measurements, Evidence(bank, protocol, policy, duplicates, manifest["groups"], cross_matches=crossed)
    )
    findings = findings_of(decision) + [skipped_finding(one) for one in skipped]
    result = AuditResult(
        run=manifest,
        protocol=protocol,
        policy=policy,
        redecided=policy.differences(fixed),
        summary=summarise(findings, decision, int(manifest["files_given"])),
        findings=findings,
    )
    write_json(run.report_path, result.model_dump(mode="json"))
    run.write_evidence()
    return result


def skipped_finding(skipped: SkippedImage) -> Finding:
    """A file that could not be measured, as a finding: it must never look like a clean one."""
    reason = Skipped(skipped=skipped.skipped)
    return Finding(
        id=hashlib.sha256(skipped.path.encode()).hexdigest()[:16],
        path=skipped.path,
        sha256="",
        verdict=Verdict.SKIPPED,
        reason=f"Not measured: {skipped.skipped}.",
        rung=reason,
        score=reason,
        p_value=reason,
        q_value=reason,
        group=hashlib.sha256(skipped.path.encode()).hexdigest()[:16],
        replication=[],
        error=reason,
        best_replica=reason,
        near_duplicates=[],
        resembles_others=[],
        alarms=[],
        seconds=0.0,
        network_evaluations=0,
    )


def summarise(findings: Sequence[Finding], decision: Decision, files_given: int) -> Summary:
    """Count verdicts; files that an interrupted run never reached are counted as skipped by the report's banner."""
    level = decision.policy.level
    controls = len(decision.bank.controls) if decision.bank else 0
    allowed = int(np.floor(level * (controls + 1) + 1e-9)) - 1
    interval = false_positive_interval(max(allowed, 0), controls) if controls else (0.0, 1.0)
    return Summary(
        targets=files_given,
        counts={verdict: sum(finding.verdict is verdict for finding in findings) for verdict in Verdict},
        controls=controls,
        level=level,
        planner=planner_line(controls, max(1, decision.hypotheses), level),
        false_positive_low=interval[0],
        false_positive_high=interval[1],
        forcing=decision.forcing,
        hypotheses=decision.hypotheses,
        alarms=decision.alarms,
        seconds=sum(finding.seconds for finding in findings),
        network_evaluations=sum(finding.network_evaluations for finding in findings),
    )


def calibrate(
    work: Path,
    portfolio: Portfolio,
    model: LoadedModel,
    config: AuditConfig,
    *,
    note: str,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> NullBank:
    """Put controls through the protocol and freeze their scores as a null bank.

    note: where the controls came from and why they cannot have been in the training set
    work: folder for what is finished, so that a killed calibration continues; removed when the bank is complete
    """
    run = RunFolder(work)
    with run.lock():
        open_run(run, make_manifest(["calibrate"], config, {}, model, portfolio))
        for _ in measure_targets(run, portfolio, model, config, keep_images=False, on_progress=on_progress):
            pass
        measurements, _ = run.read_measurements()
    shutil.rmtree(work)
    return build_bank(
        measurements,
        model=model.name,
        model_fingerprint=model.denoiser.fingerprint,
        protocol=config.protocol,
        seed=config.seed,
        note=note,
        made=utc_now(),
    )
