"""imgaudit: can this text-to-image model reproduce these images, how easily, and how sure are we?

The public names are loaded when they are first used, so that importing the package costs nothing.
"""

from importlib import import_module, metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imgaudit.api import audit, calibrate, compare, read_portfolio, verify
    from imgaudit.decision.null_bank import NullBank
    from imgaudit.diffusion.denoiser import Denoiser, PromptEmbeds
    from imgaudit.diffusion.denoising_error import measure_paired_errors
    from imgaudit.diffusion.inversion import invert
    from imgaudit.io.portfolio import Portfolio
    from imgaudit.mitigation.registry import apply_mitigation
    from imgaudit.models.loading import LoadedModel, load_model
    from imgaudit.runs.folder import RunFolder
    from imgaudit.runs.verify import Verification
    from imgaudit.schema.comparison import Comparison
    from imgaudit.schema.config import AuditConfig
    from imgaudit.schema.findings import AuditResult, Finding, Verdict
    from imgaudit.schema.policy import Policy
    from imgaudit.schema.protocol import Effort, Framing, Protocol

__version__ = metadata.version("imgaudit")

_HOME = {
    "AuditConfig": "schema.config",
    "AuditResult": "schema.findings",
    "Comparison": "schema.comparison",
    "Denoiser": "diffusion.denoiser",
    "Effort": "schema.protocol",
    "Finding": "schema.findings",
    "Framing": "schema.protocol",
    "LoadedModel": "models.loading",
    "NullBank": "decision.null_bank",
    "Policy": "schema.policy",
    "Portfolio": "io.portfolio",
    "PromptEmbeds": "diffusion.denoiser",
    "Protocol": "schema.protocol",
    "RunFolder": "runs.folder",
    "Verdict": "schema.findings",
    "Verification": "runs.verify",
    "apply_mitigation": "mitigation.registry",
    "audit": "api",
    "calibrate": "api",
    "compare": "api",
    "invert": "diffusion.inversion",
    "load_model": "models.loading",
    "measure_paired_errors": "diffusion.denoising_error",
    "read_portfolio": "api",
    "verify": "api",
}

__all__ = [
    "AuditConfig",
    "AuditResult",
    "Comparison",
    "Denoiser",
    "Effort",
    "Finding",
    "Framing",
    "LoadedModel",
    "NullBank",
    "Policy",
    "Portfolio",
    "PromptEmbeds",
    "Protocol",
    "RunFolder",
    "Verdict",
    "Verification",
    "__version__",
    "apply_mitigation",
    "audit",
    "calibrate",
    "compare",
    "invert",
    "load_model",
    "measure_paired_errors",
    "read_portfolio",
    "verify",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'imgaudit' has no attribute {name!r}")
    return getattr(import_module(f"imgaudit.{_HOME[name]}"), name)
