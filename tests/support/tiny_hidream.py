"""A tiny HiDream pipeline of the real classes: four text encoders, and experts that tokens choose."""

from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    HiDreamImagePipeline,
    HiDreamImageTransformer2DModel,
    UniPCMultistepScheduler,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from imgaudit.lab.components import train_tokenizer
from tests.conftest import CAPTIONS, tiny_recipe
from tests.support.tiny_families import SIDE, autoencoder, randomise, t5_encoder, t5_tokenizer

POSITIONS = 128
"""Tokens that the pipeline gives every text encoder."""


def llama3_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes after a token that begins every text, with a token for the end and none for padding."""
    specials = ["<|begin_of_text|>", "<|eot_id|>"]
    letters = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *specials]
    tokenizer = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[(specials[0], letters.index(specials[0]))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=specials[0], eos_token=specials[1], model_max_length=1024
    )


def make_hidream(*, scheduler: Any = None, **transformer: Any) -> HiDreamImagePipeline:
    """CLIP's vectors, T5's states and both layers of Llama's, the last of which is read twice.

    scheduler:  by default UniPC's along flows, with which the model is published
    """
    torch.manual_seed(18)
    words = train_tokenizer(CAPTIONS, tiny_recipe(text_positions=POSITIONS))
    t5, llama = t5_tokenizer(), llama3_tokenizer()
    t5.model_max_length = 512
    network = HiDreamImageTransformer2DModel(
        **{
            "patch_size": 2, "in_channels": 4, "num_layers": 1, "num_single_layers": 2, "attention_head_dim": 8,
            "num_attention_heads": 2, "caption_channels": [32, 16], "text_emb_dim": 64, "axes_dims_rope": (4, 2, 2),
            "max_resolution": (SIDE, SIDE), "llama_layers": [0, 1, 1],
        } | transformer
    )  # fmt: skip
    randomise(network)
    clip = CLIPTextConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=37, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=POSITIONS, projection_dim=32, bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id,
    )  # fmt: skip
    encoder = LlamaForCausalLM(
        LlamaConfig(vocab_size=len(llama), hidden_size=16, intermediate_size=16, num_hidden_layers=2,
                    num_attention_heads=2, num_key_value_heads=1, bos_token_id=llama.bos_token_id,
                    eos_token_id=llama.eos_token_id, initializer_range=0.5)
    )  # fmt: skip
    solver = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    pipeline = HiDreamImagePipeline(
        scheduler=scheduler or solver, transformer=network, tokenizer=words,
        text_encoder=CLIPTextModelWithProjection(clip),
        vae=autoencoder(4, scaling_factor=0.36, shift_factor=0.1, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder_2=CLIPTextModelWithProjection(clip), tokenizer_2=words, text_encoder_3=t5_encoder(t5, 32),
        tokenizer_3=t5, text_encoder_4=encoder, tokenizer_4=llama,
    )  # fmt: skip
    # The pipeline sets 128 for every model.
    pipeline.default_sample_size = SIDE
    return pipeline


HIDREAM_MAKERS: dict[str, Callable[[], Any]] = {"HiDreamImagePipeline": make_hidream}
"""By pipeline class, as it is published."""

HIDREAM_DENOISERS: dict[str, Callable[[], Any]] = {"hidream": make_hidream}
"""By the name tests know it by."""
