"""The options that name a model, and the model itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from imgaudit.cli.signatures import Heading, Take, flag, option
from imgaudit.cli.terminal import say

if TYPE_CHECKING:
    from imgaudit.models import LoadedModel
    from imgaudit.runs.repetition import NamedModel


@dataclass(frozen=True)
class ModelChoice:
    """A model, and how it is to be loaded."""

    name: Annotated[
        str,
        option(Heading.SUBJECT, "Model to test: a folder (diffusers) or safetensors file on this computer, a name on "
               "the Hugging Face hub (owner/name[@revision]), or demo, the bundled model.", "--model", "-m",
               metavar="MODEL"),
    ]  # fmt: skip
    """Folder, single file, hub id or bundled lab."""
    loras: Annotated[
        list[str] | None,
        option(Heading.SUBJECT, "LoRA (add-on to a model): a safetensors file or a folder with one, times WEIGHT. "
               "May be repeated.", "--lora", metavar="FILE[:WEIGHT]", default="none"),
    ] = None  # fmt: skip
    """LoRAs to fuse into it, with weights."""
    variant: Annotated[
        str | None,
        option(Heading.SUBJECT, "Which files to load where a model comes in several versions, such as fp16.",
               "--variant", metavar="NAME", default="files without such a name"),
    ] = None  # fmt: skip
    """Variant of its files of weights."""
    config: Annotated[
        str | None,
        option(Heading.SUBJECT,
               "For a model in a single file: folder or hub name of a complete model of the same kind.",
               "--model-config", metavar="FOLDER", default="chosen by diffusers"),
    ] = None  # fmt: skip
    """Configuration of a single file."""
    mitigation: Annotated[
        str | None,
        option(Heading.SUBJECT,
               "A measure against copying, to use while images are generated; see `imgaudit mitigate list`.",
               "--mitigation", metavar="NAME", default="none"),
    ] = None  # fmt: skip
    """Inference-time mitigation, as `imgaudit mitigate list` names it."""
    offload: Annotated[
        Literal["none", "model", "sequential"],
        option(Heading.MACHINE,
               "Keep parts of the model in main memory while the GPU does not need them, to save GPU memory: "
               "none, model (whole networks) or sequential (single layers, slow).", "--offload", metavar="WHAT"),
    ] = "none"  # fmt: skip
    """Parts that wait in main memory."""
    compiled: Annotated[
        bool, flag(Heading.MACHINE, "Compile the model: it starts more slowly, then runs faster.", "--compile")
    ] = False
    """True when torch compiles the blocks of its network."""

    @property
    def named(self) -> "NamedModel | None":
        """The model as files that can be hashed; None under a mitigation, which only a loaded model can be given."""
        from imgaudit.runs.repetition import NamedModel

        if self.mitigation:
            return None
        return NamedModel(self.name, self.loras or (), self.variant or "", self.config or "", self.compiled)

    @property
    def paths(self) -> list[Path]:
        """The files and folders on this computer that the model is read from."""
        weighted = [*(self.loras or ()), *(text.rpartition(":")[0] for text in self.loras or ())]
        named = (Path(one) for one in (self.name, self.config, *weighted) if one)
        return [path for path in named if path.exists()]

    def require_named(self) -> None:
        """Check that there can be such a model, before anything else takes time. Raises ModelRefusedError."""
        from imgaudit.models.files.source import require_named

        require_named(self.name)

    def load(self, device: str | None = None) -> "LoadedModel":
        """Load the model onto a device, `auto` when none is named.

        Raises ModelRefusedError with the reason and what to do, ConfigError for a mitigation that does not fit.
        """
        from imgaudit.mitigation.registry import apply_mitigation
        from imgaudit.models import load_model

        loaded = load_model(
            self.name, device or "auto", self.loras or (), variant=self.variant or "", config=self.config or "",
            offload=self.offload, compiled=self.compiled,
        )  # fmt: skip
        for note in loaded.notes:
            say(f"note on the model: {note}")
        return apply_mitigation(loaded, self.mitigation) if self.mitigation else loaded


PlainModel = Annotated[ModelChoice, Take(without=("mitigation",))]
"""A model that is measured as it is, without a mitigation."""

ModelFiles = Annotated[ModelChoice, Take(only=("name", "variant", "config"), heading=Heading.MODEL)]
"""A model whose own weights are looked at or changed."""
