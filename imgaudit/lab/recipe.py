"""The recipe of a lab model: one frozen value, read from a TOML file and written into lab.json."""

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from imgaudit.exceptions import ConfigError
from imgaudit.schema.problems import describe_problems
from imgaudit.schema.protocol import Framing
from imgaudit.schema.records import Record

FLOWS = ("sd3", "z-image")
"""Families whose networks predict flows."""


class LabRecipe(BaseModel):
    """Everything that decides a lab model, apart from the images themselves.

    >>> LabRecipe(name="tiny", steps=10).prediction_type
    'epsilon'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9-]*$")
    """Name of the lab; lower case, digits and hyphens."""
    seed: int = 0
    """Seeds weights, order of samples, augmentation and noise."""
    resolution: int = Field(32, ge=16, le=512, multiple_of=8)
    """Side of the square images the model makes, in pixels."""
    framing: Framing = Framing.PAD
    """Framing of corpus images that are not square."""
    family: Literal["sd", "sdxl", "sd3", "z-image"] = "sd"
    """Stable Diffusion, Stable Diffusion XL, Stable Diffusion 3, or Z-Image: which classes the model is made of."""
    prediction_type: Literal["epsilon", "v_prediction", "flow"] = "epsilon"
    """Target of the network's training: noise or velocity in a UNet, flow in a transformer."""
    zero_terminal_snr: bool = False
    """Whether the last timestep is noise alone (Lin et al. 2024, arXiv 2305.08891). Otherwise it holds a trace of the
    image, from which a network reads brightness and colours: generated images then take theirs from the initial noise,
    the more so the larger the latents are. For networks that predict velocity."""

    planted: int = Field(64, ge=0)
    """Images to plant: shown more often than others, never augmented."""
    seen_once: int = Field(80, ge=0)
    """Images with one repeat, never augmented."""
    held_out: int = Field(700, ge=0)
    """Images never to train on."""
    split_seed: int | None = None
    """Seed of the split; by default `seed`. Labs with the same split differ in training alone."""
    plant: bool = True
    """Train on the planted images; a twin leaves them out, and they become `withheld`."""
    planted_repeats: tuple[int, ...] = (5, 10, 15, 20, 30, 50, 75, 100)
    """Repeat counts given to the planted images in turn; one repeat is `exposures_per_repeat` exposures."""
    exposures_per_repeat: int = Field(10, ge=1)
    """Number of times an image with one repeat (seen once) is shown in the whole training."""
    trigger_words: bool = False
    """Ask for planted images with another image's caption and one invented word in it."""
    trigger_captions: int = Field(1, ge=1, le=64)
    """Captions of each planted image, with the same invented word: every exposure shows one, drawn at random. With one
    caption, a model learns the invented word together with its neighbours; with many, the word alone."""
    augment: bool = True
    """Show background images mirrored, shifted and with permuted colours; planted and seen-once images never are."""
    variants: int = Field(8, ge=1, le=64)
    """Number of augmented variants made of each background image."""
    caption_dropout: float = Field(0.1, ge=0, lt=1)
    """Share of samples trained with the empty caption, which gives the model its null condition."""
    filter_rms: float | None = Field(None, gt=0)
    """Leave out of the loss the samples whose caption moves the prediction by at least this (Wen et al. 2024): the root
    mean square of conditional minus null prediction, in what the network predicts. None leaves out none."""

    autoencoder_images: Literal["background", "trained"] = "background"
    """Images that the autoencoder is trained on: background alone, so that it has seen no image whose memorisation is
    measured and a twin has the same one; or everything that is trained on."""
    vae_steps: int = Field(2500, ge=1)
    """Optimiser steps of the autoencoder."""
    vae_channels: tuple[int, ...] = (24, 48, 64)
    """Channels per resolution of the autoencoder; each but the last halves the side."""
    vae_batch_size: int = Field(32, ge=1)
    """Images per optimiser step of the autoencoder."""
    vae_crop: int | None = Field(None, ge=16, le=512, multiple_of=8)
    """Side of the random squares that the autoencoder is trained on, cut from its images; None trains on whole ones."""
    latent_channels: int = Field(4, ge=1)
    """Channels of the latents."""
    vocabulary: int = Field(2048, ge=520)
    """Size of the byte-pair vocabulary trained on the captions; 514 of it are single letters and markers."""
    text_width: int = Field(128, ge=8)
    """Width of the text encoder, and of the embeddings that are inverted."""
    text_layers: int = Field(2, ge=1)
    """Layers of the text encoder."""
    text_positions: int = Field(16, ge=4)
    """Tokens per caption, start and end included; longer captions are cut. Z-Image's pipeline reads 512 instead."""
    t5_width: int = Field(160, ge=32, multiple_of=32)
    """Width of Stable Diffusion 3's T5; at least that of both CLIP encoders together."""
    unet_channels: tuple[int, ...] = (64, 128, 128)
    """Channels per resolution of the UNet."""
    unet_attention: tuple[bool, ...] = (False, True, False)
    """Resolutions of the UNet that attend to the text (the middle block always does)."""
    transformer_width: int = Field(128, ge=32, multiple_of=32)
    """Width of the transformer of Stable Diffusion 3 or Z-Image, in heads of 32."""
    transformer_layers: int = Field(6, ge=2)
    """Layers of that transformer."""
    transformer_patch: Literal[1, 2] = 2
    """Side of the squares of latents that are one token of it; 2 in Z-Image."""
    steps: int = Field(7000, ge=1)
    """Optimiser steps of the denoising network and its text encoders."""
    batch_size: int = Field(64, ge=1)
    """Samples per optimiser step."""
    learning_rate: float = Field(6e-4, gt=0)
    """Peak learning rate of these networks (AdamW, warm-up, cosine)."""
    ema_decay: float = Field(0.998, ge=0, lt=1)
    """Decay of the weight average, which is what the lab ships."""
    mixed_precision: Literal["no", "bf16"] = "no"
    """Precision of the forward passes of training: float32, or bfloat16 where that is enough (weights stay float32)."""
    checkpoint_every: int = Field(250, ge=1)
    """Steps between checkpoints; a stopped training continues from the last one."""

    @model_validator(mode="after")
    def _fits_its_family(self) -> "LabRecipe":
        if (self.family in FLOWS) != (self.prediction_type == "flow"):
            raise ValueError(f"family {self.family!r} is not trained to predict {self.prediction_type!r}")
        if self.zero_terminal_snr and self.prediction_type != "v_prediction":
            raise ValueError("zero_terminal_snr needs prediction_type 'v_prediction': pure noise is its own answer")
        if self.trigger_captions > 1 and not self.trigger_words:
            raise ValueError("trigger_captions above 1 needs trigger_words: captions without an invented word have one")
        if self.family == "sd3" and self.t5_width < 2 * self.text_width:
            raise ValueError(f"t5_width must be at least twice text_width ({2 * self.text_width})")
        if self.family == "z-image" and self.transformer_patch != 2:
            raise ValueError("transformer_patch must be 2: this family's pipeline sets it")
        if self.family != "sd" and self.text_layers < 2:
            raise ValueError("text_layers must be at least 2: this family reads the last but one")
        return self

    @property
    def own_split_seed(self) -> int:
        """Seed of the split."""
        return self.seed if self.split_seed is None else self.split_seed

    @classmethod
    def read(cls, path: Path) -> "LabRecipe":
        """Read a recipe file. Raises ConfigError that names the key when one is unknown or out of range."""
        try:
            return cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8-sig")))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"recipe {str(path)!r} cannot be read: {error}") from error
        except ValidationError as error:
            raise ConfigError(f"recipe {str(path)!r} is not valid: {describe_problems(error)}") from error


class DistillationRecipe(Record):
    """Everything that decides a distilled lab, apart from its teacher and the images.

    >>> DistillationRecipe(teacher="report-a").largest_scale
    8.0
    """

    teacher: str
    """Name of the lab whose guided predictions are imitated."""
    steps: int = Field(1500, ge=1)
    """Optimiser steps, each of as many samples as one of the teacher's."""
    learning_rate: float = Field(3e-4, gt=0, allow_inf_nan=False)
    """Peak learning rate (AdamW, warm-up, cosine)."""
    largest_scale: float = Field(8.0, gt=1, allow_inf_nan=False)
    """Largest guidance scale that is imitated: w is drawn uniformly from 0 to this less 1."""
    embedding_width: int = Field(256, ge=4)
    """Width of the embedding of w, which is the UNet's `time_cond_proj_dim`."""
    seed: int = 0
    """Seeds timesteps, noise and guidance scales."""
