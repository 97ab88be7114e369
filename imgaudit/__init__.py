"""imgaudit: can this text-to-image model reproduce these images, how easily, and how sure are we?

The public names are loaded when they are first used, so that importing the package costs nothing.
"""

from importlib import import_module, metadata
from typing import Any

__version__ = metadata.version("imgaudit")

_HOME = {
    "AuditConfig": "schema.config",
    "AuditResult": "schema.findings",
    "Denoiser": "diffusion.denoiser",
    "Finding": "schema.findings",
    "NullBank": "decision.null_bank",
    "PromptEmbeds": "diffusion.denoiser",
    "Protocol": "schema.config",
    "RunFolder": "runs.folder",
    "Verdict": "schema.findings",
    "invert": "diffusion.inversion",
    "load_model": "models",
    "measure_paired_errors": "diffusion.denoising_error",
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
