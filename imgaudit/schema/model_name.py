"""How a model is named: a bundled one, something on this computer, or a name on the hub."""

from pathlib import Path

from imgaudit.exceptions import ModelRefusedError

BUNDLED = ("demo", "demo-128")
"""Names of lab models that come with the package."""


def require_named(model: str) -> None:
    """Check that a name is that of a bundled model, of something that exists, or shaped like one on the hub.

    Nothing is opened or fetched. Raises ModelRefusedError with what was expected.
    """
    try:
        is_there = model in BUNDLED or Path(model).exists()
    except OSError as error:
        raise ModelRefusedError(f"model {model!r:.200} cannot be opened: {error.strerror}") from error
    if not is_there and (not is_hub_id(model) or model.endswith((".safetensors", ".gguf"))):
        raise ModelRefusedError(
            f"model {model!r:.200} was not found: expected a model folder (diffusers) or a single file on this "
            f"computer, a bundled model ({', '.join(BUNDLED)}), or a name on the Hugging Face hub (owner/name)"
        )


def is_hub_id(name: str) -> bool:
    """Tell whether a name is shaped like one on the hub, which may or may not be there.

    >>> is_hub_id("owner/name"), is_hub_id("./name"), is_hub_id("name")
    (True, False, False)
    """
    return name.count("/") == 1 and not name.startswith((".", "/", "~"))
