"""A chunk of images is measured: the work that is the same in every engine, and can be sent to another process."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from imgaudit.decision.funnel import Funnel, describe_left_out
from imgaudit.diffusion.context import MeasurementContext
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.measurement import MeasuredImage, measure_chunk
from imgaudit.exceptions import DeviceError, ImageError, ImgauditError
from imgaudit.io.framing import frame_image, is_single_colour
from imgaudit.io.portfolio import LoadedTarget, Target
from imgaudit.io.reading import format_path
from imgaudit.models.loading import LoadedModel
from imgaudit.runs.callbacks import OnStep
from imgaudit.runs.image_files import EncodedImage, encode_image
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.funnel import FirstLookConfig
from imgaudit.schema.image_scores import ImageScores
from imgaudit.schema.records import Replica, SkippedImage
from imgaudit.similarity.matcher import Matcher


@dataclass(frozen=True)
class AskingRule:
    """Tells which images are asked further, and how far. It holds no closure, so it can be sent to another process."""

    funnel: Funnel | None = None
    """The bounds that images have to pass; None where every image is asked in all ways."""
    first_look: FirstLookConfig | None = None
    """The first look that is taken at every image, bounds or not; None for none."""

    def find_reason_not_to_ask(self, scores: ImageScores) -> str:
        """Return why an image is not asked further, by what is known of it so far; empty where it is."""
        funnel, scored = self.funnel, scores.log_ratio is not None
        if funnel is None or (funnel.asks(scores) if scored else funnel.looks_on(scores)):
            return ""
        known = scores if scored or scores.first_look is None else scores.first_look
        return describe_left_out(funnel, captioned=known.caption_log_ratio is not None, scored=scored)


@dataclass(frozen=True)
class ChunkWork:
    """What every chunk of a run is measured by, whichever process does it."""

    config: AuditConfig
    """Protocol, seed and largest batch."""
    is_copy: Callable[[Replica], bool]
    """Tells copies among the embedding's replicas."""
    asking: AskingRule
    """Tells which images are asked further, and how far."""
    keep_files: bool
    """Whether pictures go into the run, or records alone."""
    fingerprint: str
    """Fingerprint of the model; a process that loaded another one must not measure."""
    measures: Mapping[str, str] = field(default_factory=dict)
    """Every similarity and distance with where it comes from, as the manifest has it; empty where it has none."""

    def make_context(self, model: LoadedModel, matcher: Matcher, on_step: OnStep) -> MeasurementContext:
        """Return what the images of a chunk share, with a model that is loaded here."""
        return MeasurementContext(
            model.denoiser, self.config.protocol, self.config.seed,
            Executor(self.config.largest_batch, model.denoiser.spare_memory), matcher, self.is_copy,
            self.asking.find_reason_not_to_ask, self.asking.first_look, on_step,
        )  # fmt: skip


DEVICE_FAILURES = ("CUDA error", "HIP error")
"""Words of torch's messages that say that a GPU failed; after that, every later call on it fails in that process."""


def never_a_copy(replica: Replica) -> bool:
    """Tell copies where there are no controls: none."""
    return False


def measure_images(
    context: MeasurementContext, targets: Sequence[Target], *, keep_files: bool
) -> Iterator[EncodedImage | SkippedImage]:
    """Measure a chunk, one result per image. What cannot be measured is skipped with the reason.

    That is a file that can no longer be read, one without anything to be recognised by, and one on which the model
    fails. Raises ImgauditError for what is not one image's fault: memory that does not suffice for any, or a device
    that failed (DeviceError).
    """
    for one in _measure(context, targets):
        if isinstance(one, MeasuredImage):
            yield encode_image(one, keep_files=keep_files)
        else:
            yield one


def _measure(context: MeasurementContext, targets: Sequence[Target]) -> Iterator[MeasuredImage | SkippedImage]:
    loaded: list[LoadedTarget] = []
    for target in targets:
        try:
            one = target.load()
        except ImageError as error:
            yield SkippedImage(path=format_path(target.path), skipped=f"the file {error}", passing=True)
            continue
        framing = context.protocol.framing
        framed = frame_image(one.pixels, context.denoiser.resolution, framing)
        if is_single_colour(framed):
            reason = f"is a single colour at the model's size, framed by {framing.used_for(*one.pixels.size).value}"
            yield SkippedImage(path=format_path(target.path), skipped=f"the file {reason}")
            continue
        loaded.append(one)
    if loaded:
        yield from _measure_loaded(context, loaded)


def _measure_loaded(
    context: MeasurementContext, loaded: Sequence[LoadedTarget]
) -> Iterator[MeasuredImage | SkippedImage]:
    try:
        measured = measure_chunk(context, loaded)
    except ImgauditError:
        # Memory that does not suffice, or a model that cannot do what is asked, is not one image's fault.
        raise
    except Exception as error:
        if is_device_failure(error):
            # The other images would fail too in this process, and would be skipped for no fault of theirs.
            raise DeviceError(f"the device failed: {str(error).partition(chr(10))[0][:200]}") from error
        if len(loaded) == 1:
            reason = f"measuring it failed: {type(error).__name__}: {error}"[:500]
            yield SkippedImage(path=format_path(loaded[0].target.path), skipped=reason)
            return
        # One image must not stop the others: each alone, and whichever fails again is skipped.
        for one in loaded:
            yield from _measure_loaded(context, [one])
        return
    yield from measured


def is_device_failure(error: BaseException) -> bool:
    """Return whether an exception says that a GPU failed, so that this process cannot use it any more.

    torch raises AcceleratorError for it from version 2.8 on, and RuntimeError before and from the libraries of CUDA.

    >>> is_device_failure(RuntimeError("CUDA error: an illegal memory access was encountered"))
    True
    >>> is_device_failure(RuntimeError("shapes differ"))
    False
    """
    if isinstance(error, getattr(torch, "AcceleratorError", ())):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in DEVICE_FAILURES)
