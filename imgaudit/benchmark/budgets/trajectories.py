"""Whole inversions of lab images, kept draw by draw: budgets, scores and stopping rules are compared on one recording.

A recording costs what the longest budget costs. Every shorter budget is a prefix of it, because neither the draws nor
the updates of a step depend on how many steps follow.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.denoising_error import measure_paired_errors
from imgaudit.diffusion.generation import draw_replica_seeds, generate
from imgaudit.diffusion.inversion import invert
from imgaudit.exceptions import InputError
from imgaudit.io.framing import frame_image, measure_complexity, to_tensor
from imgaudit.io.portfolio import Portfolio, Target
from imgaudit.lab.description import LabImage
from imgaudit.schema.protocol import ErrorConfig, InversionConfig

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ForcingConfig:
    """Sampling under the embedding of a snapshot: when do images that were never trained on come out?"""

    steps: tuple[int, ...]
    """Snapshots at which to sample."""
    seeds: int = 8
    """Seeds per image."""
    guidance_scale: float = 3.0
    """Classifier-free guidance."""
    num_inference_steps: int = 20
    """Sampling steps."""


NO_FORCING = ForcingConfig(())


@dataclass(frozen=True)
class Trajectories:
    """Inversions of a list of images under one design."""

    config: InversionConfig
    """The design, with the longest budget."""
    sha256s: list[str]
    """Images, in order of the rows below."""
    complexity: Floats
    """(images,) log(PNG bytes per pixel)."""
    timesteps: npt.NDArray[np.int64]
    """(images, steps, draws): the draws of every step."""
    conditional: Floats
    """(images, steps, draws): their errors under the embedding before the step's update."""
    null: Floats
    """(images, steps, draws): their errors under the null condition."""
    snapshots: npt.NDArray[np.int64]
    """(snapshots,): after how many steps the embedding was also measured on fresh draws."""
    fresh_timesteps: npt.NDArray[np.int64]
    """(images, fresh): the fresh draws, the same at every snapshot."""
    fresh_conditional: Floats
    """(images, snapshots, fresh)."""
    fresh_null: Floats
    """(images, fresh)."""
    forced_steps: npt.NDArray[np.int64]
    """(forcings,): after how many steps images were sampled."""
    forced_rms: Floats
    """(images, forcings, seeds): RMS distance of each sample to decode(encode(image)), intensities 0..1; NaN = none."""

    def own_log_ratio(self, steps: int, window: int) -> npt.NDArray[np.float64]:
        """Mean log(null / conditional) over the draws of the last `window` of the first `steps` steps: (images,)."""
        rows = slice(max(0, steps - window), steps)
        ratio = np.log(self.null[:, rows].astype(np.float64)) - np.log(self.conditional[:, rows].astype(np.float64))
        return np.asarray(ratio.mean(axis=(1, 2)))

    def fresh_log_ratio(self, steps: int) -> npt.NDArray[np.float64]:
        """Mean log(null / conditional) over the fresh draws after `steps` steps: (images,)."""
        [place] = np.nonzero(self.snapshots == steps)[0]
        conditional = self.fresh_conditional[:, place].astype(np.float64)
        return np.asarray((np.log(self.fresh_null.astype(np.float64)) - np.log(conditional)).mean(axis=1))

    def write(self, path: Path) -> None:
        """Write as npz."""
        arrays: dict[str, Any] = {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        arrays |= {"config": np.array(self.config.model_dump_json()), "sha256s": np.array(self.sha256s)}
        np.savez(path, **arrays)

    @classmethod
    def read(cls, path: Path) -> "Trajectories":
        """Read what `write` wrote; nothing in it is unpickled."""
        with np.load(path, allow_pickle=False) as stored:
            values = dict(stored)
        config = InversionConfig.model_validate_json(str(values.pop("config")))
        return cls(config=config, sha256s=[str(one) for one in values.pop("sha256s")], **values)

    @classmethod
    def joined(cls, parts: Sequence["Trajectories"]) -> "Trajectories":
        """Recordings of different images under one design, as one."""
        shared = ("snapshots", "forced_steps")
        arrays = {
            name: value if name in shared else np.concatenate([vars(part)[name] for part in parts])
            for name, value in vars(parts[0]).items()
            if isinstance(value, np.ndarray)
        }
        return cls(config=parts[0].config, sha256s=[one for part in parts for one in part.sha256s], **arrays)


def record_chunk(
    work: LabWork, targets: Sequence[Target], config: InversionConfig, snapshots: Sequence[int], forcing: ForcingConfig
) -> Trajectories:
    """Invert a chunk of images and keep everything."""
    denoiser = work.denoiser
    framed_images = [frame_image(t.load().pixels, denoiser.resolution, work.framing) for t in targets]
    framed = torch.stack([to_tensor(image) for image in framed_images])
    sha256s = [target.image.sha256 for target in targets]
    latents = denoiser.encode(framed)
    rendered = denoiser.decode(latents)
    fresh: dict[int, Floats] = {}
    forced: dict[int, Floats] = {}
    null: list[torch.Tensor] = []

    def on_step(step: int, prompt_embeds: PromptEmbeds) -> None:
        if step in snapshots:
            paired = measure_paired_errors(
                denoiser, latents, sha256s, prompt_embeds, ErrorConfig(), run_seed=work.seed, executor=work.executor,
                null=null[0] if null else None,
            )  # fmt: skip
            null[:] = [paired.null, paired.timesteps]
            fresh[step] = paired.conditional.numpy()
        if step in forcing.steps:
            forced[step] = _forced_rms(work, prompt_embeds, rendered, sha256s, forcing)

    inversion = invert(
        denoiser, latents, sha256s, config, run_seed=work.seed, executor=work.executor, paired_steps=config.steps,
        on_step=on_step,
    )  # fmt: skip
    shape = (len(targets), config.steps, config.draws)
    return Trajectories(
        config=config,
        sha256s=sha256s,
        complexity=np.array([measure_complexity(image) for image in framed_images], dtype=np.float32),
        timesteps=inversion.paired_timesteps.reshape(shape).numpy(),
        conditional=inversion.paired_conditional.reshape(shape).numpy(),
        null=inversion.paired_null.reshape(shape).numpy(),
        snapshots=np.array(snapshots, dtype=np.int64),
        fresh_timesteps=null[1].numpy(),
        fresh_conditional=np.stack([fresh[step] for step in snapshots], axis=1),
        fresh_null=null[0].numpy(),
        forced_steps=np.array(forcing.steps, dtype=np.int64),
        forced_rms=np.stack([forced[step] for step in forcing.steps], axis=1)
        if forcing.steps
        else np.zeros((len(targets), 0, forcing.seeds), dtype=np.float32),
    )


def _forced_rms(
    work: LabWork, prompt_embeds: PromptEmbeds, rendered: torch.Tensor, sha256s: Sequence[str], forcing: ForcingConfig
) -> Floats:
    seeds = [draw_replica_seeds(work.seed, sha256, forcing.seeds) for sha256 in sha256s]
    batches = generate(
        work.denoiser, prompt_embeds, seeds, guidance_scale=forcing.guidance_scale,
        num_inference_steps=forcing.num_inference_steps, executor=work.executor,
    )  # fmt: skip
    rows = []
    for target, batch in zip(rendered, batches, strict=True):
        images = torch.stack([frame.image for frame in batch])
        rms = ((images - target) / 2).square().flatten(1).mean(dim=1).sqrt()
        rms[torch.tensor([frame.invalid is not None for frame in batch])] = float("nan")
        rows.append(rms.numpy())
    return np.stack(rows).astype(np.float32)


def record(
    work: LabWork,
    portfolio: Portfolio,
    config: InversionConfig,
    snapshots: Sequence[int],
    *,
    forcing: ForcingConfig = NO_FORCING,
    chunk_size: int = 8,
) -> Trajectories:
    """Record every image of a portfolio, chunk by chunk; finished chunks in the work folder are read, not repeated."""
    work.folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for start in range(0, len(portfolio.targets), chunk_size):
        chunk = portfolio.targets[start : start + chunk_size]
        path = work.folder / f"{start:05d}.npz"
        if path.is_file():
            parts.append(Trajectories.read(path))
        else:
            part = record_chunk(work, chunk, config, snapshots, forcing)
            part.write(path.with_suffix(".partial.npz"))
            path.with_suffix(".partial.npz").replace(path)
            parts.append(part)
        if parts[-1].sha256s != [target.image.sha256 for target in chunk] or parts[-1].config != config:
            raise InputError(f"{str(path)!r} holds other images or another design; choose another --out")
        work.on_stage("inverting", start + len(chunk), len(portfolio.targets))
    return Trajectories.joined(parts)


def record_cases(
    work: LabWork,
    images: Sequence[LabImage],
    config: InversionConfig,
    name: str,
    snapshots: Sequence[int],
    *,
    forcing: ForcingConfig = NO_FORCING,
    start: int = 0,
) -> Trajectories:
    """Record images of a lab; finished chunks are kept.

    name:   folder below the work folder
    start:  which of several random starts; offsets the run seed
    """
    own = replace(work, folder=work.folder / name, seed=work.seed + start)
    return record(own, work.load(images), config, snapshots, forcing=forcing)
