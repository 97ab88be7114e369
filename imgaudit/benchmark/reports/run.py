"""A made-up finished run of any number of images, to time and test reports with: no model, no image of anybody.

Measurements are drawn at random and decided by the tool's own rule, a thousand at a time. Pictures are drawn by
formula, a few dozen of them; every place in the run folder that shows one is a hard link to it.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from imgaudit.decision.controls import ControlSource, make_control
from imgaudit.decision.folder import FolderDecision
from imgaudit.decision.null_bank import NullBank
from imgaudit.decision.replication import Evidence
from imgaudit.decision.verdict import conclude_folder, conclude_skipped
from imgaudit.io.writing import write_json
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.manifest import package_versions
from imgaudit.runs.summary import summarise
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.findings import WORDING_VERSION, AuditResult, Finding, Verdict
from imgaudit.schema.policy import Policy
from imgaudit.schema.protocol import Effort, Protocol, protocol_for
from imgaudit.schema.records import (
    SCHEMA_VERSION,
    ErrorCurvePoint,
    ErrorMeasurement,
    Measurement,
    Replica,
    Rung,
    RungMeasurement,
    Skipped,
    SkippedImage,
)

SEEDS = 12
"""Generated images of a rung; there are two rungs."""

CONTROLS = 640
"""A quarter of them is kept out of the bank, as in an audit."""

PICTURES = 48
"""Different pictures."""

BLOCK = 1000
"""Images that are decided together."""

HOSTILE = (
    '"><img src=x onerror="document.title=\'owned\'">.png',
    "</script><script>document.title='owned'</script>.png",
    "{{7*7}}${7*7}<%= 7*7 %>.png",
    '=HYPERLINK("file:///x","y").png',
    "invoice\u202egnp.exe.png",
    "a'b\"c&d;e\u2028f.png",
)
"""Names that try to be more than text; one image in twenty-five has one."""

SUBJECTS = ("Lighthouse", "Portrait of a weaver", "Still life with quinces", "Harbour", "Olive grove", "Stairwell",
            "Two herons", "Market at dusk", "Winter road", "Blue interior", "Bridge", "Self-portrait")  # fmt: skip
MANNERS = ("oil on canvas", "gelatin silver print", "woodcut", "watercolour", "gouache on paper", "linocut")
SKIPS = ("the file is truncated", "the file is no image", "the image has 2 x 2 pixels")


class ImageBehaviour(NamedTuple):
    """How an image of the made-up run behaves."""

    share: float
    """Of all images."""
    log_ratio: float
    """Mean of its score."""
    caption: float
    """Chance that an image generated from its caption is a copy."""
    embedding: float
    """The same for its inverted embedding."""


BEHAVIOURS = (
    ImageBehaviour(0.08, 0.45, 0.6, 0.9),
    ImageBehaviour(0.06, 0.4, 0.0, 0.7),
    ImageBehaviour(0.06, 0.35, 0.0, 0.0),
    ImageBehaviour(0.8, 0.1, 0.0, 0.002),
)
"""Memorised with its caption, memorised without, unlike the controls, and like them."""


def make_run(folder: Path, count: int, *, side: int = 512, seed: int = 1, pictures: Path | None = None) -> AuditResult:
    """Write a finished run of `count` images into an empty folder; its result, which is in report.json as well.

    side:      of its pictures, in pixels
    pictures:  where the pictures are drawn, on the same disk; by default beside the run folder
    """
    run = RunFolder(folder)
    random = np.random.default_rng(seed)
    protocol = protocol_for(Effort.QUICK)
    bank = make_bank(random, protocol)
    links = _Pictures(pictures or folder.with_name(folder.name + "-pictures"), side)
    findings: list[Finding] = []
    network_evaluations = 0
    decision: FolderDecision | None = None
    for start in range(0, count, BLOCK):
        measurements, skipped = [], []
        for number in range(start, min(start + BLOCK, count)):
            # One in fifty is a file that could not be read, the first never.
            if number % 50 == 49:
                skipped.append(SkippedImage(path=_path(number), skipped=SKIPS[number // 50 % len(SKIPS)]))
            else:
                measurements.append(_measurement(random, number))
                links.write(run, measurements[-1], number)
        run.append_records([one.model_dump(mode="json") | {"stage": "measured"} for one in measurements])
        run.append_records([one.model_dump(mode="json") | {"stage": "skipped"} for one in skipped])
        decision = FolderDecision(measurements, Evidence(bank, protocol, Policy()))
        findings += conclude_folder(decision) + [conclude_skipped(one) for one in skipped]
        network_evaluations += sum(one.network_evaluations for one in measurements)
    if decision is None:
        raise ValueError(f"a run has at least one image, but got {count}")
    bank.write(run.calibration_path)
    manifest = _manifest(protocol, findings, side, seed)
    write_json(run.manifest_path, manifest)
    result = AuditResult(
        wording=WORDING_VERSION, run=manifest, protocol=protocol, policy=Policy(), redecided=[],
        summary=summarise(findings, decision, count), findings=findings,
    )  # fmt: skip
    run.report_path.write_text(result.model_dump_json(), encoding="utf-8")
    return result


def make_bank(random: np.random.Generator, protocol: Protocol) -> NullBank:
    """A bank of controls that are drawn like the images that were never trained on."""
    controls = [make_control(_measurement(random, -1 - number, BEHAVIOURS[-1])) for number in range(CONTROLS)]
    kept_out = CONTROLS // 4
    source = ControlSource(
        note="made-up images drawn like the audited ones", made="2026-01-01T00:00:00+00:00", seed=0,
        sha256s=sorted(one.sha256 for one in controls),
    )  # fmt: skip
    return NullBank(
        model="made-up model", model_fingerprint="0" * 64, protocol=protocol, sources=[source],
        kept_out=controls[:kept_out], controls=controls[kept_out:],
    )  # fmt: skip


def _sha256(number: int) -> str:
    return hashlib.sha256(f"made-up image {number}".encode()).hexdigest()


def _path(number: int) -> str:
    if number % 25 == 7:
        return f"/collection/{number:05d} {HOSTILE[number // 25 % len(HOSTILE)].replace('/', '∕')}"
    return f"/collection/{SUBJECTS[number % len(SUBJECTS)].lower().replace(' ', '-')}-{number:05d}.png"


def _caption(number: int) -> str:
    subject, manner = SUBJECTS[number % len(SUBJECTS)], MANNERS[number // 7 % len(MANNERS)]
    tail = HOSTILE[number // 25 % len(HOSTILE)] if number % 25 == 7 else f"{1880 + number % 140}"
    return f"{subject}, {manner}, {tail}"


def _measurement(random: np.random.Generator, number: int, kind: ImageBehaviour | None = None) -> Measurement:
    if kind is None:
        kind = BEHAVIOURS[int(random.choice(len(BEHAVIOURS), p=[one.share for one in BEHAVIOURS]))]
    log_ratio = float(random.normal(kind.log_ratio, 0.04))
    sha256 = _sha256(number)
    cut = {"text": 9} if number % 40 == 11 else {}
    hidden = 1 if number % 60 == 21 else 0
    return Measurement(
        id=sha256[:16], path=_path(number), sha256=sha256, width=1024, height=768, notes=[],
        complexity=float(random.normal(0.4, 0.1)), vae_floor={"pixel": 0.992, "pdq": 0.95},
        vae_error=float(random.uniform(0.1, 0.2)), features={"red": 0.0},
        pdq="", made_by="a generator's name in its metadata" if number % 80 == 31 else "",
        loss_curve=[round(0.15 + 0.05 * 0.9**step, 4) for step in range(25)], error=_error(random, log_ratio),
        rungs={
            Rung.PROMPT: Skipped(skipped="no prompt was given"),
            Rung.CAPTION: _rung(random, sha256, Rung.CAPTION, kind.caption, [_caption(number)], cut, hidden),
            Rung.EMBEDDING: _rung(random, sha256, Rung.EMBEDDING, kind.embedding, [], {}, 0),
        },
        seconds=41.0, network_evaluations=11_000,
    )  # fmt: skip


def _error(random: np.random.Generator, log_ratio: float) -> ErrorMeasurement:
    points = []
    for place in range(16):
        null = 0.6 * 0.83**place
        ratio = log_ratio * (0.4 + 1.2 * np.sin(np.pi * (place + 0.5) / 16)) + random.normal(0, 0.02)
        timestep = 31.25 + 62.5 * place
        points.append(ErrorCurvePoint(timestep=timestep, conditional=null / float(np.exp(ratio)), null=null, draws=4))
    return ErrorMeasurement(
        conditional=0.13, null=0.13 * float(np.exp(log_ratio)), log_ratio=log_ratio,
        win_rate=float(np.clip(0.5 + log_ratio, 0, 1)), draws=64, by_timestep=points,
    )  # fmt: skip


def _rung(
    random: np.random.Generator,
    sha256: str,
    rung: Rung,
    chance: float,
    texts: list[str],
    cut: dict[str, int],
    hidden: int,
) -> RungMeasurement:
    replicas = []
    for seed in range(SEEDS):
        copy = random.random() < chance
        similarity = random.uniform(0.93, 0.99) if copy else random.uniform(0.1, 0.6)
        distance = random.uniform(0.02, 0.08) if copy else random.uniform(0.3, 0.6)
        scored, invalid = seed >= hidden, Skipped(skipped="invalid frame: black")
        replicas.append(
            Replica(
                seed=seed, guidance_scale=3.0, path=f"images/{sha256[:16]}/replicas/{rung.value}-g3-{seed:04d}.png",
                similarity={"pixel": similarity, "pdq": similarity} if scored else invalid,
                distance={"tiled_rms": distance, "aligned_rms": distance} if scored else invalid,
            )
        )  # fmt: skip
    return RungMeasurement(texts=texts, cut_tokens=cut, replicas=replicas)


class _Pictures:
    """A few pictures, each drawn once and linked to where a run shows it."""

    def __init__(self, folder: Path, side: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._paths = [(folder / f"{n:02d}.png", folder / f"{n:02d}-copy.png") for n in range(PICTURES)]
        for number, (path, copy) in enumerate(self._paths):
            if not copy.is_file():
                picture = draw_picture(number, side)
                picture.save(path)
                noise = np.random.default_rng(number).normal(0, 6, (side, side, 3))
                Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8)).save(copy)

    def write(self, run: RunFolder, measurement: Measurement, number: int) -> None:
        """Give an image its target, what the autoencoder makes of it, and its generated images."""
        folder = run.image_folder(measurement.id)
        (folder / "replicas").mkdir(parents=True, exist_ok=True)
        own, copy = self._paths[number % PICTURES]
        os.link(own, folder / "target.png")
        os.link(own, folder / "rendered.png")
        for place, (to, copied) in enumerate(_replicas(measurement)):
            other = self._paths[(number + 1 + place) % PICTURES][0]
            os.link(copy if copied else other, run.path / to)


def _replicas(measurement: Measurement) -> Iterator[tuple[str, bool]]:
    for measured in measurement.rungs.values():
        if isinstance(measured, RungMeasurement):
            for replica in measured.replicas:
                distance = replica.distance
                yield replica.path, not isinstance(distance, Skipped) and distance["tiled_rms"] < 0.1


def draw_picture(number: int, side: int) -> Image.Image:
    """A soft ground with a few plain shapes and some grain: as large on disk as a picture, the same for a number.

    >>> draw_picture(3, 32).size
    (32, 32)
    """
    random = np.random.default_rng(1000 + number)
    ground = Image.fromarray(random.integers(40, 230, (4, 4, 3), dtype=np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    pen = ImageDraw.Draw(ground)
    for _ in range(6):
        x, y, reach = (float(value) * side for value in random.uniform((0.1, 0.1, 0.08), (0.9, 0.9, 0.3)))
        colour = tuple(int(value) for value in random.integers(0, 255, 3))
        box = (x - reach, y - reach, x + reach, y + reach)
        pen.ellipse(box, fill=colour) if random.random() < 0.5 else pen.rectangle(box, fill=colour)
    grain = random.normal(0, 3, (side, side, 1))
    return Image.fromarray(np.clip(np.asarray(ground) + grain, 0, 255).astype(np.uint8))


def _manifest(protocol: Protocol, findings: Sequence[Finding], side: int, seed: int) -> dict[str, Any]:
    """Fixed but for its targets, so that the same count and seed give the same run."""
    measured = [one for one in findings if one.verdict is not Verdict.SKIPPED]
    config = AuditConfig().model_dump(mode="json")
    return {
        "schema_version": SCHEMA_VERSION,
        "command": ["imgaudit", "audit", "/collection", "--model", "made-up model"],
        "config": {key: {"value": value, "source": "default"} for key, value in config.items()},
        "protocol": protocol.model_dump(mode="json"), "protocol_hash": protocol.hash,
        "policy": Policy().model_dump(mode="json"), "policy_hash": Policy().hash, "groups": [],
        "model": {
            "name": "made-up model", "pipeline_class": "StableDiffusionPipeline", "fingerprint": "0" * 64, "files": {},
            "revision": "", "variant": "", "config": "", "quantised": "", "compiled": False, "loras": [],
            "resolution": side, "prediction_type": "epsilon",
        },
        "measures": {"pixel": "imgaudit", "pdq": "pdqhash", "tiled_rms": "imgaudit", "aligned_rms": "imgaudit"},
        "targets": [{"sha256": one.sha256, "path": one.path, "texts_sha256": "0" * 64} for one in measured],
        "skipped": [{"path": one.path, "skipped": one.reason} for one in findings if one.verdict is Verdict.SKIPPED],
        "remarks": [], "versions": package_versions(),
        "device": "cpu", "threads": 1, "platform": "made up", "seed": seed, "operator": "",
        "started": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
