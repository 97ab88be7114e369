"""Lab models of Z-Image's family: a transformer that reads text and image as one sequence, and Qwen3 for the text."""

import json
from collections.abc import Iterable, Sequence

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, ZImagePipeline, ZImageTransformer2DModel
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3Model

from imgaudit.lab.components import compute_latent_side
from imgaudit.lab.networks import HEAD, TIMESTEPS, FlowNetworks, Tokens, build_flow_scheduler
from imgaudit.lab.recipe import LabRecipe

TEXT_ENCODER = "text_encoder"
MASK = "attention_mask"
MAX_LENGTH = 512
"""Tokens that the pipeline reads of a prompt and the template around it, whatever the model."""
PATCH = 2
"""Side of the squares of latents that are one token, as the pipeline has it."""
AXES = (8, 12, 12)
"""Parts of a head that tell a token's place in the text, its row and its column; together the width of a head."""
REFINERS = 1
"""Layers that text and image have each for itself, before those that they share."""
END = "<|endoftext|>"
MARKS = ("<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""What a user says to a model that is about to answer, as Qwen3's own template writes it."""


def train_chat_tokenizer(captions: Iterable[str], recipe: LabRecipe) -> Qwen2Tokenizer:
    """Train a Qwen2Tokenizer whose byte-pair merges are learned from the captions and the words of the template."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.NFC()
    learner.pre_tokenizer = Qwen2Tokenizer().backend_tokenizer.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocabulary - len(MARKS),
        # Ties between merges are broken by the letters' numbers, which differ from run to run unless they are given.
        special_tokens=[*letters, END],
        show_progress=False,
    )
    # The words of the template stand around every caption, so they are the first that are one token.
    learner.train_from_iterator([f"user\n{caption}\nassistant\n" for caption in sorted(set(captions))], trainer)
    learned = json.loads(learner.to_str())["model"]
    merges = [tuple(pair) for pair in learned["merges"]]
    tokenizer = Qwen2Tokenizer(vocab=learned["vocab"], merges=merges, model_max_length=MAX_LENGTH)
    tokenizer.add_tokens(list(MARKS), special_tokens=True)
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def build_qwen3(recipe: LabRecipe, tokenizer: Qwen2Tokenizer) -> Qwen3Model:
    """Build an untrained Qwen3 for `tokenizer`."""
    torch.manual_seed(recipe.seed + 1)
    heads = max(1, recipe.text_width // HEAD)
    return Qwen3Model(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=recipe.text_width,
            intermediate_size=2 * recipe.text_width,
            num_hidden_layers=recipe.text_layers,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            head_dim=HEAD,
            max_position_embeddings=MAX_LENGTH,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_transformer(recipe: LabRecipe) -> ZImageTransformer2DModel:
    """Build an untrained ZImageTransformer2DModel; its number of places for the image is the recipe's size."""
    places = compute_latent_side(recipe) // PATCH
    heads = recipe.transformer_width // HEAD
    torch.manual_seed(recipe.seed + 2)
    return ZImageTransformer2DModel(
        in_channels=recipe.latent_channels,
        dim=recipe.transformer_width,
        n_layers=recipe.transformer_layers,
        n_refiner_layers=REFINERS,
        n_heads=heads,
        n_kv_heads=heads,
        cap_feat_dim=recipe.text_width,
        axes_dims=AXES,
        # Texts are counted from 1, and the image has the place after the text.
        axes_lens=(MAX_LENGTH + 2, places, places),
    )


class ZImageNetworks(FlowNetworks):
    """Z-Image's: the last states but one of a chat model that reads the caption as what a user says."""

    def __init__(self, captions: Sequence[str], recipe: LabRecipe) -> None:
        self.recipe = recipe
        self.tokenizer = train_chat_tokenizer(captions, recipe)
        self.networks = {
            "transformer": build_transformer(recipe),
            TEXT_ENCODER: build_qwen3(recipe, self.tokenizer),
        }

    def token_ids(self, captions: Sequence[str]) -> Tokens:
        """Return ids, padded to the longest caption, and a mask that shows all but the padding."""
        talks = [[{"role": "user", "content": caption}] for caption in captions]
        filled = self.tokenizer.apply_chat_template(talks, tokenize=False, add_generation_prompt=True)
        read = self.tokenizer(filled, padding="longest", max_length=MAX_LENGTH, truncation=True, return_tensors="pt")
        return {TEXT_ENCODER: read.input_ids, MASK: read.attention_mask}

    def predict_velocity(self, noisy: torch.Tensor, timesteps: torch.Tensor, tokens: Tokens) -> torch.Tensor:
        """Call the transformer as the pipeline does: time runs from noise to image, and the output is negated."""
        lengths = tokens[MASK].sum(dim=1)
        # Every state depends on the tokens before it alone, so padding behind a text need not be hidden or even read.
        ids = tokens[TEXT_ENCODER][:, : int(lengths.max())]
        states = self.networks[TEXT_ENCODER](ids, output_hidden_states=True, use_cache=False).hidden_states[-2]
        texts = [text[:length] for text, length in zip(states, lengths.tolist(), strict=True)]
        time = 1 - (timesteps + 1) / TIMESTEPS
        # Latents are films of one frame.
        output: list[torch.Tensor] = self.networks["transformer"](list(noisy[:, :, None]), time, texts).sample
        return -torch.stack(output)[:, :, 0]

    def pipeline(self, vae: AutoencoderKL) -> DiffusionPipeline:
        """Return a ZImagePipeline."""
        return ZImagePipeline(vae=vae, scheduler=build_flow_scheduler(), tokenizer=self.tokenizer, **self.networks)
