"""A made-up run of any number of images that is sound: its records hold what its pictures give, and nothing else.

No model and no image of anybody is needed. Every image has a target of its own, drawn by formula, and what a made-up
autoencoder renders of it. Generated images are a noisy copy of that, or unrelated pictures of a stock; a file that is
shown in several places is a hard link. Similarities and distances are measured from the pictures, as in an audit. The
controls are made in the same way.
"""

import hashlib
import math
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save

from imgaudit.benchmark.reports.run import BEHAVIOURS, ImageBehaviour, draw_picture
from imgaudit.decision.controls import ControlSource, make_control
from imgaudit.decision.null_bank import NullBank, split_controls
from imgaudit.diffusion.generation import draw_replica_seeds
from imgaudit.diffusion.measurement import name_replica
from imgaudit.io.framing import measure_complexity, to_tensor
from imgaudit.io.portfolio import hash_texts
from imgaudit.io.writing import format_json, write_json
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.manifest import package_versions
from imgaudit.runs.sealing import name_measures
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.manifest import AuditManifest, KnownModel, KnownOption, KnownTarget
from imgaudit.schema.policy import Policy
from imgaudit.schema.protocol import Effort, Protocol, protocol_for
from imgaudit.schema.records import (
    ErrorCurvePoint,
    ErrorMeasurement,
    Measurement,
    Replica,
    Rung,
    RungMeasurement,
    Skipped,
)
from imgaudit.similarity.appearance import describe_image
from imgaudit.similarity.matcher import standard_matcher

SIDE = 32
"""Side of the pictures, in pixels: as small as those of the smallest lab, so that a large run fits on a disk."""

STOCK = 512
"""Unrelated pictures, of which generated images that are no copies are taken."""

CONTROLS = 320
"""Made-up controls; a quarter of them is kept out of the bank, as in an audit."""

FIRST_STOCK, FIRST_CONTROL = 10_000_000, 20_000_000
"""Numbers from which on pictures are those of the stock, and those of controls."""

GUIDANCE = 3.0
TIMESTEPS = 16
MODEL = "made-up model"
BEGUN = "2026-01-01T00:00:00+00:00"

EMBEDS = save({"text": torch.zeros(1, 2)})
"""Embedding of every image: nothing of a conclusion rests on it."""

BLOCK = 500
"""Images that a process makes at once, and whose records are written together."""


@dataclass(frozen=True)
class MadeImage:
    """An image of a made-up run."""

    measurement: Measurement
    """Its record."""
    target: Image.Image
    """What was examined."""
    rendered: Image.Image
    """What the made-up autoencoder makes of it."""
    copy: Image.Image
    """What the made-up model returns where it returns the image."""
    shown: dict[str, int | None]
    """For the path of every generated image, its number in the stock; None for the copy."""


class RunMaker:
    """Makes images with their records: the same for the same number and seed."""

    def __init__(self, stock: Path, replicas: int, seed: int) -> None:
        """Draw the stock of unrelated pictures.

        stock:     folder for it, on the disk of the run
        replicas:  generated images of a rung; there are two rungs
        """
        quick = protocol_for(Effort.QUICK)
        generation = quick.generation.model_copy(update={"seeds": replicas, "guidance_scales": (GUIDANCE,)})
        self.protocol: Protocol = quick.model_copy(update={"generation": generation})
        self.matcher, self.lacking = standard_matcher(SIDE)
        self.seed = seed
        stock.mkdir(parents=True, exist_ok=True)
        self._stock = [stock / f"{number:04d}.png" for number in range(STOCK)]
        pictures = [draw_picture(FIRST_STOCK + number, SIDE) for number in range(STOCK)]
        for path, picture in zip(self._stock, pictures, strict=True):
            picture.save(path)
        self._pixels = torch.stack([to_tensor(picture) for picture in pictures])

    def make_bank(self) -> NullBank:
        """Return a null bank of controls that are made like images which the model does not know."""
        made = (self.make_image(FIRST_CONTROL + number, BEHAVIOURS[-1]) for number in range(CONTROLS))
        controls = sorted((make_control(one.measurement) for one in made), key=lambda one: one.sha256)
        source = ControlSource(
            note="made-up images", made=BEGUN, seed=self.seed, sha256s=[one.sha256 for one in controls]
        )
        bank = NullBank(
            model=MODEL, model_fingerprint="0" * 64, protocol=self.protocol, sources=[source], kept_out=[], controls=[]
        )
        return split_controls(bank, controls, bank.sources)

    def write_image(self, run: RunFolder, number: int) -> Measurement:
        """Make an image, write its files but not its record, and return what was measured."""
        random = np.random.default_rng((self.seed, number))
        kind = BEHAVIOURS[int(random.choice(len(BEHAVIOURS), p=[one.share for one in BEHAVIOURS]))]
        made = self.make_image(number, kind)
        folder = run.image_folder(made.measurement.id)
        (folder / "replicas").mkdir(parents=True)
        made.target.save(folder / "target.png")
        made.rendered.save(folder / "rendered.png")
        error = made.measurement.error
        points = [] if isinstance(error, Skipped) else [asdict(point) for point in error.by_timestep]
        curves = format_json({"loss": made.measurement.loss_curve, "by_timestep": points})
        (folder / "curves.json").write_text(curves, encoding="utf-8")
        (folder / "embeds.safetensors").write_bytes(EMBEDS)
        first: Path | None = None
        for path, place in made.shown.items():
            if place is None and first is None:
                first = run.path / path
                made.copy.save(first)
            else:
                os.link(first if place is None and first else self._stock[place or 0], run.path / path)
        return made.measurement

    def make_image(self, number: int, kind: ImageBehaviour) -> MadeImage:
        """Draw an image and what was generated for it, and measure them."""
        random = np.random.default_rng((self.seed, number, 1))
        target = draw_picture(number, SIDE)
        rendered, copy = _add_noise(target, random, 8.0), _add_noise(target, random, 14.0)
        sha256 = hashlib.sha256(f"made-up image {number}".encode()).hexdigest()
        own, other = to_tensor(target), to_tensor(rendered)
        rungs: dict[Rung, RungMeasurement | Skipped] = {Rung.PROMPT: Skipped(skipped="no prompt was given")}
        shown: dict[str, int | None] = {}
        for rung, chance in ((Rung.CAPTION, kind.caption), (Rung.EMBEDDING, kind.embedding)):
            places = [
                None if random.random() < chance else int(random.integers(STOCK))
                for _ in range(self.protocol.generation.seeds)
            ]
            pixels = torch.stack([to_tensor(copy) if place is None else self._pixels[place] for place in places])
            replicas = self._measure_replicas(sha256, rung, other, pixels)
            texts = [_caption(number)] if rung is Rung.CAPTION else []
            rungs[rung] = RungMeasurement(texts=texts, cut_tokens={}, replicas=replicas)
            shown |= {replica.path: place for replica, place in zip(replicas, places, strict=True)}
        complexity = measure_complexity(target)
        [(floor, _)] = self.matcher.compare(own, other[None])
        measurement = Measurement(
            id=sha256[:16], path=_path(number), sha256=sha256, width=1024, height=768, notes=[],
            complexity=complexity, vae_floor=floor,
            vae_error=float((other - own).square().mean().sqrt() / own.std().clamp(min=1e-6)),
            features=describe_image(own, complexity=complexity, width=1024, height=768),
            pdq=hashlib.sha256(sha256.encode()).hexdigest(), made_by="",
            loss_curve=[round(0.15 + 0.05 * 0.9**step, 4) for step in range(25)],
            error=_make_error(random, float(random.normal(kind.log_ratio, 0.04))), rungs=rungs,
            seconds=41.0, network_evaluations=11_000,
        )  # fmt: skip
        return MadeImage(measurement, target, rendered, copy, shown)

    def _measure_replicas(self, sha256: str, rung: Rung, rendered: torch.Tensor, pixels: torch.Tensor) -> list[Replica]:
        seeds = draw_replica_seeds(self.seed, sha256, len(pixels))
        return [
            Replica(
                seed=seed, guidance_scale=GUIDANCE, path=name_replica(sha256[:16], rung, GUIDANCE, number),
                similarity=similarity, distance=distance,
            )
            for number, (seed, (similarity, distance)) in enumerate(
                zip(seeds, self.matcher.compare(rendered, pixels), strict=True)
            )
        ]  # fmt: skip


def make_measured_run(
    folder: Path, maker: RunMaker, count: int, *, processes: int, on_image: Callable[[int, int], None]
) -> None:
    """Write a run of `count` images into an empty folder: measured, and neither concluded nor rendered.

    maker:      makes the images; its stock is on the same disk
    processes:  that make images, the same in any number; 1 makes them here
    """
    run = RunFolder(folder)
    maker.make_bank().write(run.calibration_path)
    targets, done = list[KnownTarget](), 0
    blocks = [range(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]
    with _map_blocks(partial(_write_block, maker, run), blocks, min(processes, len(blocks))) as written:
        for measurements in written:
            run.append_records([{"stage": "measured", **one.model_dump(mode="json")} for one in measurements])
            for number, one in enumerate(measurements, start=done):
                texts = hash_texts({Rung.CAPTION: [_caption(number)]})
                targets.append(KnownTarget(sha256=one.sha256, path=one.path, texts_sha256=texts))
            done += len(measurements)
            on_image(done, count)
    manifest = _make_manifest(maker, targets)
    write_json(run.manifest_path, manifest.model_dump(mode="json"))


def _write_block(maker: RunMaker, run: RunFolder, numbers: range) -> list[Measurement]:
    return [maker.write_image(run, number) for number in numbers]


@contextmanager
def _map_blocks(
    write: Callable[[range], list[Measurement]], blocks: list[range], processes: int
) -> Iterator[Iterator[list[Measurement]]]:
    """Write blocks in order, in processes of their own where there are several."""
    if processes == 1:
        yield map(write, blocks)
        return
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_begin_process)
    try:
        yield pool.map(write, blocks)
    finally:
        # Who stops the benchmark does not wait for the blocks that are not begun.
        pool.shutdown(cancel_futures=True)


def _begin_process() -> None:
    # Who interrupts the benchmark interrupts the process that began this one, which then ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def _make_manifest(maker: RunMaker, targets: list[KnownTarget]) -> AuditManifest:
    """Return a manifest that is fixed but for its targets, so that the same count and seed give the same run."""
    config, policy, protocol = AuditConfig(seed=maker.seed).model_dump(mode="json"), Policy(), maker.protocol
    return AuditManifest(
        command=["imgaudit", "audit", "/collection", "--model", MODEL],
        model=KnownModel(
            name=MODEL, pipeline_class="StableDiffusionPipeline", fingerprint="0" * 64, files={}, resolution=SIDE,
            prediction_type="epsilon",
        ),
        versions=package_versions(), device="cpu", started=BEGUN,
        config={key: KnownOption(value=value, source="default") for key, value in config.items()},
        protocol=protocol, protocol_hash=protocol.hash, policy=policy, policy_hash=policy.hash, groups=[],
        measures=name_measures(maker.matcher, maker.lacking), targets=targets, skipped=[], remarks=[], threads=1,
        platform="made up", seed=maker.seed, operator="",
    )  # fmt: skip


def _path(number: int) -> str:
    return f"/collection/{number:08d}.png"


def _caption(number: int) -> str:
    return f"A made-up picture, number {number}"


def _add_noise(picture: Image.Image, random: np.random.Generator, spread: float) -> Image.Image:
    noisy = np.asarray(picture) + random.normal(0, spread, (SIDE, SIDE, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).round().astype(np.uint8))


def _make_error(random: np.random.Generator, log_ratio: float) -> ErrorMeasurement:
    """Return paired errors whose means are those of their curve."""
    points = []
    for place in range(TIMESTEPS):
        null = 0.6 * 0.83**place
        ratio = log_ratio * (0.4 + 1.2 * math.sin(math.pi * (place + 0.5) / TIMESTEPS)) + float(random.normal(0, 0.02))
        timestep = 31.25 + 62.5 * place
        points.append(ErrorCurvePoint(timestep=timestep, conditional=null / math.exp(ratio), null=null, draws=4))
    return ErrorMeasurement(
        conditional=sum(one.conditional for one in points) / TIMESTEPS,
        null=sum(one.null for one in points) / TIMESTEPS, log_ratio=log_ratio,
        win_rate=min(1.0, max(0.0, 0.5 + log_ratio)), draws=4 * TIMESTEPS, by_timestep=points,
    )  # fmt: skip
