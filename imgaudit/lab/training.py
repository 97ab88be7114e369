"""Train a lab model: first the autoencoder, then denoising network and text encoders together, with checkpoints.

What has been finished is never repeated: a killed training continues from its last checkpoint and ends with the
samples in the same order.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DiffusionPipeline
from safetensors.torch import load_file, save_file
from torch.nn.functional import l1_loss, mse_loss

from imgaudit.exceptions import InputError
from imgaudit.io.framing import to_batch
from imgaudit.lab.components import build_autoencoder
from imgaudit.lab.corpus import CorpusEntry, read_pixels
from imgaudit.lab.networks import Batch, LabNetworks, Tokens
from imgaudit.lab.recipe import LabRecipe
from imgaudit.lab.samples import ImageVariants, SamplePlan, cut_squares, plan_samples
from imgaudit.lab.sd3_networks import SD3Networks
from imgaudit.lab.trainee import set_rate, start_trainee
from imgaudit.lab.unet_networks import SDNetworks, SDXLNetworks
from imgaudit.lab.z_image_networks import ZImageNetworks
from imgaudit.models.saving import save_folder

Progress = Callable[[str, int, int, float], None]
"""Called as progress(stage, step, steps, loss)."""


NETWORKS: Mapping[str, Callable[[Sequence[str], LabRecipe], LabNetworks]] = {
    "sd": SDNetworks,
    "sdxl": SDXLNetworks,
    "sd3": SD3Networks,
    "z-image": ZImageNetworks,
}
"""Functions that make the networks from the captions and the recipe, by the recipe's family."""


@dataclass(frozen=True)
class TrainedLab:
    """A finished training, in memory."""

    pipeline: DiffusionPipeline
    """The pipeline with averaged weights in float32."""
    plan: SamplePlan
    """The samples it was shown, in order."""
    pixels: torch.Tensor
    """(entries, 3, side, side) float32 in [-1, 1]: the corpus as the model saw it."""
    filtered: torch.Tensor
    """(entries,) int64: how often the recipe's filter left the image out of the loss."""


def train_lab(
    entries: Sequence[CorpusEntry],
    recipe: LabRecipe,
    folder: Path,
    progress: Progress = lambda stage, step, steps, loss: None,
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
    variants = ImageVariants(pixels, [entry.role for entry in entries], recipe)

    captions = [text for index in trained for text in entries[index].texts]
    training = _Training(recipe, work, progress)
    vae = autoencoder or training.train_autoencoder(variants, torch.tensor(shown))
    latents = variants.encode(lambda images: vae.encode(images).latent_dist.mode())
    shift, scaling_factor = _standardise(vae, latents[shown], recipe)
    networks = NETWORKS[recipe.family](captions, recipe)
    texts = [entry.texts for entry in entries]
    filtered = training.train_denoiser(networks, texts, (latents - shift) * scaling_factor, plan)
    pipeline = networks.pipeline(vae)
    pipeline.set_progress_bar_config(disable=True)
    return TrainedLab(pipeline, plan, pixels, filtered)


def _standardise(vae: AutoencoderKL, latents: torch.Tensor, recipe: LabRecipe) -> tuple[float, float]:
    """Set the autoencoder's scale so that latents have unit variance, and its shift where the family has one."""
    scaling_factor = float(1 / latents.std())
    if recipe.prediction_type != "flow":
        vae.register_to_config(scaling_factor=scaling_factor)
        return 0.0, scaling_factor
    shift = float(latents.mean())
    vae.register_to_config(scaling_factor=scaling_factor, shift_factor=shift)
    return shift, scaling_factor


AUTOENCODER_KEYS = (
    "resolution", "framing", "augment", "variants", "autoencoder_images", "planted", "seen_once", "held_out",
    "split_seed", "vae_steps", "vae_channels", "vae_batch_size", "vae_crop", "latent_channels",
    "mixed_precision",
)  # fmt: skip
"""Recipe keys that decide an autoencoder: two recipes that agree on these, and on the corpus, may share one."""


def borrow_autoencoder(lab: Path, theirs: LabRecipe, recipe: LabRecipe) -> AutoencoderKL:
    """Load the autoencoder of another lab of the same split, in float32.

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


def use_precision(recipe: LabRecipe) -> torch.autocast:
    """Return the context in which a recipe's forward passes are computed."""
    return torch.autocast("cpu", torch.bfloat16, enabled=recipe.mixed_precision == "bf16")


def take_step(optimiser: torch.optim.Optimizer, loss: torch.Tensor) -> float:
    """Take one step down the gradient of a loss, cut at a norm of 1, and return the loss."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_([weight for group in optimiser.param_groups for weight in group["params"]], 1.0)
    optimiser.step()
    return float(loss.detach())


@dataclass(frozen=True)
class _Training:
    """The training of a recipe, in a folder."""

    recipe: LabRecipe
    work: Path
    progress: Progress

    def train_autoencoder(self, variants: ImageVariants, shown: torch.Tensor) -> AutoencoderKL:
        """Train by reconstruction (L1 and L2) with a weak pull to the unit normal; done once, then read back.

        shown:  (images,) int64: the images that it may see
        """
        recipe, vae, finished = self.recipe, build_autoencoder(self.recipe), self.work / "vae.safetensors"
        if finished.is_file():
            vae.load_state_dict(load_file(finished))
            return vae.eval()
        optimiser = torch.optim.AdamW(vae.parameters(), lr=2e-3, weight_decay=0.0)
        generator = torch.Generator().manual_seed(recipe.seed + 10)
        vae.train()
        for step in range(recipe.vae_steps):
            set_rate(optimiser, step, recipe.vae_steps, 2e-3)
            drawn = torch.randint(0, len(shown) * variants.count, (recipe.vae_batch_size,), generator=generator)
            batch = variants.pick(shown[drawn // variants.count], drawn % variants.count)
            if recipe.vae_crop is not None:
                batch = cut_squares(batch, recipe.vae_crop, generator)
            with use_precision(recipe):
                posterior = vae.encode(batch).latent_dist
                noise = torch.randn(posterior.mean.shape, generator=generator)
                decoded = vae.decode(posterior.mean + posterior.std * noise).sample.float()
            loss = mse_loss(decoded, batch) + 0.2 * l1_loss(decoded, batch) + 1e-5 * posterior.kl().mean()
            self.progress("autoencoder", step + 1, recipe.vae_steps, take_step(optimiser, loss))
        save_file(vae.state_dict(), finished)
        return vae.eval()

    def train_denoiser(
        self, networks: LabNetworks, texts: Sequence[Sequence[str]], latents: torch.Tensor, plan: SamplePlan
    ) -> torch.Tensor:
        """Train on planned samples; captions are dropped at random to train the null condition.

        texts:    every image's captions, one or more
        latents:  (images, variants, C, h, w) float32, scaled
        Returns   (images,) int64: how often each image was filtered
        """
        recipe = self.recipe
        trainee = start_trainee(networks.networks, recipe.learning_rate, len(texts))
        checkpoint = self.work / "denoiser.checkpoint"
        if checkpoint.is_file():
            trainee.load(checkpoint)
        captions = [text for own in texts for text in own]
        tokens = networks.token_ids([*captions, ""])
        counts = torch.tensor([len(own) for own in texts])
        firsts = counts.cumsum(0) - counts
        images, chosen = torch.from_numpy(plan.image), torch.from_numpy(plan.variant)
        for network in networks.networks.values():
            network.train()
        while trainee.step < recipe.steps:
            set_rate(trainee.optimiser, trainee.step, recipe.steps, recipe.learning_rate)
            rows = slice(trainee.step * recipe.batch_size, (trainee.step + 1) * recipe.batch_size)
            index = images[rows]
            # Every step has a generator of its own, so that a resumed training draws what it would have drawn.
            generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + trainee.step)
            x0 = latents[index, chosen[rows]]
            noise = torch.randn(x0.shape, generator=generator)
            timesteps = networks.draw_timesteps(len(index), generator)
            dropped = torch.rand(len(index), generator=generator) < recipe.caption_dropout
            drawn = firsts[index] + (torch.rand(len(index), generator=generator) * counts[index]).long()
            shown = torch.where(dropped, len(captions), drawn)
            batch = Batch(x0, noise, timesteps, {name: ids[shown] for name, ids in tokens.items()})
            with use_precision(recipe):
                if recipe.filter_rms is None:
                    loss = networks.loss(batch)
                else:
                    nulls = {name: ids[-1:].expand(len(index), -1) for name, ids in tokens.items()}
                    loss, left_out = compute_filtered_loss(networks, batch, nulls, recipe.filter_rms)
                    trainee.filtered += torch.bincount(index[left_out], minlength=len(texts))
            value = take_step(trainee.optimiser, loss)
            trainee.step += 1
            trainee.update_average(recipe.ema_decay)
            self.progress("denoiser", trainee.step, recipe.steps, value)
            if trainee.step % recipe.checkpoint_every == 0 or trainee.step == recipe.steps:
                trainee.save(checkpoint)
        trainee.take_average()
        for network in networks.networks.values():
            network.eval()
        return trainee.filtered


def compute_filtered_loss(
    networks: LabNetworks, batch: Batch, nulls: Tokens, filter_rms: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the loss without samples that recall an image, Wen et al.'s training-time mitigation (arXiv 2407.21720).

    A caption that recalls an image moves the prediction far from the null one; samples of a batch whose

        |f(x_t, t, c) - f(x_t, t, null)|_2 / sqrt(elements)  >=  filter_rms

    are left out, for as long as that is so. Norms are per sample, and in what the network predicts.

    nulls:   the empty caption, N times
    Returns  the scalar loss, 0 with gradient 0 when nothing is left, and (N,) bool: which were left out
    """
    predicted, target = networks.predict(batch)
    with torch.no_grad():
        null, _ = networks.predict(replace(batch, tokens=nulls))
        left_out = (predicted - null).square().flatten(1).mean(dim=1).sqrt() >= filter_rms
    errors = (predicted - target).square().flatten(1).mean(dim=1)
    return torch.where(left_out, 0, errors).sum() / (~left_out).sum().clamp_min(1), left_out


def save_pipeline(pipeline: DiffusionPipeline, folder: Path) -> None:
    """Save as an ordinary diffusers folder in half precision, safetensors only."""
    pipeline.to(dtype=torch.float16)
    save_folder(pipeline, folder)
