"""Turn the dial on a finished run: sample cut-down embeddings of images whose embedding rung stands."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from imgaudit.decision.copy_thresholds import CopyThresholds
from imgaudit.diffusion.denoiser import Denoiser, PromptEmbeds
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.generation import draw_replica_seeds, generate
from imgaudit.diffusion.inversion import count_embedding_bits
from imgaudit.diffusion.quantisation import sort_settings, truncate_embedding
from imgaudit.exceptions import InputError, RunFolderError
from imgaudit.io.framing import to_tensor
from imgaudit.io.reading import read_bounded
from imgaudit.io.writing import read_json, read_png, write_json
from imgaudit.runs.folder import MAX_TENSOR_BYTES, RunFolder
from imgaudit.runs.manifest import read_manifest
from imgaudit.schema.dial import Dial, DialPoint, reproduces
from imgaudit.schema.findings import AuditResult, Finding
from imgaudit.schema.measures import DECIDING_DESCRIPTOR, DECIDING_DISTANCE, find_copy_similarity
from imgaudit.schema.records import Measurement, Rung
from imgaudit.schema.replication import Replication
from imgaudit.similarity.matcher import Matcher, matcher_of


def standing_embedding(finding: Finding) -> Replication | None:
    """The embedding rung of a finding, if it stands."""
    return next((one for one in finding.replication if one.rung is Rung.EMBEDDING and one.stands), None)


def turn_dial(
    run: RunFolder, result: AuditResult, denoiser: Denoiser, *, seeds: int, executor: Executor
) -> Iterator[tuple[Finding, Dial]]:
    """For every image whose embedding rung stands, fewest bits first until half of the seeds are copies.

    Copies are told by the run's own thresholds, at the guidance scale that its rate holds for, from its first seeds.
    Writes images/ID/dial.json as each is finished; images that have one for as many seeds and the same thresholds are
    read, not sampled again.

    Raises RunFolderError when the run is of another model or lacks an embedding.
    """
    if result.run["model"]["fingerprint"] != denoiser.fingerprint:
        raise RunFolderError(f"{str(run.path)!r} was measured on another model; give the one that its manifest names")
    measurements = {measurement.id: measurement for measurement in run.read_measurements()[0]}
    for finding in result.findings:
        replication = standing_embedding(finding)
        if replication is None:
            continue
        path = run.image_folder(finding.id) / "dial.json"
        dial = Dial.model_validate(read_json(path)) if path.is_file() else None
        if dial is None or (dial.seeds, dial.thresholds) != (seeds, replication.thresholds):
            dial = _dial(run, result, measurements[finding.id], replication, denoiser, seeds, executor)
            write_json(path, dial.model_dump(mode="json"))
        yield finding, dial


@dataclass(frozen=True)
class _Sampling:
    """Settings by which cut-down embeddings of one image are sampled and judged: those of the run."""

    denoiser: Denoiser
    rendered: torch.Tensor
    matcher: Matcher
    thresholds: CopyThresholds
    seeds: list[int]
    guidance_scale: float
    num_inference_steps: int
    executor: Executor

    def point(self, condition: PromptEmbeds, rank: int, precision: int, bits: int) -> DialPoint:
        """Sample one condition."""
        [frames] = generate(
            self.denoiser, condition, [self.seeds], guidance_scale=self.guidance_scale,
            num_inference_steps=self.num_inference_steps, executor=self.executor,
        )  # fmt: skip
        scored = [frame.image for frame in frames if frame.invalid is None]
        compared = self.matcher.compare(self.rendered, torch.stack(scored)) if scored else []
        hits = sum(
            self.thresholds.is_copy(
                similarity[DECIDING_DESCRIPTOR], distance[DECIDING_DISTANCE], find_copy_similarity(similarity)
            )
            for similarity, distance in compared
        )
        best = max((similarity[DECIDING_DESCRIPTOR] for similarity, _ in compared), default=-1.0)
        return DialPoint(rank=rank, precision=precision, bits=bits, hits=hits, n=len(scored), best_similarity=best)


def _dial(
    run: RunFolder,
    result: AuditResult,
    measurement: Measurement,
    replication: Replication,
    denoiser: Denoiser,
    seeds: int,
    executor: Executor,
) -> Dial:
    folder, inversion = run.image_folder(measurement.id), result.protocol.inversion
    free_tokens, chosen = inversion.free_tokens, inversion.streams
    start = denoiser.start_condition()
    try:
        streams = {
            name: stream[None]
            for name, stream in load(read_bounded(folder / "embeds.safetensors", MAX_TENSOR_BYTES)).items()
        }
        rendered = to_tensor(read_png(folder / "rendered.png"))
    except (InputError, SafetensorError) as error:
        raise RunFolderError(f"{str(folder)!r} lacks its embedding or its rendering: {error}") from error
    thresholds = CopyThresholds.model_validate(replication.thresholds)
    measured = read_manifest(run).measured if thresholds.copy_similarity is not None else ()
    sampling = _Sampling(
        denoiser, rendered, matcher_of(measured)[0], thresholds,
        draw_replica_seeds(result.run["seed"], measurement.sha256, seeds), replication.guidance_scale,
        result.protocol.generation.num_inference_steps, executor,
    )  # fmt: skip
    whole = start.with_streams(streams)
    rank = max(min(stream.shape[1:]) for stream in streams.values())
    entire = sampling.point(whole, rank, 32, round(count_embedding_bits(whole, free_tokens, chosen)))
    points: list[DialPoint] = []
    for one, precision in sort_settings(start, free_tokens, chosen):
        condition, bits = truncate_embedding(whole, start, free_tokens, one, precision, chosen=chosen)
        points.append(sampling.point(condition, one, precision, bits))
        if reproduces(points[-1]):
            break
    return Dial(
        guidance_scale=replication.guidance_scale,
        seeds=seeds,
        thresholds=thresholds.model_dump(),
        whole=entire,
        image_bits=round(8 * exp(measurement.complexity) * denoiser.resolution**2),
        points=points,
    )
