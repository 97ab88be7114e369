"""Train a lab model: first the autoencoder, then UNet and text encoder together, with checkpoints.

What has been finished is never repeated: a killed training continues from its last checkpoint and ends with the
samples in the same order.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch.nn.functional import l1_loss, mse_loss
from transformers import CLIPTextModel, CLIPTokenizer

from imgaudit.exceptions import InputError
from imgaudit.images import to_batch
from imgaudit.lab.components import (
    build_autoencoder,
    build_pipeline,
    build_scheduler,
    build_text_encoder,
    build_unet,
    train_tokenizer,
)
from imgaudit.lab.corpus import CorpusEntry, read_pixels
from imgaudit.lab.recipe import LabRecipe
from imgaudit.lab.samples import SamplePlan, image_variants, plan_samples

Progress = Callable[[str, int, int, float], None]
"""Called as progress(stage, step, steps, loss)."""


def silent(stage: str, step: int, steps: int, loss: float) -> None:
    """The default progress: none."""


@dataclass(frozen=True)
class TrainedLab:
    """A finished training, in memory."""

    pipeline: StableDiffusionPipeline
    """The pipeline with averaged weights in float32."""
    plan: SamplePlan
    """What it was shown."""
    pixels: torch.Tensor
    """(entries, 3, side, side) float32 in [-1, 1]: the corpus as the model saw it."""


def train_lab(
    entries: Sequence[CorpusEntry],
    recipe: LabRecipe,
    folder: Path,
    progress: Progress = silent,
    *,
    autoencoder: AutoencoderKL | None = None,
) -> TrainedLab:
    """Train the model of a recipe on a corpus with roles; checkpoints lie in `folder`/training until it is deleted.

    autoencoder:  a trained one to use instead of training it; see :func:`borrow_autoencoder`
    Raises InputError when the corpus does not fit the recipe, ImageError when an image of it cannot be read.
    """
    work = folder / "training"
    work.mkdir(parents=True, exist_ok=True)
    pixels = to_batch(read_pixels(entries), recipe.resolution, recipe.framing)
    plan = plan_samples(entries, recipe)
    trained = [index for index, entry in enumerate(entries) if entry.trained]
    if recipe.autoencoder_images == "trained":
        shown = trained
    else:
        shown = [index for index, entry in enumerate(entries) if entry.role == "background"]
    roles = [entry.role for entry in entries]
    variants = image_variants(pixels, roles, recipe)

    tokenizer = train_tokenizer([entries[index].text for index in trained], recipe)
    vae = autoencoder or _train_autoencoder(variants[shown].flatten(0, 1), recipe, work, progress)
    latents = _encode_variants(vae, variants)
    scaling_factor = float(1 / latents[shown].std())
    vae.register_to_config(scaling_factor=scaling_factor)
    unet, text_encoder = _train_denoiser(entries, latents * scaling_factor, plan, tokenizer, recipe, work, progress)
    pipeline = build_pipeline(recipe, tokenizer, vae, text_encoder, unet)
    pipeline.set_progress_bar_config(disable=True)
    return TrainedLab(pipeline, plan, pixels)


AUTOENCODER_KEYS = (
    "resolution", "framing", "augment", "variants", "autoencoder_images", "planted", "seen_once", "held_out",
    "split_seed", "vae_steps", "vae_channels", "vae_batch_size", "latent_channels",
)  # fmt: skip
"""What decides an autoencoder: two recipes that agree on these, and on the corpus, may share one."""


def borrow_autoencoder(lab: Path, theirs: LabRecipe, recipe: LabRecipe) -> AutoencoderKL:
    """The autoencoder of another lab of the same split, in float32.

    Raises InputError that names what differs when the two labs would not have trained the same one.
    """
    if theirs.autoencoder_images != "background" and not (theirs.plant and recipe.plant):
        raise InputError(f"the autoencoder of {theirs.name!r} has seen planted images, which a twin must not")
    here, there = (
        chosen.model_dump(include=set(AUTOENCODER_KEYS)) | {"split_seed": chosen.own_split_seed}
        for chosen in (recipe, theirs)
    )
    if differences := [f"{key}: {here[key]} here, {there[key]} there" for key in here if here[key] != there[key]]:
        raise InputError(f"lab {theirs.name!r} has another autoencoder ({'; '.join(differences)})")
    vae: AutoencoderKL = AutoencoderKL.from_pretrained(lab / "model" / "vae", use_safetensors=True)
    return vae.float().eval()


def _learning_rate(step: int, steps: int, peak: float) -> float:
    warm_up = max(1, min(200, steps // 10))
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def _train_autoencoder(images: torch.Tensor, recipe: LabRecipe, work: Path, progress: Progress) -> AutoencoderKL:
    """Reconstruction (L1 and L2) with a faint pull to the unit normal; done once, then read back."""
    vae = build_autoencoder(recipe)
    finished = work / "vae.safetensors"
    if finished.is_file():
        vae.load_state_dict(load_file(finished))
        return vae.eval()
    optimiser = torch.optim.AdamW(vae.parameters(), lr=2e-3, weight_decay=0.0)
    generator = torch.Generator().manual_seed(recipe.seed + 10)
    vae.train()
    for step in range(recipe.vae_steps):
        for group in optimiser.param_groups:
            group["lr"] = _learning_rate(step, recipe.vae_steps, 2e-3)
        chosen = torch.randint(0, len(images), (recipe.vae_batch_size,), generator=generator)
        batch = images[chosen]
        posterior = vae.encode(batch).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator)
        decoded = vae.decode(posterior.mean + posterior.std * noise).sample
        loss = mse_loss(decoded, batch) + 0.2 * l1_loss(decoded, batch) + 1e-5 * posterior.kl().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        progress("autoencoder", step + 1, recipe.vae_steps, float(loss.detach()))
    save_file(vae.state_dict(), finished)
    return vae.eval()


@torch.no_grad()
def _encode_variants(vae: AutoencoderKL, variants: torch.Tensor) -> torch.Tensor:
    flat = variants.flatten(0, 1)
    encoded = torch.cat([vae.encode(part).latent_dist.mode() for part in flat.split(256)])
    return encoded.unflatten(0, variants.shape[:2])


@dataclass
class _Trainee:
    """The two networks that are trained together, their average, and the optimiser: what a checkpoint holds."""

    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    optimiser: torch.optim.Optimizer
    average: dict[str, torch.Tensor]
    step: int = 0

    def named_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        for prefix, network in (("unet", self.unet), ("text_encoder", self.text_encoder)):
            for name, weight in network.named_parameters():
                yield f"{prefix}.{name}", weight

    def save(self, path: Path) -> None:
        state = {
            "unet": self.unet.state_dict(),
            "text_encoder": self.text_encoder.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average,
            "step": self.step,
        }
        temporary = path.with_suffix(".partial")
        torch.save(state, temporary)
        temporary.replace(path)

    def load(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        self.unet.load_state_dict(state["unet"])
        self.text_encoder.load_state_dict(state["text_encoder"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average = state["average"]
        self.step = state["step"]

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        # Early on the average follows closely, so that it never remembers the random initial weights.
        decay = min(decay, (1 + self.step) / (10 + self.step))
        for name, weight in self.named_weights():
            self.average[name].lerp_(weight.detach(), 1 - decay)

    @torch.no_grad()
    def take_average(self) -> None:
        for name, weight in self.named_weights():
            weight.copy_(self.average[name])


def _train_denoiser(
    entries: Sequence[CorpusEntry],
    latents: torch.Tensor,
    plan: SamplePlan,
    tokenizer: CLIPTokenizer,
    recipe: LabRecipe,
    work: Path,
    progress: Progress,
) -> tuple[UNet2DConditionModel, CLIPTextModel]:
    """Denoising loss on planned samples; captions are dropped at random to train the null condition."""
    scheduler = build_scheduler(recipe)
    trainee = _new_trainee(recipe, tokenizer)
    checkpoint = work / "denoiser.checkpoint"
    if checkpoint.is_file():
        trainee.load(checkpoint)
    texts = [entry.text for entry in entries]
    ids = _token_ids(tokenizer, [*texts, ""])
    images, chosen = torch.from_numpy(plan.image), torch.from_numpy(plan.variant)
    trainee.unet.train()
    trainee.text_encoder.train()
    while trainee.step < recipe.steps:
        rate = _learning_rate(trainee.step, recipe.steps, recipe.learning_rate)
        for group in trainee.optimiser.param_groups:
            group["lr"] = rate
        rows = slice(trainee.step * recipe.batch_size, (trainee.step + 1) * recipe.batch_size)
        index, variant = images[rows], chosen[rows]
        # Every step has a generator of its own, so that a resumed training draws what it would have drawn.
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + trainee.step)
        x0 = latents[index, variant]
        noise = torch.randn(x0.shape, generator=generator)
        timesteps = torch.randint(0, scheduler.config["num_train_timesteps"], (len(index),), generator=generator)
        dropped = torch.rand(len(index), generator=generator) < recipe.caption_dropout
        tokens = ids[torch.where(dropped, len(texts), index)]
        noisy = scheduler.add_noise(x0, noise, timesteps)
        target = noise if recipe.prediction_type == "epsilon" else scheduler.get_velocity(x0, noise, timesteps)
        prompt_embeds = trainee.text_encoder(tokens)[0]
        loss = mse_loss(trainee.unet(noisy, timesteps, encoder_hidden_states=prompt_embeds).sample, target)
        trainee.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_((weight for _, weight in trainee.named_weights()), 1.0)
        trainee.optimiser.step()
        trainee.step += 1
        trainee.update_average(recipe.ema_decay)
        progress("denoiser", trainee.step, recipe.steps, float(loss.detach()))
        if trainee.step % recipe.checkpoint_every == 0 or trainee.step == recipe.steps:
            trainee.save(checkpoint)
    trainee.take_average()
    return trainee.unet.eval(), trainee.text_encoder.eval()


def _new_trainee(recipe: LabRecipe, tokenizer: CLIPTokenizer) -> _Trainee:
    unet, text_encoder = build_unet(recipe), build_text_encoder(recipe, tokenizer)
    weights = [*unet.parameters(), *text_encoder.parameters()]
    optimiser = torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=1e-2, betas=(0.9, 0.99))
    trainee = _Trainee(unet, text_encoder, optimiser, {})
    trainee.average = {name: weight.detach().clone() for name, weight in trainee.named_weights()}
    return trainee


def _token_ids(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> torch.Tensor:
    """Token ids as the pipeline makes them: padded and cut to the model's length."""
    ids: torch.Tensor = tokenizer(
        list(texts), padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    ).input_ids
    return ids
