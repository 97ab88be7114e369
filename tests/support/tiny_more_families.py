"""Tiny pipelines of the real classes, of families that were added later: one maker per family."""

from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    AuraFlowPipeline,
    AuraFlowTransformer2DModel,
    CogView4Pipeline,
    CogView4Transformer2DModel,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    HunyuanDiT2DModel,
    HunyuanDiTPipeline,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    PixArtAlphaPipeline,
    PixArtTransformer2DModel,
    UNet2DConditionModel,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    CLIPTextModel,
    Gemma2Config,
    Gemma2Model,
    GlmConfig,
    GlmModel,
    LlamaTokenizer,
    PreTrainedTokenizerFast,
    UMT5Config,
    UMT5EncoderModel,
)

from tests.support.tiny_families import MAKERS as FIRST_MAKERS
from tests.support.tiny_families import (
    SIDE,
    autoencoder,
    clip_config,
    clip_tokenizer,
    gemma_tokenizer,
    randomise,
    t5_encoder,
    t5_tokenizer,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def make_pixart_alpha(side: int = SIDE, **transformer: Any) -> PixArtAlphaPipeline:
    """As PixArt-Sigma; latents of side 128 come with the size of the image."""
    torch.manual_seed(13)
    t5 = t5_tokenizer()
    network = PixArtTransformer2DModel(
        **{
            "sample_size": side, "num_layers": 2, "patch_size": 2, "attention_head_dim": 8, "num_attention_heads": 3,
            "caption_channels": 32, "cross_attention_dim": 24, "interpolation_scale": 1,
        } | transformer
    )  # fmt: skip
    randomise(network)
    return PixArtAlphaPipeline(
        tokenizer=t5, text_encoder=t5_encoder(t5, 32), vae=autoencoder(4), transformer=network,
        scheduler=DPMSolverMultistepScheduler(beta_start=0.0001, beta_end=0.02),
    )  # fmt: skip


def llama_tokenizer(**options: Any) -> LlamaTokenizer:
    """Letters without merges, as they are stored for AuraFlow's text encoder."""
    specials = ("<unk>", "<s>", "</s>", "<pad>")
    pieces = [*specials, "▁", *LETTERS, *(f"▁{letter}" for letter in LETTERS)]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    merges = [("▁", letter) for letter in LETTERS]
    return LlamaTokenizer(vocab=vocabulary, merges=merges, pad_token="<pad>", **({"add_eos_token": True} | options))


def make_aura_flow(**tokenizer: Any) -> AuraFlowPipeline:
    """Rows of padding are zeros, and no mask hides them; a grid of learned positions as large as the latents."""
    torch.manual_seed(14)
    words = llama_tokenizer(**tokenizer)
    network = AuraFlowTransformer2DModel(
        sample_size=SIDE // 2, patch_size=2, in_channels=4, num_mmdit_layers=1, num_single_dit_layers=1,
        attention_head_dim=8, num_attention_heads=3, joint_attention_dim=32, caption_projection_dim=24,
        pos_embed_max_size=(SIDE // 2) ** 2,
    )  # fmt: skip
    randomise(network)
    text_encoder = UMT5EncoderModel(
        UMT5Config(vocab_size=len(words), d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4,
                   feed_forward_proj="gated-gelu")
    )  # fmt: skip
    return AuraFlowPipeline(
        tokenizer=words, text_encoder=text_encoder, vae=autoencoder(4, scaling_factor=0.13), transformer=network,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.73),
    )  # fmt: skip


def make_lumina2(**scheduler: Any) -> Lumina2Pipeline:
    """Gemma's last state but one, places that depend on how much text there is, and flows with their sign turned."""
    torch.manual_seed(15)
    tokenizer = gemma_tokenizer()
    network = Lumina2Transformer2DModel(
        sample_size=SIDE, in_channels=4, hidden_size=24, num_layers=2, num_refiner_layers=1, num_attention_heads=2,
        num_kv_heads=1, multiple_of=8, axes_dim_rope=(4, 4, 4), axes_lens=(300, 16, 16), cap_feat_dim=32,
    )  # fmt: skip
    randomise(network)
    text_encoder = Gemma2Model(
        Gemma2Config(vocab_size=len(tokenizer), hidden_size=32, intermediate_size=37, num_hidden_layers=2,
                     num_attention_heads=2, num_key_value_heads=1, head_dim=16)
    )  # fmt: skip
    return Lumina2Pipeline(
        transformer=network, scheduler=FlowMatchEulerDiscreteScheduler(**({"shift": 6.0} | scheduler)),
        # The pipeline counts eight pixels to a latent whatever the autoencoder does.
        vae=autoencoder(4, levels=4, scaling_factor=0.36, shift_factor=0.1), text_encoder=text_encoder,
        tokenizer=tokenizer,
    )  # fmt: skip


def glm_tokenizer() -> PreTrainedTokenizerFast:
    """Letters after two tokens that begin every text, filled up on the left."""
    specials = ["<|endoftext|>", "[gMASK]", "<sop>"]
    letters = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *specials]
    tokenizer = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    pairs = [(token, letters.index(token)) for token in specials[1:]]
    tokenizer.post_processor = processors.TemplateProcessing(single="[gMASK] <sop> $A", special_tokens=pairs)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=specials[0], padding_side="left")


def make_cogview4(**scheduler: Any) -> CogView4Pipeline:
    """Text in sixteens, seen with its padding; noise levels are shifted, and times are not."""
    torch.manual_seed(16)
    tokenizer = glm_tokenizer()
    network = CogView4Transformer2DModel(
        in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8, num_attention_heads=3, text_embed_dim=32,
        time_embed_dim=16, condition_dim=8, sample_size=SIDE, rope_axes_dim=(16, 16),
    )  # fmt: skip
    randomise(network)
    text_encoder = GlmModel(
        GlmConfig(vocab_size=len(tokenizer), hidden_size=32, intermediate_size=37, num_hidden_layers=2,
                  num_attention_heads=2, num_key_value_heads=1, head_dim=16, pad_token_id=256, eos_token_id=256,
                  initializer_range=0.5)
    )  # fmt: skip
    options = {"base_shift": 0.25, "max_shift": 0.75, "use_dynamic_shifting": True, "time_shift_type": "linear"}
    return CogView4Pipeline(
        tokenizer=tokenizer, text_encoder=text_encoder, vae=autoencoder(4, scaling_factor=0.7), transformer=network,
        scheduler=FlowMatchEulerDiscreteScheduler(**(options | scheduler)),
    )  # fmt: skip


def bert_tokenizer() -> BertTokenizer:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    return BertTokenizer(vocab={piece: number for number, piece in enumerate(pieces)}, model_max_length=77)


def make_hunyuan_dit(**transformer: Any) -> HunyuanDiTPipeline:
    """Two text encoders whose padding is learned, velocities under a schedule of alphas, and sizes beside the text."""
    torch.manual_seed(17)
    words, t5 = bert_tokenizer(), t5_tokenizer()
    t5.model_max_length = 256
    network = HunyuanDiT2DModel(
        **{
            "num_attention_heads": 3, "attention_head_dim": 8, "in_channels": 4, "patch_size": 2, "sample_size": SIDE,
            "hidden_size": 24, "num_layers": 4, "mlp_ratio": 2.0, "cross_attention_dim": 32,
            "cross_attention_dim_t5": 32, "pooled_projection_dim": 16,
        } | transformer
    )  # fmt: skip
    randomise(network)
    text_encoder = BertModel(
        BertConfig(vocab_size=len(words), hidden_size=32, intermediate_size=37, num_hidden_layers=2,
                   num_attention_heads=2, max_position_embeddings=77)
    )  # fmt: skip
    schedule = DDIMScheduler(beta_start=0.00085, beta_end=0.018, beta_schedule="scaled_linear", clip_sample=False,
                             prediction_type="v_prediction", steps_offset=1)  # fmt: skip
    return HunyuanDiTPipeline(
        # The pipeline counts eight pixels to a latent.
        vae=autoencoder(4, levels=4, scaling_factor=0.13), text_encoder=text_encoder, tokenizer=words,
        transformer=network, scheduler=schedule, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False, text_encoder_2=t5_encoder(t5, 32), tokenizer_2=t5,
    )  # fmt: skip


def make_lcm(guidance_width: int | None = 16) -> LatentConsistencyModelPipeline:
    """A UNet that embeds the guidance scale and samples in a few steps."""
    torch.manual_seed(18)
    tokenizer = clip_tokenizer()
    unet = UNet2DConditionModel(
        sample_size=SIDE, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8, cross_attention_dim=32,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4), time_cond_proj_dim=guidance_width,
    )  # fmt: skip
    randomise(unet)
    return LatentConsistencyModelPipeline(
        vae=autoencoder(4), text_encoder=CLIPTextModel(clip_config(tokenizer)), tokenizer=tokenizer, unet=unet,
        scheduler=LCMScheduler(), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


ADDED_MAKERS: dict[str, Callable[[], Any]] = {
    "PixArtAlphaPipeline": make_pixart_alpha,
    "AuraFlowPipeline": make_aura_flow,
    "Lumina2Pipeline": make_lumina2,
    "CogView4Pipeline": make_cogview4,
    "HunyuanDiTPipeline": make_hunyuan_dit,
    "LatentConsistencyModelPipeline": make_lcm,
}

FAMILY_MAKERS = {**FIRST_MAKERS, **ADDED_MAKERS}
"""Makers of every family besides Stable Diffusion's, by pipeline class."""
