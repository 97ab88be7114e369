"""First looks and scores of all images of a chunk, and the inversion of those that are asked in all ways."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from imgaudit.diffusion.caption_error import CaptionErrors, record_errors
from imgaudit.diffusion.context import Chunk, MeasurementContext
from imgaudit.diffusion.denoising_error import PairedErrors, ScoreDraws
from imgaudit.diffusion.inversion import Inversion, Inverter
from imgaudit.diffusion.span_search import SpanSearcher
from imgaudit.schema.image_scores import FirstLook, ImageScores
from imgaudit.schema.records import ErrorMeasurement, Skipped


@dataclass(frozen=True)
class LookedChunk:
    """A chunk whose images all had a first look."""

    looks: Sequence[FirstLook]
    """One per image."""
    reasons: Sequence[str]
    """For each image, the reason why its score is not measured; empty where it is."""
    inversion: Inversion
    """What every image had come to at its first look."""

    @property
    def kept(self) -> list[int]:
        """Rows of the images whose score is measured."""
        return [row for row, reason in enumerate(self.reasons) if not reason]


@dataclass(frozen=True)
class ScoredChunk:
    """A chunk whose images all have a score."""

    errors: PairedErrors
    """Errors under the condition that the score is measured with; one row per image."""
    records: Sequence[ErrorMeasurement]
    """The same as records."""
    caption_records: Sequence[ErrorMeasurement | Skipped]
    """Errors under the images' captions."""
    inversion: Inversion
    """What every image had come to when it was scored."""
    reasons: Sequence[str]
    """For each image, the reason why it is not asked in all ways; empty where it is."""
    inverter: Inverter | None
    """The inversion that was stopped for the score; None where the score was measured without one."""

    @property
    def asked(self) -> list[int]:
        """Rows of the images that are asked in all ways."""
        return [row for row, reason in enumerate(self.reasons) if not reason]


class ChunkScorer:
    """The search that scores are measured after, for the images of a chunk; it goes on with some of them.

    Errors are measured under what a search in the span of texts finds, or within the inversion, after the steps that
    the protocol names; and under the image's caption, where it has one.
    """

    def __init__(self, context: MeasurementContext, chunk: Chunk) -> None:
        """Start the search. Raises ConfigError for a stream that the model does not have."""
        self._context, self._chunk = context, chunk
        self._search = _start_span(context, chunk) or _start_inversion(context, chunk)
        self._draws = ScoreDraws(
            context.denoiser, chunk.encoded.latents, chunk.encoded.sha256s, context.protocol.error,
            run_seed=context.run_seed, executor=context.executor,
        )  # fmt: skip
        self._captions = CaptionErrors(context, chunk)
        self._looks: list[FirstLook] = []

    @property
    def _steps(self) -> int:
        """Steps that come before the score."""
        span, error = self._context.protocol.span, self._context.protocol.error
        return span.steps if isinstance(self._search, SpanSearcher) and span else error.after_steps

    def look(self) -> LookedChunk | None:
        """Take the first look at every image, and tell which of them are scored; None where the context has no first
        look."""
        config = self._context.first_look
        if config is None:
            return None
        self._search_until(config.count_steps(self._steps))
        places = config.choose_draws(self._context.protocol.error.draws)
        own = self._draws.measure(self._search.prompt_embeds, places).log_ratio().tolist()
        captions = [
            None if isinstance(one, Skipped) else float(one.log_ratio()[0])
            for one in self._captions.measure(self._draws, places)
        ]
        self._looks = [
            FirstLook(steps=self._search.steps, draws=len(places), log_ratio=ratio, caption_log_ratio=caption)
            for ratio, caption in zip(own, captions, strict=True)
        ]
        reasons = [
            self._context.find_reason_not_to_ask(ImageScores(complexity, first_look=look))
            for complexity, look in zip(self._chunk.complexities, self._looks, strict=True)
        ]
        return LookedChunk(self._looks, reasons, self._invert())

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with the images of some rows alone."""
        self._search.keep(rows)
        self._draws, self._captions = self._draws.select(rows), self._captions.select(rows)
        self._chunk = self._chunk.select(rows)
        self._looks = [self._looks[row] for row in rows]

    def score(self) -> ScoredChunk:
        """Measure the denoising errors of the images that are left, and tell which of them are asked in all ways."""
        context, chunk = self._context, self._chunk
        self._search_until(self._steps)
        errors = self._draws.measure(self._search.prompt_embeds)
        records = errors.records(context.denoiser.schedule.num_train_timesteps)
        if self._captions.has_captions:
            context.begin("measuring under captions", chunk.loaded)
        captions = record_errors(self._captions.measure(self._draws), context.denoiser.schedule.num_train_timesteps)
        reasons = []
        for row, (record, caption) in enumerate(zip(records, captions, strict=True)):
            ratio = None if isinstance(caption, Skipped) else caption.log_ratio
            look = self._looks[row] if self._looks else None
            scores = ImageScores(chunk.complexities[row], record.log_ratio, ratio, look)
            reasons.append(context.find_reason_not_to_ask(scores))
        inverter = self._search if isinstance(self._search, Inverter) else None
        return ScoredChunk(errors, records, captions, self._invert(), reasons, inverter)

    def _search_until(self, steps: int) -> None:
        while self._search.steps < steps:
            self._search.step()

    def _invert(self) -> Inversion:
        """Return what the images have come to; nothing of a search among texts is the inversion's curve."""
        found, empty = self._search.result(), torch.zeros(len(self._chunk), 0)
        if isinstance(found, Inversion):
            return found
        return Inversion(found.prompt_embeds, empty, empty.long(), empty, empty)


def finish_inversion(context: MeasurementContext, chunk: Chunk, scored: ScoredChunk) -> Inversion:
    """Invert the images of a scored chunk that are asked in all ways, of which there are some, to the end.

    The inversion never starts from what a search in the span of texts found: from there, images come out that the model
    was not trained on.

    chunk:   the images that are asked
    Returns  one row per image that is asked, in their order
    """
    inverter = scored.inverter
    if inverter is None:
        inverter = _start_inversion(context, chunk)
    elif len(scored.asked) < len(scored.reasons):
        inverter.keep(scored.asked)
    while inverter.steps < context.protocol.inversion.steps:
        inverter.step()
    return inverter.result()


def _start_span(context: MeasurementContext, chunk: Chunk) -> SpanSearcher | None:
    if context.text_span is None or context.protocol.span is None:
        return None
    context.begin("searching among texts", chunk.loaded)
    return SpanSearcher(
        context.denoiser, chunk.encoded.latents, chunk.encoded.sha256s, context.text_span, context.protocol.span,
        run_seed=context.run_seed, executor=context.executor,
    )  # fmt: skip


def _start_inversion(context: MeasurementContext, chunk: Chunk) -> Inverter:
    """Put the images of a chunk at the start of their inversion.

    Raises ConfigError for a stream that the model does not have.
    """
    context.begin("searching for an embedding", chunk.loaded)
    return Inverter(
        context.denoiser, chunk.encoded.latents, chunk.encoded.sha256s, context.protocol.inversion,
        run_seed=context.run_seed, executor=context.executor,
    )  # fmt: skip
