"""Guidance distillation of a lab: a network that takes the guidance scale as an input and needs no null branch.

The method is the first stage of Meng et al. 2023 (On Distillation of Guided Diffusion Models, arXiv 2210.03142). A
student with the teacher's weights and a new input w learns, on the teacher's own training images and captions, what the
teacher predicts under guidance:

    student(x_t, t, c, w) = teacher(x_t, t, null) + (1 + w) (teacher(x_t, t, c) - teacher(x_t, t, null))

Captions are never left out, so the student is not trained on the empty one: it has no null branch. At w = 0 it imitates
the teacher's conditional prediction.
"""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch.nn.functional import mse_loss

from imgaudit.diffusion.denoiser import Denoiser, PromptEmbeds
from imgaudit.exceptions import InputError
from imgaudit.io.framing import to_batch
from imgaudit.lab.corpus import CorpusEntry, read_pixels
from imgaudit.lab.recipe import DistillationRecipe, LabRecipe
from imgaudit.lab.samples import ImageVariants, SamplePlan, plan_samples
from imgaudit.lab.trainee import set_rate, start_trainee
from imgaudit.lab.training import TrainedLab, take_step
from imgaudit.models.families.unet import AnyUNetDenoiser

Progress = Callable[[int, int, float], None]
"""Called as progress(step, steps, loss)."""


def distil_lab(
    teacher: Denoiser,
    entries: Sequence[CorpusEntry],
    lab: LabRecipe,
    recipe: DistillationRecipe,
    folder: Path,
    progress: Progress = lambda step, steps, loss: None,
) -> TrainedLab:
    """Train a student on the images that a lab was trained on, in the order in which the lab saw them.

    Checkpoints lie in `folder`/training until it is deleted; a stopped distillation continues from the last one and
    ends with the same weights. Text encoders and autoencoder are the teacher's own, unchanged.

    entries:  the corpus of the lab with its roles, see `assign_roles`
    lab:      the teacher's recipe
    Returns   the student as a pipeline in float32; plan and pixels are those of the lab
    Raises InputError for a teacher that is no UNet or embeds the guidance scale already, ImageError when an image of
    the corpus cannot be read.
    """
    if not isinstance(teacher, AnyUNetDenoiser) or not teacher.is_guided_by_null:
        raise InputError(
            "expected a lab with a UNet that is guided by its null prediction (families sd and sdxl); "
            f"lab {lab.name!r} has none"
        )
    work = folder / "training"
    work.mkdir(parents=True, exist_ok=True)
    pixels = to_batch(read_pixels(entries), lab.resolution, lab.framing)
    plan = plan_samples(entries, lab)
    latents = ImageVariants(pixels, [entry.role for entry in entries], lab).encode(teacher.encode)
    samples = _Samples(plan, latents, teacher.condition([one.text for one in entries]))
    student = make_student(teacher, recipe.embedding_width)
    _Distillation(teacher, student, lab, recipe, work, progress).train(samples)
    return TrainedLab(student.pipeline, plan, pixels, torch.zeros(len(entries), dtype=torch.int64))


def make_student(teacher: AnyUNetDenoiser, embedding_width: int) -> AnyUNetDenoiser:
    """Return a copy of a model whose UNet also embeds the guidance scale.

    The projection of the embedding starts at zero, so that before the first step the copy predicts what the teacher
    does, at any scale. The other parts of the pipeline are shared.
    """
    network: Any = teacher.network
    unet = UNet2DConditionModel.from_config(network.config, time_cond_proj_dim=embedding_width)
    projection = torch.zeros_like(unet.time_embedding.cond_proj.weight)
    unet.load_state_dict({**network.state_dict(), "time_embedding.cond_proj.weight": projection})
    pipeline = copy(teacher.pipeline)
    pipeline.register_modules(unet=unet)
    return type(teacher)(pipeline, f"distilled from {teacher.fingerprint}", teacher.device)


@dataclass(frozen=True)
class _Samples:
    """What the student is shown."""

    plan: SamplePlan
    latents: torch.Tensor
    """(images, variants, C, h, w) float32, scaled."""
    conditions: PromptEmbeds
    """Captions, one for each image."""

    def take(self, step: int, count: int) -> tuple[torch.Tensor, PromptEmbeds]:
        """Return the latents and captions of a step; after the last sample of the plan comes its first."""
        rows = (step * count + torch.arange(count)) % len(self.plan.image)
        images = torch.from_numpy(self.plan.image)[rows]
        return self.latents[images, torch.from_numpy(self.plan.variant)[rows]], self.conditions.select(images)


@dataclass(frozen=True)
class _Distillation:
    """The training of a student, in a folder."""

    teacher: AnyUNetDenoiser
    student: AnyUNetDenoiser
    lab: LabRecipe
    recipe: DistillationRecipe
    work: Path
    progress: Progress

    def train(self, samples: _Samples) -> None:
        """Train to the last step, from the last checkpoint where there is one; weights are averaged at the end."""
        lab, recipe, unet = self.lab, self.recipe, self.student.network
        unet.requires_grad_(True)
        trainee = start_trainee({"unet": unet}, recipe.learning_rate, len(samples.latents))
        checkpoint = self.work / "student.checkpoint"
        if checkpoint.is_file():
            trainee.load(checkpoint)
        while trainee.step < recipe.steps:
            set_rate(trainee.optimiser, trainee.step, recipe.steps, recipe.learning_rate)
            loss = take_step(trainee.optimiser, self._loss(samples, trainee.step))
            trainee.step += 1
            trainee.update_average(lab.ema_decay)
            self.progress(trainee.step, recipe.steps, loss)
            if trainee.step % lab.checkpoint_every == 0 or trainee.step == recipe.steps:
                trainee.save(checkpoint)
        trainee.take_average()
        unet.requires_grad_(False)

    def _loss(self, samples: _Samples, step: int) -> torch.Tensor:
        """Compute the mean squared difference from the guided teacher, in what the networks predict."""
        # Every step has a generator of its own, so that a resumed training draws what it would have drawn.
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + step)
        x0, captions = samples.take(step, self.lab.batch_size)
        schedule = self.teacher.schedule
        timesteps = torch.randint(0, schedule.num_train_timesteps, (len(x0),), generator=generator)
        noisy = schedule.add_noise(x0, torch.randn(x0.shape, generator=generator), timesteps)
        scales = 1 + (self.recipe.largest_scale - 1) * torch.rand(len(x0), generator=generator)
        predicted = self.student.call_unet(noisy, timesteps, captions, scales)
        return mse_loss(predicted, self._guided(noisy, timesteps, captions, scales))

    @torch.no_grad()
    def _guided(
        self, noisy: torch.Tensor, timesteps: torch.Tensor, captions: PromptEmbeds, scales: torch.Tensor
    ) -> torch.Tensor:
        """Predict as the teacher does under guidance, (N, C, h, w) float32, by its pipeline's formula."""
        null = self.teacher.predict(noisy, timesteps, self.teacher.null_condition().repeat(len(noisy))).output
        conditional = self.teacher.predict(noisy, timesteps, captions).output
        return null + scales.view(-1, 1, 1, 1) * (conditional - null)
