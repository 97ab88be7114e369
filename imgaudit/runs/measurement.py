"""Measurements of a folder of images, kept as they finish: order, chunks and resume.

Every file that was given ends in exactly one record. All that follows is computed from the run folder, without the
model.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial

from imgaudit.decision.funnel import place_funnel
from imgaudit.decision.null_bank import NullBank
from imgaudit.decision.replication import Evidence, replicates
from imgaudit.io.portfolio import Portfolio, Target
from imgaudit.io.reading import format_path
from imgaudit.models.loading import LoadedModel
from imgaudit.runs.callbacks import OnStep, ignore_step
from imgaudit.runs.engine.agenda import Agenda
from imgaudit.runs.engine.chunk import AskingRule, ChunkWork, never_a_copy
from imgaudit.runs.engine.in_process import InProcess
from imgaudit.runs.engine.pool import ChunkEnd, Engine, Result
from imgaudit.runs.engine.set_aside import set_aside
from imgaudit.runs.folder import Recorded, RunFolder
from imgaudit.runs.image_files import EncodedImage, write_image
from imgaudit.runs.manifest import read_manifest
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.protocol import Protocol
from imgaudit.schema.records import Measurement, Replica, Rung, SkippedImage
from imgaudit.similarity.matcher import Matcher


def chunks(portfolio: Portfolio, size: int) -> list[list[Target]]:
    """Fixed chunks of the SHA-sorted list: the unit of work that is repeated as a whole after a kill.

    Files that are gone keep their place, so that the others keep their neighbours.
    """
    targets = {target.image.sha256: target for target in portfolio.targets}
    order = sorted({*targets, *portfolio.gone})
    return [
        [targets[sha256] for sha256 in order[start : start + size] if sha256 in targets]
        for start in range(0, len(order), size)
    ]


def measure_targets(
    run: RunFolder,
    portfolio: Portfolio,
    model: LoadedModel,
    config: AuditConfig,
    *,
    matcher: Matcher | None = None,
    recorded: Recorded | None = None,
    keep_images: bool = True,
    engine: Engine | None = None,
    asking: AskingRule | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_step: OnStep = ignore_step,
) -> Iterator[Measurement]:
    """Measure what a run still lacks, chunk by chunk; every image that comes is on disk before the next one is taken.

    recorded:  what the run holds already, when it has been read before
    engine:    processes that measure; by default this one, with `model` and `matcher`
    asking:    tells which images are asked further; by default the protocol's funnel, placed by the run's bank

    Chunks are cut from the whole list, finished images included, so that a resumed chunk has the same neighbours. What
    `on_progress` raises stops the work: chunks that have been begun are finished first, in every process.
    """
    recorded = recorded or run.recorded(with_images=keep_images)
    ids = {format_path(target.path): target.image.id for target in portfolio.targets}
    finished, skipped = set(recorded.finished), recorded.skipped
    unmeasured = [one for sha256, one in portfolio.gone.items() if sha256[:16] not in finished]
    run.append_records([_skip_record(one) for one in (*portfolio.skipped, *unmeasured) if one.path not in skipped])
    done, total = len(finished), len(portfolio.targets)
    on_progress(done, total)
    agenda = Agenda(_list_unfinished(portfolio, config, recorded))
    stop: Exception | None = None
    asking = asking or asking_rule(run, config.protocol)
    work = _describe_work(run, model, config, asking, keep_images=keep_images)
    for result in _measure(engine or InProcess(model, matcher or Matcher()), model, work, agenda, on_step):
        if isinstance(result, ChunkEnd):
            try:
                on_progress(done, total)
            except Exception as error:
                stop = error
                agenda.stop()
        elif isinstance(result, SkippedImage):
            if ids.get(result.path) not in finished:
                run.append_record(_skip_record(result))
        elif result.measurement.id not in finished and _keep(run, result):
            finished.add(result.measurement.id)
            done += 1
            yield result.measurement
    if stop is not None:
        raise stop


def _measure(engine: Engine, model: LoadedModel, work: ChunkWork, agenda: Agenda, on_step: OnStep) -> Iterator[Result]:
    """Measure by an engine; where other processes do, this one's model makes room for theirs."""
    with nullcontext() if isinstance(engine, InProcess) or agenda.is_empty else set_aside(model):
        yield from engine.measure(work, agenda, on_step)


def _list_unfinished(portfolio: Portfolio, config: AuditConfig, recorded: Recorded) -> Iterator[list[Target]]:
    """Yield the chunks that have an image left to measure, each with all images that can be measured."""
    for chunk in chunks(portfolio, config.chunk_size):
        waiting = [target for target in chunk if recorded.skipped.get(format_path(target.path), True)]
        if not all(target.image.id in recorded.finished for target in waiting):
            yield waiting


def _describe_work(
    run: RunFolder, model: LoadedModel, config: AuditConfig, asking: AskingRule, *, keep_images: bool
) -> ChunkWork:
    measures = read_manifest(run).measures if run.manifest_path.is_file() else {}
    return ChunkWork(config, copy_rule(run), asking, keep_images, model.denoiser.fingerprint, measures)


def _keep(run: RunFolder, image: EncodedImage) -> bool:
    """Write an image and then its record; False for one that counts as skipped, as its numbers are not finite."""
    if not image.measurement.is_finite:
        reason = "the model's errors on it are not finite"
        run.append_record(_skip_record(SkippedImage(path=image.measurement.path, skipped=reason)))
        return False
    write_image(run, image)
    run.append_record({"stage": "measured", **image.measurement.model_dump(mode="json")})
    return True


def copy_rule(run: RunFolder) -> Callable[[Replica], bool]:
    """Return what a run's bank and policy call a copy among an embedding's replicas; nothing without a bank.

    It decides which embeddings are taken apart, stream by stream; copies are counted when the run is concluded, by a
    bank that the targets' own near copies have been taken out of.
    """
    if not run.calibration_path.is_file():
        return never_a_copy
    manifest = read_manifest(run)
    bank = NullBank.read(run.calibration_path).by_work().compared_by(manifest.copy_descriptor)
    evidence = Evidence(bank, manifest.protocol, manifest.policy, copy_descriptor=manifest.copy_descriptor)
    return partial(replicates, thresholds=evidence.rung_thresholds(Rung.EMBEDDING))


def asking_rule(run: RunFolder, protocol: Protocol) -> AskingRule:
    """Return the rule by which images are asked further.

    Without a funnel, or without enough controls for one, every image is asked in all ways.
    """
    if protocol.funnel is None or not run.calibration_path.is_file():
        return AskingRule()
    funnel = place_funnel(NullBank.read(run.calibration_path).by_work(), protocol)
    return AskingRule(funnel, funnel.first_look if funnel else None)


def _skip_record(skipped: SkippedImage) -> dict[str, str]:
    return {"stage": "skipped", **skipped.model_dump(mode="json")}
