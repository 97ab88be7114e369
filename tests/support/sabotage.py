"""Configurations of a model with one thing changed, of which the audit must not say that images are not reproduced."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from imgaudit.diffusion.model_checks import CheckImages
from imgaudit.io.images import load_image
from imgaudit.models.loading import bundled_lab
from imgaudit.schema.protocol import Framing


def change(path: Path, **values: object) -> None:
    """Set keys of a configuration file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def name_scheduler(folder: Path, class_name: str) -> None:
    """Name another scheduler in both files that name it."""
    index = json.loads((folder / "model_index.json").read_text())
    change(folder / "model_index.json", scheduler=[index["scheduler"][0], class_name])
    change(folder / "scheduler" / "scheduler_config.json", _class_name=class_name)


def _scheduler(**values: object) -> Callable[[Path], None]:
    return lambda folder: change(folder / "scheduler" / "scheduler_config.json", **values)


def _size(side: int) -> Callable[[Path], None]:
    return lambda folder: change(folder / "unet" / "config.json", sample_size=side)


SABOTAGED: Mapping[str, tuple[Callable[[Path], None], str]] = {
    "size": (_size(6), "error at the declared size"),
    "larger size": (_size(12), "error at the declared size"),
    "scale": (lambda folder: change(folder / "vae" / "config.json", scaling_factor=0.25), "spread of latents"),
    "no betas": (_scheduler(beta_start=0.0, beta_end=0.0), "image at the last timestep"),
    "other betas": (_scheduler(beta_schedule="linear"), "error at the schedule's own timesteps"),
    "norm": (lambda folder: change(folder / "unet" / "config.json", norm_eps=1e6), "denoising error at middle noise"),
    "scheduler": (lambda folder: name_scheduler(folder, "LCMScheduler"), "detail of one step from noise"),
    "prediction": (_scheduler(prediction_type="v_prediction"), "denoising error at middle noise"),
}
"""What is done to a folder of Stable Diffusion, and the check that has to fail."""


def sabotage_demo(folder: Path, name: str) -> Path:
    """Copy the bundled model and change one thing."""
    shutil.copytree(bundled_lab("demo") / "model", folder)
    SABOTAGED[name][0](folder)
    return folder


def demo_images(folder: str = "controls") -> CheckImages:
    """Sixteen images of the bundled lab."""
    paths = sorted((bundled_lab("demo") / folder).glob("*.png"))
    chosen = paths[:: len(paths) // 16][:16]
    return CheckImages([load_image(path).pixels for path in chosen], Framing.CROP)
