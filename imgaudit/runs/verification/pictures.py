"""Similarities and distances in records.jsonl against the pictures of the run, measured again one image at a time.

Generated images are compared as the eight bits a channel that are saved, so they are the same here. The rendering of
the target was compared before it was saved, and its PNG is rounded to eight bits. That rounding is what the tolerances
are for:

    root mean squares   changed by at most half a step, 1/510 of the range (triangle inequality): 0.002
    pixel               a correlation; its error grows as the rendering's contrast shrinks: 0.22 r + r^2 + 0.0001,
                        where r is the rounding, 0.00226, divided by the rendering's standard deviation in [-1, 1]
    dssim               0.003: the largest error seen was 0.0015
    pdq                 0.016, four of 256 bits: none differed
    lpips               0.01: set without a measurement on the real backbone
    sscd                0.01: set without a measurement on the published weights
    sscd-int8           0.05: its activations are rounded too, so that half a step in a pixel is felt
    parts               0.001 of the value: no error but floating point's, at most 0.00002
    rest of a part      0.005: the largest error seen was 0.0001

The errors seen are those of 630 comparisons of random pictures of 32, 64 and 256 pixels, with standard deviations from
0.002 to 0.5, and of 384 of the demo. In the demo no similarity differed by more than 0.0004.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from PIL import __version__ as pillow_version

from imgaudit.diffusion.elicitation import compare_parts
from imgaudit.diffusion.generation import Generated
from imgaudit.exceptions import RunFolderError
from imgaudit.io.framing import find_unusable_reason, measure_complexity, to_tensor
from imgaudit.io.writing import read_png
from imgaudit.runs.folder import RecordIndex, RunFolder
from imgaudit.runs.verification.originals import check_original
from imgaudit.schema.manifest import AuditManifest
from imgaudit.schema.records import DECIDING_RUNGS, Measurement, PartMatch, Replica, Rung, RungMeasurement, Skipped
from imgaudit.schema.verification import Check
from imgaudit.similarity.appearance import describe_image
from imgaudit.similarity.matcher import Matcher, matcher_of
from imgaudit.similarity.reference import Reference

ROUNDING = 2 / 255 / math.sqrt(12)
"""Root mean square of rounding to eight bits, for intensities in [-1, 1]."""

FIXED = {
    "aligned_rms": 0.002, "tiled_rms": 0.002, "dssim": 0.003, "pdq": 0.016, "lpips": 0.01, "sscd": 0.01,
    "sscd-int8": 0.05,
}  # fmt: skip
"""Tolerances of measures other than `pixel`."""

PART_TOLERANCE = 0.001
"""Of the legs and the area of a part, as a share of the value, or of one where it is smaller."""

REST_TOLERANCE = 0.005
"""Of the correlation of what lies outside of a part."""

EXACT = 1e-4
"""Of numbers that are measured from target.png, which was written without rounding."""

OTHER_PILLOW = 0.1
"""Of the complexity, where another version of Pillow compresses the picture."""

BATCH = 16
"""Pictures that are in memory at once."""

MODEL_NEEDED = (
    "denoising errors, loss curves, InvMM and images of single text streams: they are measured with the model; "
    "imgaudit verify --replay generates images again"
)


@dataclass
class _Count:
    """What was compared."""

    pictures: int = 0
    images: int = 0
    largest: float = 0.0


def check_pictures(run: RunFolder, manifest: AuditManifest) -> Check:
    """Measure every picture again and compare with its record, within the tolerances above.

    Pictures that cannot be read are problems. One image of the run is in memory at a time.
    """
    matcher, lacking = matcher_of(manifest.measured)
    count, problems = _Count(), list[str]()
    index = RecordIndex(run)
    for image_id in sorted(index):
        try:
            problems += _check_image(run, index[image_id], manifest, matcher, count)
        except (RunFolderError, KeyError) as error:
            problems.append(f"the pictures of {image_id!r:.40} cannot be compared: {error}")
    not_done = [MODEL_NEEDED]
    not_done += [
        f"{name}: {reason.skipped}" for name, reason in lacking.items() if name in manifest.measured and count.images
    ]
    done = (
        f"{count.pictures} generated images and {count.images} renderings were compared again; pixel similarities "
        f"differ from the recorded ones by at most {count.largest:.1g}, which rounding explains"
    )
    return Check(name="pictures", done=done, not_done=tuple(not_done), problems=tuple(problems))


def _check_image(
    run: RunFolder, record: Measurement, manifest: AuditManifest, matcher: Matcher, count: _Count
) -> Iterator[str]:
    folder = run.image_folder(record.id)
    target, rendered = (to_tensor(read_png(folder / name)) for name in ("target.png", "rendered.png"))
    tolerances = _tolerances(rendered)
    count.images += 1
    place = f"images/{record.id}"
    yield from check_original(run, record, manifest, target)
    yield from _check_target(run, record, manifest, target)
    [(floor, _)] = matcher.compare(target, rendered[None])
    yield from _differences(f"'{place}/rendered.png' against target.png", record.vae_floor, floor, tolerances)
    spread = float(target.std().clamp(min=1e-6))
    error = {"vae_error": float((rendered - target).square().mean().sqrt()) / spread}
    allowed = {"vae_error": 1 / 255 / spread}
    yield from _differences(f"'{place}/rendered.png'", {"vae_error": record.vae_error}, error, allowed)
    reference = Reference(rendered)
    for rung, ladder in record.rungs.items():
        if isinstance(ladder, RungMeasurement):
            for start in range(0, len(ladder.replicas), BATCH):
                replicas = ladder.replicas[start : start + BATCH]
                count.pictures += len(replicas)
                yield from _check_replicas(run, rung, replicas, reference, matcher, count)


def _check_target(run: RunFolder, record: Measurement, manifest: AuditManifest, target: torch.Tensor) -> Iterator[str]:
    """Yield where the features of the target, by which images are judged to be like controls, are not its own."""
    size = measure_complexity(read_png(run.image_folder(record.id) / "target.png"))
    looks = describe_image(target, complexity=size, width=max(1, record.width), height=max(1, record.height))
    same_pillow = manifest.versions.get("pillow") == pillow_version
    tolerances = dict.fromkeys(looks, EXACT) | {"complexity": EXACT if same_pillow else OTHER_PILLOW}
    place = f"'images/{record.id}/target.png'"
    yield from _differences(place, record.features, looks, tolerances)
    yield from _differences(place, {"complexity": record.complexity}, looks, tolerances)


def _check_replicas(
    run: RunFolder, rung: Rung, replicas: Iterable[Replica], reference: Reference, matcher: Matcher, count: _Count
) -> Iterator[str]:
    """Yield where the record of some pictures differs from what they show."""
    frames, scored = [], []
    for replica in replicas:
        image = to_tensor(read_png(run.path / replica.path))
        unusable = find_unusable_reason(image)
        if isinstance(replica.similarity, Skipped) != isinstance(replica.distance, Skipped):
            yield f"{replica.path!r}: its record has only one of similarity and distance"
        elif isinstance(replica.similarity, Skipped):
            # Numbers that are not finite are saved as black.
            if unusable is None and "not finite" not in replica.similarity.skipped:
                yield f"{replica.path!r} can be scored, and its record says that it cannot"
        elif unusable is not None:
            yield f"{replica.path!r} cannot be scored, as it is {unusable}, and its record has scores"
        else:
            frames.append(Generated(replica.seed, replica.guidance_scale, image, None))
            scored.append(replica)
    if not frames:
        return
    tolerances = _tolerances(reference.pixels)
    again = matcher.compare(reference, torch.stack([frame.image for frame in frames]))
    parts = compare_parts(frames, reference) if rung in DECIDING_RUNGS else [None] * len(frames)
    for replica, (similarity, distance), part in zip(scored, again, parts, strict=True):
        assert not isinstance(replica.similarity, Skipped) and not isinstance(replica.distance, Skipped)
        difference = abs(replica.similarity.get("pixel", 0.0) - similarity["pixel"])
        if difference <= tolerances["pixel"]:
            count.largest = max(count.largest, difference)
        yield from _differences(f"{replica.path!r}", replica.similarity, similarity, tolerances)
        yield from _differences(f"{replica.path!r}", replica.distance, distance, tolerances)
        yield from _compare_part(replica, part)


def _tolerances(rendered: torch.Tensor) -> dict[str, float]:
    """Return how far a measure may be from its record, by its name; see the module."""
    ratio = ROUNDING / max(float(rendered.std()), 1e-6)
    return FIXED | {"pixel": min(2.0, 0.22 * ratio + ratio * ratio + 0.0001)}


def _differences(
    place: str, said: Mapping[str, float], again: Mapping[str, float], tolerances: Mapping[str, float]
) -> Iterator[str]:
    """Yield numbers that differ by more than their tolerance; measures that this machine lacks are left out."""
    for name, value in said.items():
        # A number that is not one is never within a tolerance.
        if name in again and not abs(value - again[name]) <= tolerances[name]:
            yield f"{place} gives {name} {again[name]:.4f}, and records.jsonl says {value:.4f}"


def _compare_part(replica: Replica, again: PartMatch | None) -> Iterator[str]:
    said = replica.part
    if said is None or again is None:
        if said is not again:
            yield f"{replica.path!r} {'was' if again is None else 'was not'} compared in parts, says records.jsonl"
        return
    for name in ("geometric", "photometric", "area", "target_share", "candidate_share"):
        value, new = getattr(said, name), getattr(again, name)
        if value is None or new is None:
            # Runs of older versions did not measure shares.
            continue
        if not abs(value - new) <= PART_TOLERANCE * max(1.0, abs(value)):
            yield f"{replica.path!r} gives {name} {new:.4f} in parts, and records.jsonl says {value:.4f}"
    if isinstance(said.rest, Skipped) or isinstance(again.rest, Skipped):
        same = isinstance(said.rest, Skipped) and isinstance(again.rest, Skipped)
    else:
        same = abs(said.rest - again.rest) <= REST_TOLERANCE
    if not same:
        yield f"{replica.path!r} differs from records.jsonl in what lies outside of the part"
