"""What is asked of a replay. It loads no library of models, so that verifying without a replay loads none either."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imgaudit.models.loading import LoadedModel


@dataclass(frozen=True)
class ReplayRequest:
    """A replay that was asked for."""

    model: "LoadedModel"
    """The model, which must be the run's."""
    count: int | None
    """Number of pictures; None for all."""
    seed: int
    """Seed of the draw."""
    batch_size: int | None = None
    """Largest network batch; None for what free memory holds."""
