"""Tiny pipelines of the real classes, one maker each: FLUX.2, Z-Image, Krea 2 and Ideogram 4, whose prompts a chat
model reads, and Chroma."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers import (
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    ChromaPipeline,
    ChromaTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    Ideogram4Pipeline,
    Ideogram4Transformer2DModel,
    Krea2Pipeline,
    Krea2Transformer2DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    PixtralImageProcessor,
    PixtralProcessor,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    Qwen3VLConfig,
    Qwen3VLModel,
)

from tests.support.tiny_families import SIDE, autoencoder, randomise, t5_encoder, t5_tokenizer

QWEN_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
MISTRAL_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'system' %}[SYSTEM_PROMPT]{{ message.content[0].text }}[/SYSTEM_PROMPT]"
    "{% else %}[INST]{{ message.content[0].text }}[/INST]{% endif %}{% endfor %}"
)
PARTS_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% for part in message.content %}{{ part.text }}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""What Qwen3-VL's template makes of messages in parts, which hold text."""

KREA_WORDS = (
    "system", "Describe", " the", " image", " by", " detailing", " color", " shape", " size", " texture", " quantity",
    " text", " spatial", " relationships", " of", " objects", " and", " background", "user", "assistant",
)  # fmt: skip
"""Words of Krea 2's template, so that it has as many tokens as the pipeline counts on."""


def qwen_tokenizer(words: Sequence[str] = ()) -> Qwen2Tokenizer:
    """Bytes, the marks of a conversation, and some whole words."""
    letters = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<|endoftext|>"]
    tokenizer = Qwen2Tokenizer(vocab={letter: number for number, letter in enumerate(letters)}, merges=[])
    tokenizer.add_tokens(["<|im_start|>", "<|im_end|>", "<think>", "</think>"], special_tokens=True)
    tokenizer.add_tokens(list(words))
    tokenizer.chat_template = QWEN_TEMPLATE
    return tokenizer


def mistral_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes, and the marks of a conversation with images."""
    marks = ["<unk>", "<s>", "</s>", "<pad>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[IMG]",
             "[IMG_BREAK]", "[IMG_END]"]  # fmt: skip
    pieces = [*marks, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE(vocab={piece: number for number, piece in enumerate(pieces)}, merges=[]))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    backend.add_special_tokens(marks)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>",
        chat_template=MISTRAL_TEMPLATE,
    )  # fmt: skip


def text_sizes(tokenizer: Any, layers: int) -> dict[str, Any]:
    """Of a language model as narrow as can be, and deep enough for the layers that a pipeline takes."""
    return {
        "vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": layers,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
    }  # fmt: skip


def qwen3_vl(tokenizer: Any, layers: int) -> Qwen3VLModel:
    """A chat model that could look at images as well."""
    return Qwen3VLModel(
        Qwen3VLConfig(
            text_config={**text_sizes(tokenizer, layers), "rope_parameters": {
                "rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e6}},
            vision_config={"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2,
                           "out_hidden_size": 16, "deepstack_visual_indexes": [], "num_position_embeddings": 16},
        )
    )  # fmt: skip


def patched_autoencoder() -> AutoencoderKLFlux2:
    """FLUX.2's, with statistics of its own."""
    vae = AutoencoderKLFlux2(
        block_out_channels=(8, 16), latent_channels=4, norm_num_groups=4, sample_size=16,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    vae.bn.running_mean.copy_(torch.linspace(-0.5, 0.5, 16))
    vae.bn.running_var.copy_(torch.linspace(0.1, 3.0, 16))
    return vae


def flux2_parts(joint_attention_dim: int, guidance_embeds: bool) -> dict[str, Any]:
    """Transformer, autoencoder with statistics of its own, and a scheduler whose shift depends on size and steps."""
    transformer = Flux2Transformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=joint_attention_dim, timestep_guidance_channels=16, axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=guidance_embeds,
    )  # fmt: skip
    randomise(transformer)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    return {"transformer": transformer, "vae": patched_autoencoder(), "scheduler": scheduler}


def make_flux2(with_processor: bool = False) -> Flux2Pipeline:
    """dev: guidance embedded, and Mistral's states, of which 30 layers are needed.

    with_processor:  whether its tokenizer prepares images as well, as the pipeline is published
    """
    torch.manual_seed(13)
    tokenizer = mistral_tokenizer()
    text_encoder = Mistral3ForConditionalGeneration(
        Mistral3Config(
            text_config={"model_type": "mistral", **text_sizes(tokenizer, 30)},
            vision_config={"model_type": "pixtral", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
                           "num_attention_heads": 2, "image_size": 32, "patch_size": 16},
            image_token_index=8,
        )
    )  # fmt: skip
    processor = PixtralProcessor(
        image_processor=PixtralImageProcessor(), tokenizer=tokenizer, chat_template=MISTRAL_TEMPLATE
    )
    pipeline = Flux2Pipeline(
        text_encoder=text_encoder, tokenizer=processor if with_processor else tokenizer, **flux2_parts(48, True)
    )
    # The pipeline sets 128 for every model.
    pipeline.default_sample_size = SIDE
    return pipeline


def make_flux2_klein(is_distilled: bool = False) -> Flux2KleinPipeline:
    """klein: no embedded guidance, and Qwen3's states, of which 27 layers are needed."""
    torch.manual_seed(14)
    tokenizer = qwen_tokenizer()
    text_encoder = Qwen3ForCausalLM(Qwen3Config(**text_sizes(tokenizer, 27)))
    pipeline = Flux2KleinPipeline(
        text_encoder=text_encoder, tokenizer=tokenizer, is_distilled=is_distilled, **flux2_parts(48, False)
    )
    pipeline.default_sample_size = SIDE
    return pipeline


def make_z_image() -> ZImagePipeline:
    """Prompts in a list, and latents as films of one frame."""
    torch.manual_seed(15)
    tokenizer = qwen_tokenizer()
    transformer = ZImageTransformer2DModel(
        in_channels=4, dim=32, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=16,
        axes_dims=[4, 6, 6], axes_lens=[600, 256, 256],
    )  # fmt: skip
    randomise(transformer)
    pipeline = ZImagePipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0), tokenizer=tokenizer,
        text_encoder=Qwen3Model(Qwen3Config(**text_sizes(tokenizer, 3))),
        vae=autoencoder(4, scaling_factor=0.36, shift_factor=0.1, use_quant_conv=False, use_post_quant_conv=False),
    )  # fmt: skip
    # The pipeline makes images of 1024 pixels whatever the model.
    pipeline.default_sample_size = SIDE
    return pipeline


def make_krea2(is_distilled: bool = False) -> Krea2Pipeline:
    """Twelve layers of Qwen3-VL for every token, of which 35 are needed, and padding before the template's end."""
    torch.manual_seed(16)
    tokenizer = qwen_tokenizer(KREA_WORDS)
    transformer = Krea2Transformer2DModel(
        in_channels=16, num_layers=2, attention_head_dim=16, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=32, timestep_embed_dim=16, text_hidden_dim=16, num_text_layers=12,
        text_num_attention_heads=2, text_num_key_value_heads=2, text_intermediate_size=32, num_layerwise_text_blocks=1,
        num_refiner_text_blocks=1, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    randomise(transformer)
    vae = AutoencoderKLQwenImage(
        base_dim=8, z_dim=4, dim_mult=[1, 2], num_res_blocks=1, temperal_downsample=[False],
        latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[1.5, 0.5, 2.0, 1.0],
    )  # fmt: skip
    pipeline = Krea2Pipeline(
        transformer=transformer, vae=vae, text_encoder=qwen3_vl(tokenizer, 35), tokenizer=tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, max_image_seq_len=6400),
        is_distilled=is_distilled,
    )  # fmt: skip
    # The pipeline makes images of 1024 pixels whatever the model.
    pipeline.default_sample_size = SIDE
    return pipeline


def make_ideogram4() -> Ideogram4Pipeline:
    """A network for texts and another one for none, and thirteen layers of Qwen3-VL, of which 36 are needed."""
    torch.manual_seed(20)
    tokenizer = qwen_tokenizer()
    tokenizer.chat_template = PARTS_TEMPLATE
    text_encoder, vae = qwen3_vl(tokenizer, 36), patched_autoencoder()
    networks = {
        name: Ideogram4Transformer2DModel(
            in_channels=16, num_layers=layers, attention_head_dim=16, num_attention_heads=2, intermediate_size=32,
            adaln_dim=16, llm_features_dim=13 * 16, rope_theta=10_000, mrope_section=(4, 2, 2),
        )
        for name, layers in (("transformer", 2), ("unconditional_transformer", 1))
    }  # fmt: skip
    for network in networks.values():
        randomise(network)
    pipeline = Ideogram4Pipeline(
        **networks, vae=vae, text_encoder=text_encoder, tokenizer=tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )  # fmt: skip
    # The pipeline makes images of 2048 pixels whatever the model.
    pipeline.default_sample_size = SIDE
    return pipeline


def make_chroma() -> ChromaPipeline:
    """FLUX.1's shapes, modulated by a network of its own."""
    torch.manual_seed(17)
    t5 = t5_tokenizer()
    transformer = ChromaTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, axes_dims_rope=(4, 4, 8), approximator_num_channels=16, approximator_hidden_dim=32,
        approximator_layers=1,
    )  # fmt: skip
    randomise(transformer)
    pipeline = ChromaPipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=autoencoder(4, scaling_factor=0.36, shift_factor=0.1, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=t5_encoder(t5, 32), tokenizer=t5,
    )  # fmt: skip
    pipeline.default_sample_size = SIDE
    return pipeline


NEWER_MAKERS: dict[str, Callable[[], Any]] = {
    "Flux2Pipeline": lambda: make_flux2(with_processor=True),
    "Flux2KleinPipeline": make_flux2_klein,
    "ZImagePipeline": make_z_image,
    "Krea2Pipeline": make_krea2,
    "Ideogram4Pipeline": make_ideogram4,
    "ChromaPipeline": make_chroma,
}
"""Makers by pipeline class, of pipelines as they are published."""

NEWER_DENOISERS: dict[str, Callable[[], Any]] = {
    "flux2 dev": make_flux2,
    "flux2 klein": make_flux2_klein,
    "flux2 klein distilled": lambda: make_flux2_klein(is_distilled=True),
    "z-image": make_z_image,
    "krea2": make_krea2,
    "krea2 distilled": lambda: make_krea2(is_distilled=True),
    "ideogram4": make_ideogram4,
    "chroma": make_chroma,
}
"""Makers by the name tests know them by, of pipelines as they are loaded."""
