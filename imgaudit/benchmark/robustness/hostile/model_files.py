"""Files that break a model: keys, bytes and headers that no valid model has, each with the kind of harm it does."""

from typing import Any

UNET = "unet/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"
SHARD, INDEX = "text_encoder/model-00001-of-00001.safetensors", "text_encoder/model.safetensors.index.json"
PICKLED_SHARD = "pytorch_model-00001-of-00001.bin"
VAE = "vae/diffusion_pytorch_model.safetensors"
TOKENIZER = "tokenizer/tokenizer.json"
TOKENIZER_CONFIG, SPECIAL_TOKENS = "tokenizer/tokenizer_config.json", "tokenizer/special_tokens_map.json"
MODEL_INDEX, SCHEDULER_CONFIG = "model_index.json", "scheduler/scheduler_config.json"
UNET_CONFIG, VAE_CONFIG, TEXT_CONFIG = "unet/config.json", "vae/config.json", "text_encoder/config.json"

DEEP = b'{"a":' * 200_000
"""JSON that is nested deeper than a recursive parser can follow."""

CHANGED_KEYS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("custom code", "component-of-unknown-library", MODEL_INDEX, {"unet": ["my_code", "Net"]}),
    ("custom code", "custom-pipeline-class", MODEL_INDEX, {"_class_name": ["my_code", "Pipeline"]}),
    ("custom code", "auto-map", TEXT_CONFIG, {"auto_map": {"AutoModel": "my_code.Net"}}),
    ("custom code", "auto-map-of-the-tokenizer", TOKENIZER_CONFIG, {"auto_map": ["my_code.Net", None]}),
    ("custom code", "trust-remote-code", UNET_CONFIG, {"trust_remote_code": True}),
    ("custom code", "attention-kernel-from-the-hub", TEXT_CONFIG, {"attn_implementation": "my/kernel"}),
    ("model index", "component-named-like-a-path", MODEL_INDEX, {"a/b": ["diffusers", "AutoencoderKL"]}),
    ("model index", "component-that-goes-up", MODEL_INDEX, {"..": ["diffusers", "AutoencoderKL"]}),
    ("model index", "component-that-is-a-number", MODEL_INDEX, {"vae": 7}),
    ("model index", "component-of-three-parts", MODEL_INDEX, {"vae": ["diffusers", "AutoencoderKL", "x"]}),
    ("model index", "component-that-is-null", MODEL_INDEX, {"unet": [None, None]}),
    ("model index", "component-of-the-wrong-class", MODEL_INDEX, {"unet": ["diffusers", "AutoencoderKL"]}),
    ("model index", "scheduler-that-is-a-pipeline", MODEL_INDEX, {"scheduler": ["diffusers", "FluxPipeline"]}),
    ("model index", "component-left-out", MODEL_INDEX, {"adapter": ["diffusers", "T2IAdapter"]}),
    ("model index", "unsupported-pipeline", MODEL_INDEX, {"_class_name": "StableCascadeCombinedPipeline"}),
    ("absurd size", "absurd-labels", TEXT_CONFIG, {"num_labels": 10**9}),
    ("absurd size", "absurd-channels", UNET_CONFIG, {"in_channels": 10**9}),
    ("absurd size", "absurd-layers", UNET_CONFIG, {"layers_per_block": 10**6}),
    ("absurd size", "absurd-text-layers", TEXT_CONFIG, {"num_hidden_layers": 10**6}),
    ("absurd size", "absurd-vocabulary", TEXT_CONFIG, {"vocab_size": 10**10}),
    ("absurd size", "absurd-blocks", VAE_CONFIG, {"block_out_channels": [2**14] * 3}),
    ("absurd size", "absurd-latents", UNET_CONFIG, {"sample_size": 10**6}),
    ("absurd size", "absurd-schedule", SCHEDULER_CONFIG, {"num_train_timesteps": 10**10}),
    ("absurd size", "absurd-prompt-length", TOKENIZER_CONFIG, {"model_max_length": 10**30}),
    ("wrong config", "text-width-of-another-model", TEXT_CONFIG, {"hidden_size": 64}),
    ("wrong config", "channels-in-words", UNET_CONFIG, {"in_channels": "four"}),
    ("wrong config", "channels-of-another-model", VAE_CONFIG, {"latent_channels": 5}),
    ("wrong config", "latents-without-size", UNET_CONFIG, {"sample_size": None}),
    ("wrong config", "scaling-factor-of-zero", VAE_CONFIG, {"scaling_factor": 0}),
    ("wrong config", "schedule-that-is-not-finite", SCHEDULER_CONFIG, {"beta_end": float("nan")}),
    ("wrong config", "unknown-prediction-type", SCHEDULER_CONFIG, {"prediction_type": "answers"}),
    ("wrong config", "quantised-weights", UNET_CONFIG, {"quantization_config": {"quant_method": "gguf"}}),
    ("wrong config", "condition-that-no-prompt-gives", UNET_CONFIG, {"addition_embed_type": "text_time"}),
    ("paths that leave the folder", "vocabulary-outside", TOKENIZER_CONFIG, {"vocab_file": "/etc/passwd"}),
    ("paths that leave the folder", "gguf-outside", TOKENIZER_CONFIG, {"gguf_file": "/etc/passwd"}),
    ("paths that leave the folder", "special-tokens-outside", SPECIAL_TOKENS, {"tokenizer_file": "/etc/passwd"}),
    ("wrong config", "no-end-of-prompts", TOKENIZER_CONFIG, {"eos_token": None}),
    ("wrong config", "weights-under-another-name", TEXT_CONFIG, {"transformers_weights": "x.safetensors"}),
)
"""Kind, name, JSON file, and the keys of it that are changed."""

OTHER_BYTES: tuple[tuple[str, str, str, bytes], ...] = (
    ("damaged JSON", "model-index-cut-short", MODEL_INDEX, b'{"_class_name": "Stable'),
    ("damaged JSON", "model-index-nested-deeply", MODEL_INDEX, DEEP),
    ("damaged JSON", "model-index-that-is-a-list", MODEL_INDEX, b"[]"),
    ("damaged JSON", "config-nested-deeply", UNET_CONFIG, DEEP),
    ("damaged JSON", "config-that-is-a-list", VAE_CONFIG, b"[1, 2]"),
    ("damaged JSON", "config-that-is-no-text", TEXT_CONFIG, bytes(range(128, 256))),
    ("damaged JSON", "config-of-five-mebibytes", UNET_CONFIG, b'{"a": "' + b"x" * (5 << 20) + b'"}'),
    ("damaged JSON", "tokenizer-nested-deeply", TOKENIZER, DEEP),
    ("damaged JSON", "tokenizer-without-vocabulary", TOKENIZER, b'{"model": {}, "added_tokens": []}'),
    ("lying header", "weights-that-are-empty", UNET, b""),
    ("lying header", "header-longer-than-the-file", UNET, (1 << 60).to_bytes(8, "little") + b"{}"),
    ("lying header", "header-that-is-no-json", UNET, (4).to_bytes(8, "little") + b"abcd"),
    ("lying header", "header-nested-deeply", UNET, len(DEEP).to_bytes(8, "little") + DEEP),
    ("truncated weights", "git-lfs-pointer", UNET, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
)
"""Kind, name, file, and the bytes that take its place."""

LIES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("offsets-beyond-the-file", {"data_offsets": [1 << 49, 1 << 50]}),
    ("offsets-that-are-too-short", {"data_offsets": [0, 4]}),
    ("offsets-in-words", {"data_offsets": "all"}),
    ("shape-unlike-its-bytes", {"shape": [3, 5, 7]}),
    ("shape-that-is-absurd", {"shape": [1 << 40, 1 << 40]}),
    ("shape-that-is-negative", {"shape": [-1, -4]}),
    ("type-that-is-unknown", {"dtype": "PY_OBJECT"}),
)
"""Name, and what the header of the UNet's weights falsely says of the first tensor."""

LINKS = (
    ("linked-weights", UNET, "{outside}/" + UNET),
    ("linked-model-index", MODEL_INDEX, "{outside}/model_index.json"),
    ("linked-config", UNET_CONFIG, "/etc/passwd"),
    ("linked-component", "unet", "{outside}/unet"),
    ("linked-to-another-component", "text_encoder", "unet"),
    ("linked-to-itself", VAE, "diffusion_pytorch_model.safetensors"),
    ("linked-to-a-device", VAE, "/dev/zero"),
)
"""Name, what is replaced by a symbolic link, and where it leads."""

REMOVED = (
    ("missing-weights", VAE),
    ("missing-config", UNET_CONFIG),
    ("missing-vocabulary", TOKENIZER),
)
"""Name, and the file that is taken away."""

DROPPED = (("missing-in-the-text-encoder", TEXT), ("missing-in-the-unet", UNET), ("missing-in-the-vae", VAE))
"""Name, and the file of weights that loses its last tensor."""

LEFT_OUT = (
    ("pickled-lora", "pytorch_lora_weights.bin"),
    ("pickled-embedding", "learned_embeds.bin"),
    ("pickle-of-unknown-purpose", "my-style.pt"),
)
"""Name, and the pickle that is put beside the model."""
