"""Measurements and banks with chosen numbers."""

import hashlib
from collections.abc import Sequence
from typing import Any

from imgaudit.decision.controls import Control, ControlSeed, ControlSource
from imgaudit.decision.null_bank import NullBank
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

PROTOCOL: Protocol = protocol_for(Effort.QUICK).for_model("epsilon")


def replica_path(number: int) -> str:
    return f"images/{0:016x}/replicas/caption-g3-{number:04d}.png"


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def curve(log_ratio: float) -> ErrorMeasurement:
    point = ErrorCurvePoint(timestep=500.0, conditional=1.0, null=1.0 + abs(log_ratio), draws=4)
    return ErrorMeasurement(
        conditional=1.0, null=1.1, log_ratio=log_ratio, win_rate=0.5, draws=4,
        by_timestep=[point],
    )  # fmt: skip


def rung(pairs: Sequence[tuple[float, float]], text: str = "", invalid: int = 0) -> RungMeasurement:
    """Replicas given as (similarity, distance)."""
    replicas = [
        Replica(seed=n, guidance_scale=3.0, path=replica_path(n), similarity={"pixel": s, "pdq": 0.5},
                distance={"tiled_rms": d, "aligned_rms": d})
        for n, (s, d) in enumerate(pairs)
    ]  # fmt: skip
    broken = Skipped(skipped="invalid frame: black")
    replicas += [
        Replica(
            seed=100 + n,
            guidance_scale=3.0,
            path=replica_path(100 + n),
            similarity=broken,
            distance=broken,
        )
        for n in range(invalid)
    ]
    return RungMeasurement(texts=[text] if text else [], cut_tokens={}, replicas=replicas)


def measurement(
    name: str,
    log_ratio: float,
    embedding: Sequence[tuple[float, float]],
    caption: Sequence[tuple[float, float]] | None = None,
    invalid: int = 0,
    **changes: Any,
) -> Measurement:
    sha256 = digest(name)
    values: dict[str, Any] = {
        "id": sha256[:16], "path": f"/x/{name}.png", "sha256": sha256, "width": 10, "height": 10, "notes": [],
        "complexity": 0.0, "vae_floor": {"pixel": 0.99, "pdq": 0.9}, "vae_error": 0.3, "features": {"red": 0.0},
        "pdq": "", "made_by": "", "loss_curve": [1.0, 0.5], "error": curve(log_ratio),
        "rungs": {
            Rung.PROMPT: Skipped(skipped="no prompt was given"),
            Rung.CAPTION: Skipped(skipped="no caption was given") if caption is None else rung(caption, name),
            Rung.EMBEDDING: rung(embedding, invalid=invalid),
        },
        "seconds": 1.0, "network_evaluations": 10,
    }  # fmt: skip
    return Measurement(**(values | changes))


def bank(
    count: int, *, forced: int = 0, protocol: Protocol = PROTOCOL, captions: bool = True, vae_error: float | None = None
) -> NullBank:
    """Controls with log ratios 0, 1/count, ...; the last `forced` have one seed of similarity 0.97."""
    controls = []
    for n in range(count):
        best = 0.97 if n >= count - forced else 0.5 + 0.3 * n / count
        seeds = [ControlSeed(similarity=best, distance=0.1 if best > 0.9 else 0.3, guidance_scale=3.0)]
        seeds += [ControlSeed(similarity=0.4, distance=0.4, guidance_scale=3.0)] * 7
        rungs = {Rung.EMBEDDING: seeds}
        if captions:
            rungs[Rung.CAPTION] = seeds
        controls.append(
            Control(sha256=digest(f"control {n}"), complexity=0.0, log_ratio=n / count,
                    by_timestep=curve(n / count).by_timestep, rungs=rungs, features={"red": 0.0},
                    text_features={}, vae_error=0.2 + 0.2 * n / count if vae_error is None else vae_error, pdq="")
        )  # fmt: skip
    source = ControlSource(note="test", made="now", seed=0, sha256s=[control.sha256 for control in controls])
    return NullBank(
        model="m", model_fingerprint="f", protocol=protocol, sources=[source], kept_out=[], controls=controls
    )
