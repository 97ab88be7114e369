"""What the command line says of the model, and the model itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from imgaudit.models import LoadedModel


@dataclass(frozen=True)
class ModelChoice:
    """A model, and how it is to be loaded."""

    name: str
    """Folder, single file, hub id or bundled lab."""
    loras: Sequence[str] = ()
    """What is fused into it, with weights."""
    variant: str | None = None
    """Of its files of weights."""
    config: str | None = None
    """Configuration of a single file."""
    offload: Literal["none", "model", "sequential"] = "none"
    """What waits in main memory."""
    compiled: bool = False
    """Whether torch compiles the blocks of its network."""
    mitigation: str | None = None
    """What it is put behind, as `imgaudit mitigate list` names it."""

    def load(self, device: str) -> "LoadedModel":
        """Raises ModelRefusedError with the reason and what to do, ConfigError for a mitigation that does not fit."""
        from imgaudit.mitigation.registry import apply_mitigation
        from imgaudit.models import load_model

        loaded = load_model(
            self.name, device, self.loras, variant=self.variant or "", config=self.config or "", offload=self.offload,
            compiled=self.compiled,
        )  # fmt: skip
        return apply_mitigation(loaded, self.mitigation) if self.mitigation else loaded
