"""Which text streams carry a copy: the inverted embedding with some of its streams put back to where they started.

Models with several text encoders are inverted in all of their streams together. Where the embedding gave copies, it is
asked again with every stream alone, with every stream left out and with none, on seeds and at the guidance that gave
copies. These seeds were chosen because copies came: what is counted on them describes this embedding and estimates no
rate.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite

import torch

from imgaudit.diffusion.context import MeasurementContext
from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.denoising_error import measure_paired_errors
from imgaudit.diffusion.elicitation import compare_frames
from imgaudit.diffusion.generation import generate
from imgaudit.diffusion.inversion import select_streams
from imgaudit.schema.records import Replica, RungMeasurement, Skipped, StreamCondition, StreamReplica

SEEDS = 8
"""Seeds per condition at most: the first ones that gave a copy."""


@dataclass(frozen=True)
class InvertedImage:
    """One image of a chunk, as its inversion left it."""

    sha256: str
    """SHA-256 of its file; decides the draws."""
    latents: torch.Tensor
    """(1, C, h, w) float32, scaled."""
    rendered: torch.Tensor
    """(3, R, R) in [-1, 1]: decode(latents), which generated images are compared with."""
    prompt_embeds: PromptEmbeds
    """The inverted embedding."""
    baseline_errors: torch.Tensor
    """(1, draws) float32: the baseline's errors on the score's draws."""


def list_stream_subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the streams that stay as inverted, per condition: all, each alone, all but each, none.

    A model of one stream has no such condition.

    >>> list_stream_subsets(["clip", "t5", "pooled"])[:4]
    [('clip', 't5', 'pooled'), ('clip',), ('t5',), ('pooled',)]
    >>> list_stream_subsets(["text", "pooled"])
    [('text', 'pooled'), ('text',), ('pooled',), ()]
    """
    if len(names) < 2:
        return []
    without = [tuple(name for name in names if name != one) for one in names]
    return list(dict.fromkeys([tuple(names), *((name,) for name in names), *without, ()]))


def keep_streams(inverted: PromptEmbeds, start: PromptEmbeds, kept: Sequence[str]) -> PromptEmbeds:
    """Return one embedding with all streams but `kept` put back to the start condition."""
    streams = {
        name: stream if name in kept else start.streams[name].to(stream) for name, stream in inverted.streams.items()
    }
    return inverted.with_streams(streams)


def select_copies(replicas: Sequence[Replica], is_copy: Callable[[Replica], bool]) -> list[Replica]:
    """Return the first copies at the guidance scale that has most of them, the lower one on a tie."""
    by_scale: dict[float, list[Replica]] = {}
    for replica in replicas:
        if is_copy(replica):
            by_scale.setdefault(replica.guidance_scale, []).append(replica)
    most = max(by_scale, key=lambda scale: (len(by_scale[scale]), -scale), default=None)
    return [] if most is None else by_scale[most][:SEEDS]


def measure_stream_effects(
    context: MeasurementContext, image: InvertedImage, embedding: RungMeasurement | Skipped
) -> tuple[StreamCondition, ...]:
    """Ask again with parts of an embedding, on seeds that gave copies; nothing without copies or with one stream.

    embedding:  the rung that the whole embedding gave; its copies are the first condition's, which has all streams
    """
    denoiser, protocol = context.denoiser, context.protocol
    subsets = list_stream_subsets(select_streams(image.prompt_embeds, protocol.inversion.streams))
    copies = [] if isinstance(embedding, Skipped) else select_copies(embedding.replicas, context.is_copy)
    if not subsets or not copies:
        return ()
    start = denoiser.start_condition()
    conditions = PromptEmbeds.concatenate([keep_streams(image.prompt_embeds, start, kept) for kept in subsets])
    ratios = _measure_log_ratios(context, image, conditions)
    scale, seeds = copies[0].guidance_scale, [replica.seed for replica in copies]
    batches = generate(
        denoiser, conditions.select(slice(1, None)), [seeds] * (len(subsets) - 1), guidance_scale=scale,
        num_inference_steps=protocol.generation.num_inference_steps, executor=context.executor,
    )  # fmt: skip
    compared = [
        [(replica.similarity, replica.distance) for replica in copies],
        *(compare_frames(frames, image.rendered, context.matcher) for frames in batches),
    ]
    return tuple(
        StreamCondition(
            streams=kept,
            guidance_scale=scale,
            log_ratio=ratio,
            replicas=tuple(
                StreamReplica(seed=seed, similarity=similarity, distance=distance)
                for seed, (similarity, distance) in zip(seeds, pairs, strict=True)
            ),
        )
        for kept, ratio, pairs in zip(subsets, ratios, compared, strict=True)
    )


def _measure_log_ratios(
    context: MeasurementContext, image: InvertedImage, conditions: PromptEmbeds
) -> list[float | Skipped]:
    """Return one log ratio per condition, on the draws that the score was measured on."""
    count = len(conditions)
    errors = measure_paired_errors(
        context.denoiser, image.latents.expand(count, -1, -1, -1), [image.sha256] * count, conditions,
        context.protocol.error, run_seed=context.run_seed, executor=context.executor,
        null=image.baseline_errors.expand(count, -1),
    )  # fmt: skip
    return [
        ratio if isfinite(ratio) else Skipped(skipped="the model's errors under it are not finite")
        for ratio in errors.log_ratio().tolist()
    ]
