"""The request for an audit: what is given to it besides the model, and how it was asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from imgaudit.decision.null_bank import NullBank
from imgaudit.index import Collection
from imgaudit.io.portfolio import Portfolio
from imgaudit.models.loading import LoadedModel
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.policy import Policy
from imgaudit.schema.seal import Seal
from imgaudit.schema.shard import Shard


@dataclass(frozen=True)
class AuditInputs:
    """The parts of an audit besides the model and the configuration."""

    portfolio: Portfolio
    """The owner's images."""
    controls: Portfolio | NullBank | None
    """Images that cannot have been in the training set, or what such images gave."""
    decoys: Portfolio | None
    """Other images that replicas are compared with; None stands for the controls."""
    reference: Collection | None
    """Collection in which near copies of every image are counted."""
    policy: Policy
    """Rules by which measurements become verdicts."""
    seal: Seal | None = None
    """The statement that fixes the audit; None for one that nothing was stated of before."""
    shard: Shard | None = None
    """The part of the images that is measured; None for all."""

    @property
    def control_images(self) -> Portfolio | None:
        """The controls that have to be measured."""
        return self.controls if isinstance(self.controls, Portfolio) else None

    @property
    def leads(self) -> bool:
        """True for the whole audit and for its first part, which also does what is done once for all images."""
        return self.shard is None or self.shard.number == 1


@dataclass(frozen=True)
class Origin:
    """The request for an audit, as its manifest records it."""

    command: Sequence[str]
    """The command line, the program first; or a call from Python."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Source of each option's value, by key of the configuration."""
    controls: str = "images given from Python"
    """Origin of the controls, in words."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Folders and files as they were named, by option."""

    @classmethod
    def of_python(cls, config: AuditConfig, model: LoadedModel, function: str = "audit") -> "Origin":
        """Return the origin of a call of `imgaudit.audit`, or of another function of the package."""
        chosen = config.model_fields_set
        options = ", ".join(f"{key}={value!r}" for key, value in config.model_dump(mode="json", include=chosen).items())
        call = f"load_model({model.name!r}), portfolio, config=AuditConfig({options})"
        return cls([f"imgaudit.{function}", call], dict.fromkeys(chosen, "Python"))
