"""A finished run made larger: its pictures turned, mirrored and recoloured, and every number measured again.

An image and all that was generated for it are changed alike, so that a copy stays a copy. The numbers that depend on
pictures are measured from the changed ones; denoising errors, times and the null bank are those of the run.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from imgaudit.diffusion.generation import draw_replica_seeds
from imgaudit.diffusion.measurement import name_replica
from imgaudit.exceptions import InputError
from imgaudit.io.framing import measure_complexity, to_tensor
from imgaudit.io.writing import read_json, read_png, write_json, write_png
from imgaudit.report import finish_run
from imgaudit.runs.conclusion import conclude
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.records import Measurement, Rung, RungMeasurement, Skipped
from imgaudit.similarity.appearance import describe_image
from imgaudit.similarity.matcher import standard_matcher

TURNS: tuple[Image.Transpose | None, ...] = (None, *Image.Transpose)
COLOURS = tuple(permutations(range(3)))

COPIED = ("calibration.json", "model_checks.json", "decoys.safetensors")
"""Files of the run that are taken as they are."""


def enlarge_run(source: Path, out: Path, count: int, on_image: Callable[[int, int], None]) -> None:
    """Write a finished run of `count` images into a new folder, and its report.

    source:  finished run whose model is too small for a comparison in parts
    Raises InputError when the run has too few images, or was compared in parts, which would have to be done again.
    """
    run, larger = RunFolder(source), RunFolder(out)
    measurements, _ = run.read_measurements()
    if not 1 <= count <= (most := len(measurements) * len(TURNS) * len(COLOURS)):
        raise InputError(f"{str(source)!r} gives runs of 1 to {most:,} images, not of {count:,}")
    out.mkdir(parents=True)
    for name in COPIED:
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)
    manifest = read_json(run.manifest_path)
    texts = {target["sha256"]: target["texts_sha256"] for target in manifest["targets"]}
    made = []
    for number in range(count):
        one = _change_image(run, larger, measurements[number % len(measurements)], number, manifest["seed"])
        larger.append_record({"stage": "measured", **one.model_dump(mode="json")})
        old = measurements[number % len(measurements)].sha256
        made.append({"sha256": one.sha256, "path": one.path, "texts_sha256": texts[old]})
        on_image(number + 1, count)
    write_json(larger.manifest_path, manifest | {"targets": made, "skipped": [], "groups": []})
    finish_run(larger, conclude(larger))


def _change_image(run: RunFolder, larger: RunFolder, record: Measurement, number: int, seed: int) -> Measurement:
    """Write the pictures of one changed image, and return its record."""
    sha256 = hashlib.sha256(f"{record.sha256}:{number}".encode()).hexdigest()
    variant = number % (len(TURNS) * len(COLOURS))
    turn, colours = TURNS[variant % len(TURNS)], COLOURS[variant // len(TURNS)]
    before, after = run.image_folder(record.id), larger.image_folder(sha256[:16])

    def change(source: Path, to: Path) -> torch.Tensor:
        picture = read_png(source)
        picture = picture if turn is None else picture.transpose(turn)
        bands = picture.split()
        picture = Image.merge("RGB", [bands[place] for place in colours])
        write_png(to, picture)
        return to_tensor(picture)

    target, rendered = (change(before / name, after / name) for name in ("target.png", "rendered.png"))
    for name in ("curves.json", "embeds.safetensors"):
        shutil.copyfile(before / name, after / name)
    complexity = measure_complexity(read_png(after / "target.png"))
    matcher, _ = standard_matcher(min(record.width, record.height))
    rungs: dict[Rung, RungMeasurement | Skipped] = {}
    for rung, ladder in record.rungs.items():
        if isinstance(ladder, Skipped):
            rungs[rung] = ladder
            continue
        if any(replica.part for replica in ladder.replicas):
            raise InputError(f"{str(run.path)!r} was compared in parts: give a run of a smaller model")
        seeds, replicas = draw_replica_seeds(seed, sha256, len(ladder.replicas)), []
        for place, replica in enumerate(ladder.replicas):
            path = name_replica(sha256[:16], rung, replica.guidance_scale, place)
            image = change(run.path / replica.path, larger.path / path)
            changes: dict[str, Any] = {"path": path, "seed": seeds[place]}
            if not isinstance(replica.similarity, Skipped):
                [(changes["similarity"], changes["distance"])] = matcher.compare(rendered, image[None])
            replicas.append(replace(replica, **changes))
        rungs[rung] = ladder.model_copy(update={"replicas": replicas})
    [(floor, _)] = matcher.compare(target, rendered[None])
    return record.model_copy(
        update={
            "id": sha256[:16], "sha256": sha256, "path": f"{number:05d} {Path(record.path).name}", "frame": None,
            "complexity": complexity, "vae_floor": floor, "rungs": rungs, "pdq": _change_hash(record.pdq, number),
            "vae_error": float((rendered - target).square().mean().sqrt() / target.std().clamp(min=1e-6)),
            "features": describe_image(target, complexity=complexity, width=record.width, height=record.height),
        }
    )  # fmt: skip


def _change_hash(pdq: str, number: int) -> str:
    """Return a hash that is near none of the others, as a changed picture's would be; empty for an empty one."""
    return hashlib.sha256(json.dumps([pdq, number]).encode()).hexdigest() if pdq else ""
