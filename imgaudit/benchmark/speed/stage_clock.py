"""A clock for the stages of an audit, which is told of by its steps and by the passes of its networks."""

import time
from collections.abc import Callable, Sequence

from imgaudit.benchmark.speed.network_calls import DENOISERS, Call

STAGES = ("encode", "invert", "score", "generate", "decode", "compare, write")
"""Everything from reading a file to writing its record belongs to one of these.

encode          reading and framing images, and the autoencoder from images to latents
invert          searching for an embedding, or a condition among texts
score           denoising errors, under what was found and under captions
generate        texts, initial noise, sampling, and checks of what was generated
decode          the autoencoder from latents to images
compare, write  comparing generated images with the image, and writing files and records
"""

STEPS = {
    "encoding": "encode",
    "searching for an embedding": "invert",
    "searching among texts": "invert",
    "measuring under captions": "score",
    "generating images": "generate",
    "comparing generated images": "compare, write",
}
"""The stage that begins with each step that an audit reports."""


class StageClock:
    """Adds up the seconds of each stage; the clock stands between `start` and `stop` alone."""

    def __init__(self, synchronize: Callable[[], None]) -> None:
        """synchronize: waits until everything is computed, so that work counts where it was asked for."""
        self.seconds = dict.fromkeys(STAGES, 0.0)
        """Seconds so far."""
        self._synchronize = synchronize
        self._stage, self._since = STAGES[0], 0.0
        self._before: list[str] = []

    def start(self) -> None:
        """Begin with the first stage."""
        self._synchronize()
        self._stage, self._since = STAGES[0], time.perf_counter()

    def stop(self) -> None:
        """End the stage that is running."""
        self._enter("")

    def _enter(self, stage: str) -> None:
        if stage != self._stage:
            # Waiting happens when stages change and not at every pass, which would slow what is timed.
            self._synchronize()
            now = time.perf_counter()
            self.seconds[self._stage] += now - self._since
            self._stage, self._since = stage, now

    def begin_step(self, step: str, paths: Sequence[str]) -> None:
        """Hear of a step of the audit."""
        self._enter(STEPS[step])

    def begin_pass(self, call: Call) -> str:
        """Hear of a pass of a network, and return its stage."""
        self._before.append(self._stage)
        if call.network in ("encoder", "decoder"):
            self._enter(f"{call.network[:-2]}e")
        elif call.network in DENOISERS and self._stage in ("invert", "score"):
            # An audit scores within a search and searches on afterwards: gradients tell one from the other.
            self._enter("invert" if call.backward else "score")
        return self._stage

    def end_pass(self, call: Call) -> None:
        """Hear that a pass has ended: the autoencoder's hand back to the stage before."""
        before = self._before.pop()
        if call.network == "decoder":
            self._enter(before)
