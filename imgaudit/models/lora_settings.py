"""Settings of a LoRA, as peft writes them: those that a plain LoRA may have, with bounds for those that are used."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.files.inspection import quote
from imgaudit.models.files.weights import Shapes

PLAIN = re.compile(r"\^?[\w.-]+\$?")
"""Names of layers in that configuration. They are used as patterns, and this is all of that language they may use."""

UNUSED_KEYS = frozenset(
    {
        "auto_mapping", "exclude_modules", "layers_pattern", "layers_to_transform", "r", "rank_pattern",
        "target_modules",
    }
)  # fmt: skip
"""Keys of peft's adapter_config.json that repeat what the tensors' names and shapes say; these are read instead."""

HARMLESS_KEYS = frozenset(
    {
        "base_model_name_or_path", "inference_mode", "lora_bias", "lora_dropout", "megatron_core", "peft_type",
        "peft_version", "qalora_group_size", "revision", "task_type", "use_rslora",
    }
)  # fmt: skip
"""Keys of that configuration that may have any value that is text, a number, true, false or null."""


def refuse_lora_settings(path: Path, config: Mapping[str, Any], shapes: Shapes) -> None:
    """Refuse a LoRA whose configuration asks for more than a plain LoRA does: ModelRefusedError.

    path:    the file of weights
    config:  peft's settings by key; a first word and a dot may say which network one is for
    shapes:  of its tensors
    """
    largest = max((min(shape) for shape in shapes.values() if len(shape) > 1), default=0)
    for key, value in config.items():
        # The first word says which network a key is for.
        if not _may_be(key.rpartition(".")[2], value, largest):
            raise ModelRefusedError(
                f"LoRA {quote(path)} sets {key!r:.99} to {value!r:.99}, which is no part of a plain LoRA: "
                "merge it into the model first"
            )


def _may_be(key: str, value: Any, largest: int) -> bool:
    match key:
        case "r":
            return _is_number(value) and 1 <= value <= largest
        case "lora_alpha":
            return _is_number(value)
        case "rank_pattern" | "alpha_pattern":
            most = largest if key == "rank_pattern" else math.inf
            return isinstance(value, dict) and all(
                PLAIN.fullmatch(name) and _is_number(number) and number <= most for name, number in value.items()
            )
        case "target_modules":
            return isinstance(value, list) and all(isinstance(name, str) and PLAIN.fullmatch(name) for name in value)
        case "init_lora_weights":
            # Every weight is in the file, so that how they began matters only where it takes long to compute.
            return value in (True, False, "gaussian")
        case "bias":
            return value == "none"
    return isinstance(value, str | int | float | None) if key in HARMLESS_KEYS else value in (None, False, [], {}, "")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
