"""Denoising error under an image's own caption: no embedding is searched for, so nothing of the image is given."""

from collections.abc import Sequence
from copy import copy
from math import isfinite

import torch

from imgaudit.diffusion.context import Chunk, MeasurementContext
from imgaudit.diffusion.denoising_error import PairedErrors, PartialErrors, ScoreDraws
from imgaudit.diffusion.rungs import find_rung_texts
from imgaudit.schema.records import ErrorMeasurement, Rung, Skipped

NOT_FINITE = Skipped(skipped="the model's errors under the caption are not finite")
"""Why an image has no score under its caption though it has one."""


class CaptionErrors:
    """The denoising errors of a chunk's images under their captions, on the draws of their scores.

    Of several captions the first counts alone: the best of many would be more chances than the controls had. The errors
    to compare with are those of the score, so that this costs one network evaluation per draw.
    """

    def __init__(self, context: MeasurementContext, chunk: Chunk) -> None:
        """Find the captions; images have none where the protocol does not ask for captions."""
        if Rung.CAPTION.value in context.protocol.ladder.rungs:
            found = [
                find_rung_texts(one.target, Rung.CAPTION, context.protocol, context.run_seed) for one in chunk.loaded
            ]
        else:
            found = [Skipped(skipped=f"the protocol has no {Rung.CAPTION.value} rung")] * len(chunk)
        self._texts = [one if isinstance(one, Skipped) else one[0] for one in found]
        captions = [text for text in self._texts if not isinstance(text, Skipped)]
        self._condition = context.denoiser.condition(captions) if captions else None
        self._known = PartialErrors.none_yet(len(captions), context.protocol.error.draws)

    @property
    def has_captions(self) -> bool:
        """True where an image has a caption that the protocol asks for."""
        return self._condition is not None

    def measure(self, draws: ScoreDraws, places: Sequence[int] | None = None) -> list[PairedErrors | Skipped]:
        """Measure the errors on some draws, by default all; one result per image, Skipped where it has no caption.

        draws:   the draws of the images' scores, with the errors to compare with
        places:  numbers of the draws
        """
        captioned = [row for row, text in enumerate(self._texts) if not isinstance(text, Skipped)]
        found: list[PairedErrors | Skipped] = [text for text in self._texts if isinstance(text, Skipped)]
        if self._condition is not None:
            # The baseline's errors on these draws are known: the images' own were measured on them before.
            errors = draws.select(captioned).measure(self._condition, places, self._known)
            for number, row in enumerate(captioned):
                found.insert(row, errors.select([number]))
        return found

    def select(self, rows: Sequence[int]) -> "CaptionErrors":
        """Return the images of some rows, with what is known of them."""
        selected, captioned = copy(self), [row for row, text in enumerate(self._texts) if not isinstance(text, Skipped)]
        selected._texts = [self._texts[row] for row in rows]
        places = [captioned.index(row) for row in rows if row in captioned]
        selected._known = self._known.select(places)
        selected._condition = self._condition.select(torch.tensor(places)) if self._condition and places else None
        return selected


def record_errors(
    errors: Sequence[PairedErrors | Skipped], num_train_timesteps: int
) -> list[ErrorMeasurement | Skipped]:
    """Return the records of errors under captions; Skipped where one is not finite."""
    records: list[ErrorMeasurement | Skipped] = []
    for one in errors:
        if isinstance(one, Skipped):
            records.append(one)
        else:
            [record] = one.records(num_train_timesteps)
            records.append(record if isfinite(record.log_ratio) else NOT_FINITE)
    return records
