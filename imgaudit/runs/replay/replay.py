"""Replay a run: generate some of its pictures again on this machine, compare them, and decide them again."""

from collections.abc import Callable

from imgaudit.diffusion.executor import Executor
from imgaudit.runs.cost import measured_batch
from imgaudit.runs.finished import FinishedRun
from imgaudit.runs.manifest import dtype_of
from imgaudit.runs.replay.comparison import PictureComparison
from imgaudit.runs.replay.exhibits import draw_exhibits
from imgaudit.runs.replay.generation import Sampler
from imgaudit.runs.replay.model import describe_machines, require_same_model
from imgaudit.runs.replay.request import ReplayRequest
from imgaudit.runs.replay.tolerance import find_tolerance
from imgaudit.schema.records import Skipped
from imgaudit.schema.replay import Replay, ReplayedPicture
from imgaudit.schema.verification import Check

NOT_REPLAYED = (
    "the searches for embeddings, prompts and learned noise were not repeated: pictures were generated from what the "
    "run says that they found",
    "denoising errors, scores, the controls' measurements and the checks of the model were not measured again",
)
"""What a replay leaves out."""


def replay_run(
    run: FinishedRun, request: ReplayRequest, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> tuple[Replay, Check]:
    """Draw pictures of a run, generate them again from what it recorded, compare and decide. Writes nothing.

    Raises VerificationError when the model is not the run's, MemoryShortageError when one picture is too much.
    """
    model, manifest = request.model, run.manifest
    require_same_model(manifest, model)
    batch_size = request.batch_size or measured_batch(model.denoiser, manifest.protocol, chunk_size=1)
    draw = draw_exhibits(run, request.count, request.seed)
    tolerance = find_tolerance(manifest.model.dtype or _assume_dtype(manifest.device), dtype_of(model))
    sampler = Sampler(
        run.folder, model.denoiser, manifest.protocol.generation.num_inference_steps,
        Executor(batch_size, model.denoiser.spare_memory),
    )  # fmt: skip
    comparison = PictureComparison(run, model.denoiser, tolerance)
    found: dict[str, ReplayedPicture] = {}
    for exhibit, generated in sampler.regenerate(draw.exhibits):
        found[exhibit.replica.path] = comparison.compare(exhibit, generated)
        on_progress(len(found), len(draw.exhibits))
    replay = Replay(
        seed=request.seed, claims=draw.claims, pictures=draw.pictures,
        machine=tuple(describe_machines(manifest, model, batch_size)), tolerance=tolerance,
        replayed=tuple(found[one.replica.path] for one in draw.exhibits),
    )  # fmt: skip
    return replay, make_check(replay)


def _assume_dtype(device: str) -> str:
    """Return the precision of runs that do not record it: on a processor it was always float32.

    >>> _assume_dtype("cpu"), _assume_dtype("cuda")
    ('float32', '')
    """
    return "float32" if device == "cpu" else ""


def make_check(replay: Replay) -> Check:
    """Return a replay as one of the checks of a verification."""
    done, claimed = len(replay.replayed), sum(one.claimed for one in replay.replayed)
    tolerance = replay.tolerance
    return Check(
        name="replay",
        done=(
            f"{done} of {replay.pictures} generated pictures, drawn by seed {replay.seed}, were generated again and "
            f"compared with the recorded ones: each may differ by {tolerance.largest:g} of 255 levels at most, "
            f"{tolerance.mean:g} on average, and {tolerance.similarity:g} in similarity; {claimed} of them are for the "
            f"{replay.claims} findings that say that something was reproduced"
        )
        if done
        else "",
        not_done=NOT_REPLAYED if done else ("no picture was generated again: the run holds none",),
        problems=tuple(dict.fromkeys(problem for one in replay.replayed for problem in one.problems)),
    )


def describe_decision(picture: ReplayedPicture) -> str:
    """Return what was decided of a picture, in a few words.

    A decision that changes within the tolerance lies at a threshold, and is no mismatch.
    """
    if picture.problems:
        return "differs"
    if isinstance(picture.decided, Skipped):
        return "same"
    before, again = picture.decided
    if before is not again:
        return "borderline"
    return "copy" if again else "no copy"
