"""imgaudit: can this text-to-image model reproduce these images, how easily, and how sure are we?

The public names are loaded when they are first used, so that importing the package costs nothing.
"""

from importlib import import_module, metadata
from typing import Any

__version__ = metadata.version("imgaudit")

_HOME = {
    "AuditConfig": "config",
    "AuditResult": "findings",
    "Denoiser": "denoiser",
    "Finding": "findings",
    "NullBank": "calibration",
    "PromptEmbeds": "denoiser",
    "Protocol": "config",
    "RunFolder": "store",
    "Verdict": "findings",
    "invert": "inversion",
    "load_model": "models",
    "measure_paired_errors": "denoising_error",
}

__all__ = [
    "AuditConfig",
    "AuditResult",
    "Denoiser",
    "Finding",
    "NullBank",
    "PromptEmbeds",
    "Protocol",
    "RunFolder",
    "Verdict",
    "__version__",
    "invert",
    "load_model",
    "measure_paired_errors",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'imgaudit' has no attribute {name!r}")
    return getattr(import_module(f"imgaudit.{_HOME[name]}"), name)
