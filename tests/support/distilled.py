"""Tiny models that embed the guidance scale, as guidance-distilled ones do, with random weights for it."""

import torch

from imgaudit.lab.distillation import make_student
from imgaudit.models.families.sdxl import SDXLDenoiser
from imgaudit.models.families.unet import AnyUNetDenoiser, UNetDenoiser
from tests.conftest import make_pipeline, tiny_recipe
from tests.support.tiny_sdxl import make_sdxl


def make_distilled(family: str = "epsilon", strength: float = 0.3) -> AnyUNetDenoiser:
    """A UNet of a family or prediction type whose projection of the embedded scale has weights of that deviation."""
    if family == "sdxl":
        teacher: AnyUNetDenoiser = SDXLDenoiser(make_sdxl(), "fingerprint")
    else:
        teacher = UNetDenoiser(make_pipeline(tiny_recipe(prediction_type=family)), "fingerprint")
    student = make_student(teacher, 8)
    projection = student.pipeline.unet.time_embedding.cond_proj.weight
    projection.normal_(0, strength, generator=torch.Generator().manual_seed(2))
    return student
