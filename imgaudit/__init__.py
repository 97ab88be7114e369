"""imgaudit: can this text-to-image model reproduce these images, how easily, and how sure are we?

The public names are loaded when they are first used, so that importing the package costs nothing.
"""

from importlib import import_module, metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imgaudit.api import audit, calibrate, compare, measure_shard, merge, read_portfolio, seal
    from imgaudit.decision.null_bank import NullBank
    from imgaudit.diffusion.denoiser import Denoiser, PromptEmbeds
    from imgaudit.diffusion.denoising_error import measure_paired_errors
    from imgaudit.diffusion.inversion import invert
    from imgaudit.io.portfolio import Portfolio
    from imgaudit.mitigation.registry import apply_mitigation
    from imgaudit.models.loading import LoadedModel, load_model
    from imgaudit.report.verification import verify
    from imgaudit.runs.folder import RunFolder
    from imgaudit.schema.comparison import Comparison
    from imgaudit.schema.config import AuditConfig
    from imgaudit.schema.findings import AuditResult, Finding, Verdict
    from imgaudit.schema.policy import Policy
    from imgaudit.schema.protocol import Effort, Framing, Protocol
    from imgaudit.schema.verification import Verification

__version__ = metadata.version("imgaudit")

_NAMES = {
    "api": "audit calibrate compare measure_shard merge read_portfolio seal",
    "decision.null_bank": "NullBank",
    "diffusion.denoiser": "Denoiser PromptEmbeds",
    "diffusion.denoising_error": "measure_paired_errors",
    "diffusion.inversion": "invert",
    "io.portfolio": "Portfolio",
    "mitigation.registry": "apply_mitigation",
    "models.loading": "LoadedModel load_model",
    "report.verification": "verify",
    "runs.folder": "RunFolder",
    "schema.verification": "Verification",
    "schema.comparison": "Comparison",
    "schema.config": "AuditConfig",
    "schema.findings": "AuditResult Finding Verdict",
    "schema.policy": "Policy",
    "schema.protocol": "Effort Framing Protocol",
}
"""The public names of each module."""

_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [
    "AuditConfig", "AuditResult", "Comparison", "Denoiser", "Effort", "Finding", "Framing", "LoadedModel", "NullBank",
    "Policy", "Portfolio", "PromptEmbeds", "Protocol", "RunFolder", "Verdict", "Verification", "__version__",
    "apply_mitigation", "audit", "calibrate", "compare", "invert", "load_model", "measure_paired_errors",
    "measure_shard", "merge", "read_portfolio", "seal", "verify",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'imgaudit' has no attribute {name!r}")
    return getattr(import_module(f"imgaudit.{_HOME[name]}"), name)
