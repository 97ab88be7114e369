"""Configurations of strangers' models: what no file may say, and what the parts of a family have to agree on."""

from collections.abc import Callable
from typing import Any

import pytest

from imgaudit.benchmark.robustness.broken_model import BrokenModel
from imgaudit.benchmark.robustness.hostile.model_files import MODEL_INDEX
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models import load_model
from tests.support.tiny_hidream import HIDREAM_MAKERS
from tests.support.tiny_more_families import FAMILY_MAKERS
from tests.support.tiny_newer_families import NEWER_MAKERS
from tests.support.tiny_template_text import TEMPLATE_MAKERS

# Raised inside diffusers' DPM-Solver; nothing of ours can avoid it.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

XL, SD3, FLUX, PIXART, SANA, QWEN, ALPHA, AURA, LUMINA, COGVIEW, HUNYUAN, LCM = FAMILY_MAKERS
FLUX2, KLEIN, Z_IMAGE, KREA, IDEOGRAM, CHROMA = NEWER_MAKERS
QWEN_21, HY_IMAGE, KANDINSKY = TEMPLATE_MAKERS
(HIDREAM,) = HIDREAM_MAKERS

Changes = tuple[tuple[str, str, dict[str, Any], str], ...]
"""Family, file, the keys of it that are changed, and what the refusal says."""

KEYS: Changes = (
    (XL, "text_encoder_2/config.json", {"num_hidden_layers": 10**6}, "far larger network than its weights fill"),
    (XL, "text_encoder_2/config.json", {"projection_dim": 40}, "weights of another shape than its config.json"),
    (XL, "tokenizer_2/tokenizer_config.json", {"auto_map": ["a.B", None]}, "'tokenizer_2/tokenizer_config.json' sets"),
    (XL, "tokenizer_2/tokenizer_config.json", {"vocab_file": "/etc/passwd"}, "which is outside the model's folder"),
    (XL, "tokenizer_2/tokenizer_config.json", {"model_max_length": 10**30}, "'tokenizer_2/tokenizer_config.json' sets"),
    (XL, MODEL_INDEX, {"force_zeros_for_empty_prompt": "no"}, "expected true or false"),
    (XL, MODEL_INDEX, {"text_encoder_2": [None, None]}, "component 'text_encoder_2' is [None, None]"),
    (XL, MODEL_INDEX, {"text_encoder_2": ["transformers", "CLIPTextModel"]}, "those that are CLIPTextModelWithProj"),
    (XL, MODEL_INDEX, {"controlnet": ["diffusers", "ControlNetModel"]}, "is no part of a StableDiffusionXLPipeline"),
    (SD3, "transformer/config.json", {"num_layers": 10**6}, "far larger network than its weights fill"),
    (SD3, "transformer/config.json", {"num_layers": 10**10}, "expected at most 1,000,000"),
    (SD3, "transformer/config.json", {"pos_embed_max_size": 10**6}, "far larger network than its weights fill"),
    (SD3, "transformer/config.json", {"pos_embed_max_size": None, "sample_size": 10**6}, "far larger network than"),
    (SD3, "transformer/config.json", {"caption_projection_dim": 64}, "weights of another shape than its config.json"),
    (SD3, "transformer/config.json", {"patch_size": 0}, "describes no network that can be built"),
    (SD3, "text_encoder_3/config.json", {"d_ff": 10**6}, "far larger network than its weights fill"),
    (SD3, "text_encoder_3/config.json", {"num_layers": 3}, "'text_encoder_3' lacks"),
    (SD3, "text_encoder_3/config.json", {"dense_act_fn": "os.system"}, "describes no network that can be built"),
    (SD3, "tokenizer_3/tokenizer_config.json", {"extra_ids": 10**9}, "sets extra_ids to 1000000000; expected"),
    (SD3, "tokenizer_3/tokenizer_config.json", {"model_max_length": 10**30}, "expected a number from 3 to 10,000"),
    (SD3, "tokenizer_3/tokenizer_config.json", {"vocab": "/etc/passwd"}, "are read from their usual files only"),
    (SD3, "tokenizer_3/tokenizer.json", {"model": {"vocab": {"a": 1}}}, "has no vocabulary of pieces"),
    (SD3, "tokenizer_3/tokenizer.json", {"model": {"vocab": [["a", float("nan")]]}}, "has no vocabulary of pieces"),
    (SD3, "tokenizer_3/tokenizer.json", {"model": {"type": "Unigram", "vocab": [["a", 0.0]]}}, "cannot be loaded"),
    (SD3, "scheduler/scheduler_config.json", {"num_train_timesteps": 10**10}, "expected a number from 1 to 100,000"),
    (SD3, "scheduler/scheduler_config.json", {"shift": float("nan")}, "gives sigmas that are not between 0 and 1"),
    (SD3, "scheduler/scheduler_config.json", {"shift": -3.0}, "gives sigmas that are not between 0 and 1"),
    (SD3, MODEL_INDEX, {"scheduler": ["diffusers", "DDIMScheduler"]}, "those that are FlowMatchEulerDiscreteScheduler"),
    (SD3, MODEL_INDEX, {"tokenizer_3": [None, None]}, "component 'tokenizer_3' is [None, None]"),
    (SD3, MODEL_INDEX, {"text_encoder_3": 7}, "component 'text_encoder_3' must be [library, class]"),
    (SD3, MODEL_INDEX, {"text_encoder_3": ["my_code", "Net"]}, "brings its own code"),
    (FLUX, "transformer/config.json", {"num_single_layers": 10**6}, "far larger network than its weights fill"),
    (FLUX, "text_encoder_2/config.json", {"vocab_size": 10**10}, "expected at most 1,000,000"),
    (FLUX, "transformer/config.json", {"axes_dims_rope": [10**5, 4, 8]}, "expected at most 1,024"),
    (FLUX, MODEL_INDEX, {"text_encoder_2": [None, None]}, "component 'text_encoder_2' is [None, None]"),
    (SANA, "text_encoder/config.json", {"vocab_size": 10**10}, "expected at most 1,000,000"),
    (SANA, "text_encoder/config.json", {"vocab_size": 10**6}, "far larger network than its weights fill"),
    (SANA, "text_encoder/config.json", {"layer_types": None, "num_hidden_layers": 10**5}, "far larger network than"),
    (SANA, "text_encoder/config.json", {"head_dim": 10**6}, "far larger network than its weights fill"),
    (SANA, "text_encoder/config.json", {"head_dim": 8}, "weights of another shape than its config.json"),
    (SANA, "text_encoder/config.json", {"num_hidden_layers": "two"}, "describes no network that can be built"),
    (SANA, "text_encoder/config.json", {"_attn_implementation": "my/kernel"}, "may fetch code from the hub"),
    (SANA, "transformer/config.json", {"num_layers": 10**6}, "far larger network than its weights fill"),
    (SANA, "transformer/config.json", {"interpolation_scale": 1.0, "sample_size": 10**6}, "far larger network than"),
    (SANA, "transformer/config.json", {"caption_channels": 64}, "weights of another shape than its config.json"),
    (SANA, "vae/config.json", {"encoder_block_out_channels": [2**14] * 3}, "far larger network than its weights fill"),
    (SANA, "vae/config.json", {"decoder_layers_per_block": [1, 10**6, 1]}, "far larger network than its weights fill"),
    (SANA, "vae/config.json", {"latent_channels": 8}, "weights of another shape than its config.json"),
    (SANA, "tokenizer/tokenizer_config.json", {"bos_token": None}, "names no token for the beginning, the padding"),
    (SANA, "tokenizer/tokenizer_config.json", {"vocab_file": "/etc/passwd"}, "which is outside the model's folder"),
    (SANA, "tokenizer/tokenizer.json", {"model": {"vocab": {"a": 1}}}, "has no vocabulary with merges"),
    (SANA, "tokenizer/tokenizer.json", {"model": {"vocab": "/etc/passwd", "merges": []}}, "no vocabulary with merges"),
    (SANA, "tokenizer/tokenizer.json", {"normalizer": {"precompiled_charsmap": "%"}}, "normaliser that Gemma does not"),
    (SANA, "scheduler/scheduler_config.json", {"num_train_timesteps": 10**10}, "expected a number from 1 to 100,000"),
    (SANA, "scheduler/scheduler_config.json", {"solver_order": 10**10}, "expected at most 1,000,000"),
    (SANA, "scheduler/scheduler_config.json", {"beta_end": float("nan")}, "gives alphas that are not between 0 and 1"),
    (SANA, MODEL_INDEX, {"text_encoder": ["transformers", "Gemma2ForCausalLM"]}, "those that are Gemma2Model"),
    (SANA, MODEL_INDEX, {"tokenizer": ["transformers", "LlamaTokenizer"]}, "are GemmaTokenizer or GemmaTokenizerFast"),
    (SANA, MODEL_INDEX, {"vae": ["diffusers", "AutoencoderKL"]}, "those that are AutoencoderDC"),
    (SANA, MODEL_INDEX, {"scheduler": ["diffusers", "SCMScheduler"]}, "DPMSolverMultistepScheduler or FlowMatchEuler"),
    (QWEN, "text_encoder/config.json", {"text_config": {"vocab_size": 10**10}}, "expected at most 1,000,000"),
    (QWEN, "text_encoder/config.json", {"text_config": {"num_hidden_layers": 10**5}}, "far larger network than its"),
    (QWEN, "text_encoder/config.json", {"vision_config": {"depth": 10**6}}, "far larger network than its weights fill"),
    (QWEN, "text_encoder/config.json", {"text_config": {"attn_implementation": "my/kernel"}}, "may fetch code from"),
    (QWEN, "text_encoder/config.json", {"vision_config": {"auto_map": {"A": "b.C"}}}, "sets 'auto_map'"),
    (QWEN, "text_encoder/config.json", {"tie_word_embeddings": True, "text_config": 7}, "no network that can be built"),
    (QWEN, "text_encoder/generation_config.json", {"note": "x" * (5 << 20)}, "at most 4,194,304 are read"),
    (QWEN, "transformer/config.json", {"num_layers": 10**6}, "far larger network than its weights fill"),
    (QWEN, "transformer/config.json", {"axes_dims_rope": [1e8, 4, 4]}, "expected at most 1,024"),
    (QWEN, "transformer/config.json", {"joint_attention_dim": 32}, "weights of another shape than its config.json"),
    (QWEN, "vae/config.json", {"base_dim": 10**5}, "far larger network than its weights fill"),
    (QWEN, "vae/config.json", {"z_dim": 8}, "weights of another shape than its config.json"),
    (QWEN, "tokenizer/tokenizer_config.json", {"pad_token": None}, "names no token for the padding"),
    (QWEN, "tokenizer/tokenizer.json", {"normalizer": {"precompiled_charsmap": 0}}, "normaliser that Qwen2 does not"),
    (QWEN, "scheduler/scheduler_config.json", {"use_dynamic_shifting": False, "shift": -3.0}, "gives sigmas that are"),
    (QWEN, MODEL_INDEX, {"text_encoder": ["transformers", "Qwen2VLForConditionalGeneration"]}, "are Qwen2_5_VLFor"),
    (QWEN, MODEL_INDEX, {"vae": ["diffusers", "AutoencoderKLWan"]}, "those that are AutoencoderKLQwenImage"),
    (QWEN, MODEL_INDEX, {"scheduler": ["diffusers", "DPMSolverMultistepScheduler"]}, "that are FlowMatchEulerDiscrete"),
    (QWEN, MODEL_INDEX, {"controlnet": ["diffusers", "QwenImageControlNetModel"]}, "is no part of a QwenImagePipeline"),
    (FLUX2, "transformer/config.json", {"num_single_layers": 10**6}, "far larger network than its weights fill"),
    (FLUX2, "transformer/config.json", {"axes_dims_rope": [10**5, 4, 4, 4]}, "expected at most 1,024"),
    (FLUX2, "text_encoder/config.json", {"text_config": {"vocab_size": 10**10}}, "expected at most 1,000,000"),
    (FLUX2, "text_encoder/config.json", {"vision_config": {"auto_map": {"A": "b.C"}}}, "sets 'auto_map'"),
    (FLUX2, "tokenizer/tokenizer.json", {"model": {"vocab": {"a": 1}}}, "has no vocabulary with merges"),
    (FLUX2, "tokenizer/tokenizer_config.json", {"pad_token": None}, "names no token for the padding"),
    (FLUX2, "vae/config.json", {"patch_size": [1, 1]}, "weights of another shape than its config.json"),
    (FLUX2, MODEL_INDEX, {"tokenizer": ["transformers", "LlamaTokenizer"]}, "those that are PixtralProcessor"),
    (KLEIN, "text_encoder/config.json", {"num_hidden_layers": 10**5, "layer_types": None}, "far larger network than"),
    (KLEIN, MODEL_INDEX, {"is_distilled": "no"}, "expected true or false"),
    (KLEIN, MODEL_INDEX, {"text_encoder": ["transformers", "Qwen2ForCausalLM"]}, "those that are Qwen3ForCausalLM"),
    (Z_IMAGE, "transformer/config.json", {"n_layers": 10**6}, "far larger network than its weights fill"),
    (Z_IMAGE, "transformer/config.json", {"axes_lens": [10**6, 64, 64]}, "expected at most 8,192"),
    (Z_IMAGE, "transformer/config.json", {"cap_feat_dim": 32}, "weights of another shape than its config.json"),
    (KREA, "transformer/config.json", {"num_layers": 10**6}, "far larger network than its weights fill"),
    (KREA, "transformer/config.json", {"num_text_layers": 11}, "weights of another shape than its config.json"),
    (KREA, MODEL_INDEX, {"patch_size": 4}, "sets 'patch_size' to 4; expected 2"),
    (KREA, MODEL_INDEX, {"text_encoder_select_layers": [1, 2]}, "'text_encoder_select_layers' to [1, 2]; exp"),
    (KREA, MODEL_INDEX, {"vae": ["diffusers", "AutoencoderKL"]}, "those that are AutoencoderKLQwenImage"),
    (IDEOGRAM, "unconditional_transformer/config.json", {"num_layers": 10**6}, "far larger network than its weights"),
    (IDEOGRAM, MODEL_INDEX, {"unconditional_transformer": [None, None]}, "those that are Ideogram4Transformer2DModel"),
    (IDEOGRAM, MODEL_INDEX, {"vae": ["diffusers", "AutoencoderKL"]}, "those that are AutoencoderKLFlux2"),
    (CHROMA, "transformer/config.json", {"num_single_layers": 10**6}, "far larger network than its weights fill"),
    (CHROMA, "transformer/config.json", {"approximator_layers": 10**6}, "far larger network than its weights fill"),
    (CHROMA, "text_encoder/config.json", {"vocab_size": 10**10}, "expected at most 1,000,000"),
    (CHROMA, MODEL_INDEX, {"transformer": ["diffusers", "FluxTransformer2DModel"]}, "are ChromaTransformer2DModel"),
    (ALPHA, "transformer/config.json", {"num_layers": 10**6}, "far larger network than its weights fill"),
    (ALPHA, MODEL_INDEX, {"transformer": ["diffusers", "DiTTransformer2DModel"]}, "PixArtTransformer2DModel or Transf"),
    (AURA, "transformer/config.json", {"pos_embed_max_size": 10**6}, "far larger network than its weights fill"),
    (AURA, "transformer/config.json", {"num_single_dit_layers": 10**6}, "far larger network than its weights fill"),
    (AURA, "text_encoder/config.json", {"vocab_size": 10**10}, "expected at most 1,000,000"),
    (AURA, "tokenizer/tokenizer.json", {"model": {"vocab": {"a": 1}}}, "has no vocabulary with merges"),
    (AURA, "tokenizer/tokenizer_config.json", {"pad_token": None}, "names no token for the padding"),
    (AURA, MODEL_INDEX, {"text_encoder": ["transformers", "T5EncoderModel"]}, "those that are UMT5EncoderModel"),
    (AURA, MODEL_INDEX, {"tokenizer": ["transformers", "T5Tokenizer"]}, "are LlamaTokenizer or LlamaTokenizerFast"),
    (LUMINA, "transformer/config.json", {"axes_lens": [300, 10**5, 16]}, "to 100000; expected at most 8,192"),
    (LUMINA, "transformer/config.json", {"axes_dim_rope": [10**5, 4, 4]}, "to 100000; expected at most 1,024"),
    (LUMINA, "transformer/config.json", {"axes_lens": [300] * 9}, "'axes_lens' to 9 numbers; expected at most 8"),
    (LUMINA, "transformer/config.json", {"multiple_of": 10**6}, "far larger network than its weights fill"),
    (LUMINA, "transformer/config.json", {"cap_feat_dim": 16}, "weights of another shape than its config.json"),
    (COGVIEW, "transformer/config.json", {"rope_axes_dim": [10**6, 16]}, "to 1000000; expected at most 1,024"),
    (COGVIEW, "transformer/config.json", {"num_layers": 10**6}, "far larger network than its weights fill"),
    (COGVIEW, "text_encoder/config.json", {"num_hidden_layers": 10**5}, "far larger network than its weights fill"),
    (COGVIEW, "tokenizer/tokenizer.json", {"model": {"vocab": {"a": 1}}}, "has no vocabulary with merges"),
    (COGVIEW, "tokenizer/tokenizer_config.json", {"auto_map": ["a.B", None]}, "'tokenizer/tokenizer_config.json' sets"),
    (COGVIEW, MODEL_INDEX, {"text_encoder": ["transformers", "GlmForCausalLM"]}, "those that are GlmModel"),
    (COGVIEW, MODEL_INDEX, {"transformer": ["diffusers", "CogView3PlusTransformer2DModel"]}, "CogView4Transformer2DM"),
    (HUNYUAN, "transformer/config.json", {"num_layers": 10**6}, "far larger network than its weights fill"),
    (HUNYUAN, "transformer/config.json", {"text_len_t5": 300}, "weights of another shape than its config.json"),
    (HUNYUAN, "text_encoder/config.json", {"max_position_embeddings": 10**10}, "expected at most 1,000,000"),
    (HUNYUAN, "tokenizer/tokenizer.json", {"model": {"vocab": []}}, "has no vocabulary; download"),
    (HUNYUAN, MODEL_INDEX, {"text_encoder": [None, None]}, "component 'text_encoder' is [None, None]"),
    (HUNYUAN, MODEL_INDEX, {"controlnet": ["diffusers", "HunyuanDiT2DControlNetModel"]}, "is no part of a HunyuanDiT"),
    (LCM, MODEL_INDEX, {"scheduler": ["diffusers", "DDIMScheduler"]}, "those that are LCMScheduler"),
    (LCM, "unet/config.json", {"time_cond_proj_dim": 24}, "weights of another shape than its config.json"),
    (QWEN_21, "transformer/config.json", {"num_layers": 10**6}, "far larger network than its weights fill"),
    (QWEN_21, "transformer/config.json", {"axes_dims_rope": [1e8, 4, 4]}, "expected at most 1,024"),
    (QWEN_21, "transformer/config.json", {"context_in_dim": 32}, "weights of another shape than its config.json"),
    (QWEN_21, "text_encoder/config.json", {"text_config": {"num_hidden_layers": 10**5}}, "far larger network than its"),
    (QWEN_21, "processor/tokenizer_config.json", {"auto_map": ["a.B", None]}, "'processor/tokenizer_config.json' sets"),
    (QWEN_21, "processor/tokenizer.json", {"model": {"vocab": {"a": 1}}}, "has no vocabulary with merges"),
    (QWEN_21, MODEL_INDEX, {"processor": ["transformers", "Qwen2VLProcessor"]}, "those that are Qwen3VLProcessor"),
    (QWEN_21, MODEL_INDEX, {"sample_sigmas": [1.0, 0.5]}, "component 'sample_sigmas' must be"),
    (QWEN_21, MODEL_INDEX, {"vae": ["diffusers", "AutoencoderKLQwenImage"]}, "those that are AutoencoderKLQwenImage21"),
    (HY_IMAGE, "transformer/config.json", {"num_single_layers": 10**6}, "far larger network than its weights fill"),
    (HY_IMAGE, "transformer/config.json", {"text_embed_2_dim": 64}, "weights of another shape than its config.json"),
    (HY_IMAGE, "tokenizer_2/tokenizer_config.json", {"extra_ids": 10**9}, "sets extra_ids to 1000000000; expected"),
    (HY_IMAGE, "tokenizer_2/tokenizer_config.json", {"vocab": "/etc/passwd"}, "are read from their usual files only"),
    (HY_IMAGE, "tokenizer_2/tokenizer.json", {"model": {}}, "but its tokens are bytes: remove it"),
    (HY_IMAGE, "guider/guider_config.json", {"guidance_scale": "5"}, "sets 'guidance_scale' to '5'; expected a number"),
    (HY_IMAGE, "guider/guider_config.json", {"guidance_scale": float("nan")}, "to nan; expected a number"),
    (HY_IMAGE, "ocr_guider/guider_config.json", {"start": 7.0}, "'ocr_guider' cannot be loaded"),
    (HY_IMAGE, MODEL_INDEX, {"guider": ["diffusers", "AutoGuidance"]}, "are AdaptiveProjectedMixGuidance from"),
    (KANDINSKY, "transformer/config.json", {"num_visual_blocks": 10**6}, "far larger network than its weights fill"),
    (KANDINSKY, "transformer/config.json", {"in_text_dim": 32}, "weights of another shape than its config.json"),
    (KANDINSKY, "tokenizer_2/tokenizer_config.json", {"model_max_length": 10**30}, "a number from 3 to the 77 pos"),
    (KANDINSKY, "tokenizer/tokenizer_config.json", {"pad_token": None}, "names no token for the padding"),
    (KANDINSKY, MODEL_INDEX, {"tokenizer": ["transformers", "Qwen3VLProcessor"]}, "Qwen2_5_VLProcessor or Qwen2VLP"),
    (HIDREAM, "transformer/config.json", {"num_routed_experts": 10**6}, "far larger network than its weights fill"),
    (HIDREAM, "transformer/config.json", {"caption_channels": [32, 8]}, "weights of another shape than its config"),
    (HIDREAM, "text_encoder_4/config.json", {"num_hidden_layers": 10**6}, "far larger network than its weights fill"),
    (HIDREAM, "tokenizer_4/tokenizer_config.json", {"pad_token": None}, "names no token for the padding"),
    (HIDREAM, MODEL_INDEX, {"text_encoder_4": [None, None]}, "component 'text_encoder_4' is [None, None]"),
    (HIDREAM, MODEL_INDEX, {"scheduler": ["diffusers", "FlowMatchLCMScheduler"]}, "those that are UniPCMultistepSch"),
)  # fmt: skip


def assert_refused(model: BrokenModel, file: str, changes: dict[str, Any], reason: str) -> None:
    model.change(file, changes)
    with pytest.raises(ModelRefusedError) as refused:
        load_model(str(model.path), "cpu")
    message = str(refused.value)
    assert reason in message and message.isprintable() and len(message) < 700


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(("family", "file", "changes", "reason"), KEYS)
def test_what_a_configuration_must_not_say(
    family: str, file: str, changes: dict[str, Any], reason: str, copied_family: Callable[[str], BrokenModel]
) -> None:
    assert_refused(copied_family(family), file, changes, reason)


UNFIT: Changes = (
    (SANA, "vae/config.json", {"scaling_factor": 0}, "scaling_factor is 0"),
    (SANA, "transformer/config.json", {"sample_size": 10**6}, "sample_size is 1000000"),
    (SANA, "transformer/config.json", {"guidance_embeds": True}, "'transformer' lacks"),
    (SANA, "text_encoder/config.json", {"max_position_embeddings": 300}, "but the text encoder reads 300"),
    (SANA, "tokenizer/tokenizer.json", {"post_processor": None}, "of an empty prompt, not a BOS"),
    (SANA, "scheduler/scheduler_config.json", {"prediction_type": "epsilon"}, "samples with 'flow_prediction'"),
    (SANA, "scheduler/scheduler_config.json", {"use_karras_sigmas": True}, "sets 'use_karras_sigmas' to True"),
    (SANA, "scheduler/scheduler_config.json", {"final_sigmas_type": "sigma_min"}, "samples with 'zero'"),
    (SANA, "scheduler/scheduler_config.json", {"use_dynamic_shifting": True}, "does not say how much"),
    (SANA, "scheduler/scheduler_config.json", {"flow_shift": float("nan")}, "expected a number above 0"),
    (SANA, "scheduler/scheduler_config.json", {"flow_shift": -1.0}, "expected a number above 0"),
    (QWEN, "transformer/config.json", {"in_channels": 64, "patch_size": 4}, "another shape than its config.json"),
    (QWEN, "transformer/config.json", {"axes_dims_rope": [8, 4, 2]}, "its parts do not fit together"),
    (QWEN, "vae/config.json", {"latents_std": [1.0, 1.0, 1.0]}, "latents_std is [1.0, 1.0, 1.0]; expected 4 finite"),
    (QWEN, "vae/config.json", {"temperal_downsample": [False, False]}, "'vae' makes other sizes of latents and images"),
    (QWEN, "vae/config.json", {"temperal_downsample": [False] * 10**4}, "sample_size is 128; expected"),
    (QWEN, "text_encoder/config.json", {"return_dict": False}, "its parts do not fit together"),
    (QWEN, "scheduler/scheduler_config.json", {"shift_terminal": 5.0}, "gives timesteps outside of the schedule"),
    (FLUX2, "transformer/config.json", {"guidance_embeds": False}, "weights that its config.json does not describe"),
    (FLUX2, "text_encoder/config.json", {"text_config": {"num_hidden_layers": 40}}, "far larger network than its"),
    (FLUX2, "vae/config.json", {"batch_norm_eps": -1.0}, "batch_norm_eps is -1.0; expected a finite number"),
    (KLEIN, "transformer/config.json", {"guidance_embeds": True}, "'transformer' lacks"),
    (KLEIN, "transformer/config.json", {"axes_dims_rope": [4, 4, 4, 2]}, "its parts do not fit together"),
    (Z_IMAGE, "transformer/config.json", {"axes_lens": [100, 256, 256]}, "axes_lens is [100, 256, 256]; expected at"),
    (Z_IMAGE, "transformer/config.json", {"siglip_feat_dim": 8}, "'transformer' lacks"),
    (Z_IMAGE, "vae/config.json", {"shift_factor": None}, "names no shift_factor"),
    (CHROMA, "vae/config.json", {"shift_factor": None}, "names no shift_factor"),
    (CHROMA, "transformer/config.json", {"axes_dims_rope": [4, 4, 6]}, "its parts do not fit together"),
    (KREA, "transformer/config.json", {"axes_dims_rope": [4, 6, 4]}, "describes no network that can be built"),
    (KREA, "vae/config.json", {"latents_std": [1.0, 1.0, 1.0]}, "latents_std is [1.0, 1.0, 1.0]; expected 4 finite"),
    (ALPHA, "transformer/config.json", {"use_additional_conditions": True}, "'transformer' lacks"),
    (AURA, "vae/config.json", {"shift_factor": 0.1}, "shift_factor is 0.1, which the pipeline does not apply"),
    (AURA, "transformer/config.json", {"in_channels": 16, "out_channels": 16, "patch_size": 1}, "only plain text-to"),
    (LUMINA, "transformer/config.json", {"axes_lens": [200, 16, 16]}, "at least (257, 4, 4)"),
    (LUMINA, "transformer/config.json", {"axes_lens": [300, 3, 16]}, "at least (257, 4, 4)"),
    (LUMINA, "transformer/config.json", {"axes_lens": [300, 16]}, "expected three numbers"),
    (LUMINA, "tokenizer/tokenizer.json", {"post_processor": None}, "of an empty prompt, not a BOS"),
    (COGVIEW, "scheduler/scheduler_config.json", {"shift_terminal": 0.1}, "the scheduler sets 'shift_terminal'"),
    (COGVIEW, "scheduler/scheduler_config.json", {"use_karras_sigmas": True}, "the scheduler sets 'use_karras_sigmas'"),
    (COGVIEW, "vae/config.json", {"shift_factor": 0.1}, "which the pipeline does not apply"),
    (HUNYUAN, "scheduler/scheduler_config.json", {"prediction_type": "sample"}, "predicts epsilon or v_prediction"),
    (HUNYUAN, "transformer/config.json", {"learn_sigma": False}, "weights of another shape than its config.json"),
    (QWEN_21, "transformer/config.json", {"axes_dims_rope": [8, 4, 2]}, "its parts do not fit together"),
    (QWEN_21, "vae/config.json", {"latents_mean": [0.0]}, "latents_mean is [0.0]; expected 4 finite numbers"),
    (HY_IMAGE, "transformer/config.json", {"guidance_embeds": True}, "'transformer' lacks"),
    (HY_IMAGE, "transformer/config.json", {"use_meanflow": True}, "'transformer' lacks"),
    (HY_IMAGE, "transformer/config.json", {"rope_axes_dim": [4, 10]}, "its parts do not fit together"),
    (HY_IMAGE, "vae/config.json", {"scaling_factor": None}, "scaling_factor is None"),
    (HY_IMAGE, MODEL_INDEX, {"guider": [None, None]}, "the pipeline has no guider"),
    (KANDINSKY, "transformer/config.json", {"visual_cond": True}, "weights of another shape than its config.json"),
    (KANDINSKY, "transformer/config.json", {"patch_size": [1, 1, 4]}, "patch_size is [1, 1, 4]; expected [1, 2, 2]"),
    (KANDINSKY, "scheduler/scheduler_config.json", {"stochastic_sampling": True}, "sets 'stochastic_sampling'"),
    (HIDREAM, "scheduler/scheduler_config.json", {"use_flow_sigmas": False}, "which UniPC samples with True"),
    (HIDREAM, "scheduler/scheduler_config.json", {"use_dynamic_shifting": True}, "does not say how much"),
    (HIDREAM, "transformer/config.json", {"llama_layers": [0, 1, 2]}, "its parts do not fit together"),
    (HIDREAM, "transformer/config.json", {"axes_dims_rope": [4, 2, 4]}, "its parts do not fit together"),
    (HIDREAM, "vae/config.json", {"shift_factor": None}, "names no shift_factor"),
)  # fmt: skip


@pytest.mark.parametrize(("family", "file", "changes", "reason"), UNFIT)
def test_what_the_parts_of_a_model_must_agree_on(
    family: str, file: str, changes: dict[str, Any], reason: str, copied_family: Callable[[str], BrokenModel]
) -> None:
    assert_refused(copied_family(family), file, changes, reason)
