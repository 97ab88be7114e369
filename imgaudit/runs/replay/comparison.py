"""A recorded picture against the same one generated again: pixels, similarity to the target, and what follows."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from imgaudit.decision.copy_thresholds import CopyThresholds
from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.elicitation import compare_parts
from imgaudit.diffusion.generation import Generated, draw_replica_seeds
from imgaudit.diffusion.measurement import name_replica
from imgaudit.exceptions import RunFolderError
from imgaudit.io.framing import find_unusable_reason, to_tensor
from imgaudit.io.writing import read_png
from imgaudit.runs.finished import FinishedRun
from imgaudit.runs.replay.exhibits import Exhibit
from imgaudit.schema.measures import DECIDING_DESCRIPTOR, DECIDING_DISTANCE, find_copy_similarity
from imgaudit.schema.pairs import PairThresholds
from imgaudit.schema.records import Skipped
from imgaudit.schema.replay import ReplayedPicture, ReplayTolerance
from imgaudit.schema.replication import PartReplication
from imgaudit.similarity.matcher import Matcher, matcher_of

NOT_COMPARED = Skipped(skipped="the two pictures could not be compared")

NOT_SCORED = Skipped(skipped="at least one of the two pictures cannot be scored")

NO_DESCRIPTOR = Skipped(skipped="the run decided with a copy descriptor that this machine lacks")

NO_THRESHOLDS = Skipped(skipped="the run has no thresholds for this rung")


@dataclass(frozen=True)
class Pixels:
    """Differences of two pictures of the same size, in levels of 0 to 255."""

    largest: float
    """The largest of all colour values."""
    mean: float
    """Their mean."""

    @classmethod
    def between(cls, one: torch.Tensor, other: torch.Tensor) -> "Pixels":
        """Compare (3, H, W) pictures in [-1, 1] as they are saved, with eight bits."""
        levels = [((picture.clamp(-1, 1) + 1) * 127.5).round() for picture in (one, other)]
        apart = (levels[0] - levels[1]).abs()
        return cls(float(apart.max()), float(apart.double().mean()))


@dataclass
class PictureComparison:
    """Compares pictures of one run with what its model generates now."""

    run: FinishedRun
    """The run."""
    denoiser: Denoiser
    """The model."""
    tolerance: ReplayTolerance
    """How far pictures may be apart."""
    matcher: Matcher = field(init=False)
    """The run's measures, as far as this machine has them."""
    _renderings: dict[str, float | Skipped] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Load the run's measures."""
        self.matcher, _ = matcher_of(self.run.manifest.measured)

    def compare(self, exhibit: Exhibit, generated: Generated | str) -> ReplayedPicture:
        """Compare one picture; mismatches beyond the tolerance, and files that cannot be read, become problems."""
        replica = exhibit.replica
        problems = [] if isinstance(generated, Generated) else [generated]
        problems += self._find_forged_seed(exhibit)
        measures = ("largest", "mean", "similarity", "distance", "decided")
        values: dict[str, object] = dict.fromkeys(measures, NOT_COMPARED)
        try:
            values["rendering"] = self._compare_rendering(exhibit, problems)
            if isinstance(generated, Generated):
                values |= self._compare_pictures(exhibit, generated, problems)
        except RunFolderError as error:
            values.setdefault("rendering", NOT_COMPARED)
            problems.append(str(error))
        return ReplayedPicture.model_validate(
            {
                "path": replica.path, "target": exhibit.finding.path, "rung": exhibit.rung, "seed": replica.seed,
                "guidance_scale": replica.guidance_scale, "claimed": exhibit.claimed, "problems": tuple(problems),
                **values,
            }
        )  # fmt: skip

    def _find_forged_seed(self, exhibit: Exhibit) -> Iterator[str]:
        """Yield the problem of a seed that does not follow from the run's own: seeds are drawn, never chosen."""
        replica, manifest = exhibit.replica, self.run.manifest
        number = int(replica.path.rpartition("-")[2].removesuffix(".png"))
        [expected] = draw_replica_seeds(manifest.seed, exhibit.measurement.sha256, 1, number)
        if replica.seed != expected:
            yield f"{replica.path!r} has the seed {replica.seed}, where the run seed {manifest.seed} gives {expected}"
        if replica.path != name_replica(exhibit.measurement.id, exhibit.rung, replica.guidance_scale, number):
            yield f"{replica.path!r} is recorded with guidance scale {replica.guidance_scale:g}, which its name denies"

    def _compare_rendering(self, exhibit: Exhibit, problems: list[str]) -> float | Skipped:
        """Render target.png again, once per target, and compare with rendered.png."""
        name = exhibit.measurement.id
        if name not in self._renderings:
            folder = self.run.folder.image_folder(name)
            target, rendered = (to_tensor(read_png(folder / file)) for file in ("target.png", "rendered.png"))
            side = self.denoiser.resolution
            if {target.shape, rendered.shape} != {(3, side, side)}:
                problems.append(f"'images/{name}/rendered.png' has another size than the model's {side} x {side}")
                self._renderings[name] = NOT_COMPARED
                return NOT_COMPARED
            again = self.denoiser.decode(self.denoiser.encode(target[None]))[0].float().cpu()
            apart = Pixels.between(rendered, again)
            self._renderings[name] = apart.mean
            if apart.mean > self.tolerance.mean or apart.largest > self.tolerance.largest:
                problems.append(
                    f"'images/{name}/rendered.png' is not how the model renders target.png: {_describe(apart)}"
                )
        return self._renderings[name]

    def _compare_pictures(self, exhibit: Exhibit, generated: Generated, problems: list[str]) -> dict[str, object]:
        path = exhibit.replica.path
        recorded = to_tensor(read_png(self.run.folder.path / path))
        rendered = to_tensor(read_png(self.run.folder.image_folder(exhibit.measurement.id) / "rendered.png"))
        again = torch.nan_to_num(generated.image, nan=-1.0)
        if recorded.shape != again.shape:
            problems.append(f"{path!r} has another size than the pictures of the model")
            return {}
        apart = Pixels.between(recorded, again)
        found: dict[str, object] = {"largest": apart.largest, "mean": apart.mean}
        beyond = apart.mean > self.tolerance.mean or apart.largest > self.tolerance.largest
        usable = [find_unusable_reason(one) is None for one in (recorded, again)]
        if not all(usable) or rendered.shape != recorded.shape:
            found |= {"similarity": NOT_SCORED, "distance": NOT_SCORED, "decided": NOT_SCORED}
            beyond |= usable[0] is not usable[1]
        else:
            compared = self.matcher.compare(rendered, torch.stack([recorded, again]))
            by_descriptor = [find_copy_similarity(one) for one, _ in compared]
            similarity = tuple(one[DECIDING_DESCRIPTOR] for one, _ in compared)
            distance = tuple(one[DECIDING_DISTANCE] for _, one in compared)
            found |= {"similarity": similarity, "distance": distance}
            measured = list(zip(similarity, distance, by_descriptor, strict=True))
            found["decided"] = _decide(exhibit, [recorded, again], rendered, measured)
            beyond |= abs(similarity[0] - similarity[1]) > self.tolerance.similarity
            beyond |= abs(distance[0] - distance[1]) > self.tolerance.distance
        if beyond:
            problems.append(
                f"{path!r} is not what the model generates from what the run recorded: {_describe(apart)}"
                + _describe_similarity(found["similarity"])
            )
        return found


def _decide(
    exhibit: Exhibit,
    pictures: list[torch.Tensor],
    rendered: torch.Tensor,
    measured: list[tuple[float, float, float | None]],
) -> tuple[bool, ...] | Skipped:
    """Say of each picture whether it is a copy of the target, or of its part where the finding is of a part.

    measured:  similarity, distance and, where it was measured, similarity by the copy descriptor
    """
    replication = exhibit.replication
    if exhibit.is_part and replication is not None and isinstance(replication.part, PartReplication):
        thresholds = replication.part.thresholds
        parts = compare_parts([Generated(0, 1.0, picture, None) for picture in pictures], rendered)
        if isinstance(thresholds, PairThresholds):
            return tuple(part is not None and thresholds.exceeded_by(part) for part in parts)
    if replication is None or isinstance(replication.thresholds, Skipped):
        return NO_THRESHOLDS
    told = CopyThresholds.model_validate(replication.thresholds)
    if told.copy_similarity is not None and any(by_descriptor is None for _, _, by_descriptor in measured):
        return NO_DESCRIPTOR
    return tuple(told.is_copy(*one) for one in measured)


def _describe(apart: Pixels) -> str:
    return f"they differ by {apart.mean:.2f} of 255 levels on average and by {apart.largest:.0f} at most"


def _describe_similarity(similarity: object) -> str:
    return f"; similarity {similarity[0]:.3f}, again {similarity[1]:.3f}" if isinstance(similarity, tuple) else ""
