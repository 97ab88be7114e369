"""Tiny pipelines of the real classes whose language model reads prompts in a template, one maker per family."""

from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    AdaptiveProjectedMixGuidance,
    AutoencoderKL,
    AutoencoderKLHunyuanImage,
    AutoencoderKLQwenImage21,
    FlowMatchEulerDiscreteScheduler,
    HunyuanImagePipeline,
    HunyuanImageTransformer2DModel,
    Kandinsky5T2IPipeline,
    Kandinsky5Transformer3DModel,
    QwenImage21Pipeline,
    QwenImage21Transformer2DModel,
)
from tokenizers import pre_tokenizers
from transformers import (
    ByT5Tokenizer,
    CLIPTextConfig,
    CLIPTextModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
    T5Config,
    T5EncoderModel,
)

from tests.support.tiny_families import SIDE, clip_tokenizer, randomise

MARKS = ("<|im_start|>", "<|im_end|>", "<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
"""Tokens of their own in the templates of Qwen's pipelines."""

CONVERSATION = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% for part in message.content %}{{ part.text }}{% endfor %}<|im_end|>\n{% endfor %}"
)
"""What the template of conversations that Qwen3-VL was published with makes of messages that hold text."""


def qwen_tokenizer() -> Qwen2Tokenizer:
    """Letters, and the marks of templates."""
    letters = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<|endoftext|>"]
    tokenizer = Qwen2Tokenizer(vocab={letter: number for number, letter in enumerate(letters)}, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": list(MARKS)})
    return tokenizer


def qwen_encoder(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLForConditionalGeneration:
    """Three layers, as one family reads the third states from the end."""
    return Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(
            text_config={"vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 16,
                         "num_hidden_layers": 3, "num_attention_heads": 2, "num_key_value_heads": 2,
                         "bos_token_id": tokenizer.eos_token_id, "eos_token_id": tokenizer.eos_token_id,
                         "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e6}},
            vision_config={"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2,
                           "out_hidden_size": 16},
        )
    )  # fmt: skip


def make_qwen_image_21(**scheduler: Any) -> QwenImage21Pipeline:
    """Latents as they are, four channels of images, and a language model inside of a processor."""
    torch.manual_seed(13)
    tokenizer = qwen_tokenizer()
    text_encoder = Qwen3VLForConditionalGeneration(
        Qwen3VLConfig(
            text_config={"vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 16, "head_dim": 8,
                         "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
                         "rope_parameters": {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 1e6,
                                             "mrope_interleaved": True}},
            vision_config={"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2,
                           "out_hidden_size": 16, "deepstack_visual_indexes": [0], "num_position_embeddings": 16},
        )
    )  # fmt: skip
    randomise(text_encoder)
    transformer = QwenImage21Transformer2DModel(
        in_channels=4, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=2, context_in_dim=16,
        axes_dims_rope=(8, 4, 4),
    )  # fmt: skip
    randomise(transformer)
    vae = AutoencoderKLQwenImage21(
        base_dim=4, decoder_base_dim=4, z_dim=4, dim_mult=[1, 1, 1, 1, 1], num_res_blocks=1,
        latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[1.5, 0.5, 2.0, 1.0],
    )  # fmt: skip
    processor = Qwen3VLProcessor(
        Qwen2VLImageProcessor(), tokenizer, Qwen3VLVideoProcessor(), chat_template=CONVERSATION
    )
    pipeline = QwenImage21Pipeline(
        transformer=transformer, vae=vae, text_encoder=text_encoder, processor=processor,
        scheduler=FlowMatchEulerDiscreteScheduler(**({"use_dynamic_shifting": True} | scheduler)),
    )  # fmt: skip
    make_small(pipeline)
    return pipeline


def make_hunyuan_image(guidance_scale: float = 3.5, **transformer: Any) -> HunyuanImagePipeline:
    """A language model, bytes of quoted words, and two guiders that begin to project at different steps."""
    torch.manual_seed(14)
    tokenizer, letters = qwen_tokenizer(), ByT5Tokenizer()
    network = HunyuanImageTransformer2DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=8, num_layers=1, num_single_layers=1,
        num_refiner_layers=1, text_embed_dim=16, text_embed_2_dim=32, rope_axes_dim=(4, 4), **transformer,
    )  # fmt: skip
    randomise(network)
    vae = AutoencoderKLHunyuanImage(
        in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(32, 64), layers_per_block=1,
        spatial_compression_ratio=2, sample_size=16, scaling_factor=0.75,
    )  # fmt: skip
    glyphs = T5EncoderModel(
        T5Config(vocab_size=max(letters.get_vocab().values()) + 1, d_model=32, d_kv=8, d_ff=37, num_layers=1,
                 num_heads=4, feed_forward_proj="gated-gelu")
    ).eval()  # fmt: skip
    encoder = qwen_encoder(tokenizer)
    with torch.no_grad():
        # States of the size that trained ones have, and a network that listens to them.
        encoder.get_input_embeddings().weight.mul_(25)
        for block in (*network.transformer_blocks, *network.single_transformer_blocks):
            block.attn.to_v.weight.mul_(4)
        for block in network.transformer_blocks:
            block.attn.add_v_proj.weight.mul_(4)
    pipeline = HunyuanImagePipeline(
        transformer=network, vae=vae, text_encoder=encoder, tokenizer=tokenizer, text_encoder_2=glyphs,
        tokenizer_2=letters, scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
        guider=AdaptiveProjectedMixGuidance(guidance_scale, adaptive_projected_guidance_start_step=1),
        ocr_guider=AdaptiveProjectedMixGuidance(guidance_scale, adaptive_projected_guidance_start_step=2),
    )  # fmt: skip
    make_small(pipeline)
    return pipeline


def make_kandinsky5(**transformer: Any) -> Kandinsky5T2IPipeline:
    """Latents with their channels last, CLIP's pooled vector, and a shift of latents that the pipeline leaves out."""
    torch.manual_seed(15)
    tokenizer, clip = qwen_tokenizer(), clip_tokenizer()
    network = Kandinsky5Transformer3DModel(
        in_visual_dim=4, out_visual_dim=4, in_text_dim=16, in_text_dim2=32, time_dim=16, model_dim=32, ff_dim=32,
        num_text_blocks=1, num_visual_blocks=1, axes_dims=(4, 6, 6), **transformer,
    )  # fmt: skip
    randomise(network)
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8), latent_channels=4, norm_num_groups=4, sample_size=64,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, scaling_factor=0.36,
        shift_factor=0.1,
    )  # fmt: skip
    encoder = CLIPTextModel(
        CLIPTextConfig(vocab_size=len(clip), hidden_size=32, intermediate_size=37, num_hidden_layers=2,
                       num_attention_heads=4, max_position_embeddings=77, bos_token_id=clip.bos_token_id,
                       eos_token_id=clip.eos_token_id, pad_token_id=clip.pad_token_id)
    )  # fmt: skip
    processor = Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(), tokenizer, Qwen2VLVideoProcessor(), chat_template=CONVERSATION
    )
    pipeline = Kandinsky5T2IPipeline(
        transformer=network, vae=vae, text_encoder=qwen_encoder(tokenizer), tokenizer=processor, text_encoder_2=encoder,
        tokenizer_2=clip, scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
    )  # fmt: skip
    make_small(pipeline)
    return pipeline


def make_small(pipeline: Any) -> None:
    """Set the sizes that no file of a model holds, which pipelines have for models of published sizes."""
    pipeline.default_sample_size = SIDE // 2 if isinstance(pipeline, QwenImage21Pipeline) else SIDE
    if isinstance(pipeline, Kandinsky5T2IPipeline):
        # Images of other sizes are rounded to these.
        pipeline.resolutions = [(8 * SIDE, 8 * SIDE), (16 * SIDE, 8 * SIDE), (32, 32)]


TEMPLATE_MAKERS: dict[str, Callable[[], Any]] = {
    "QwenImage21Pipeline": make_qwen_image_21,
    "HunyuanImagePipeline": make_hunyuan_image,
    "Kandinsky5T2IPipeline": make_kandinsky5,
}
