"""The options that name a model, and the model itself."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from imgaudit.cli.paths import require_configuration, require_loras, require_model
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
               metavar="MODEL", callback=require_model),
    ]  # fmt: skip
    """Folder, single file, hub id or bundled lab."""
    loras: Annotated[
        list[str] | None,
        option(Heading.SUBJECT, "LoRA (add-on to a model): a safetensors file or a folder with one, times WEIGHT. "
               "May be repeated.", "--lora", metavar="FILE[:WEIGHT]", default="none", callback=require_loras),
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
               "--model-config", metavar="FOLDER", default="chosen by diffusers", callback=require_configuration),
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
    def named(self) -> "NamedModel":
        """The model as files that can be hashed. Raises ConfigError for a mitigation that there is not."""
        from imgaudit.mitigation.mitigated import fingerprint_mitigated
        from imgaudit.mitigation.registry import identify
        from imgaudit.runs.repetition import NamedModel

        mitigated = partial(fingerprint_mitigated, identity=identify(self.mitigation)) if self.mitigation else None
        return NamedModel(
            self.name, self.loras or (), self.variant or "", self.config or "", self.compiled, mitigated
        )  # fmt: skip

    @property
    def paths(self) -> list[Path]:
        """The files and folders on this computer that the model is read from."""
        weighted = [*(self.loras or ()), *(text.rpartition(":")[0] for text in self.loras or ())]
        named = (Path(one) for one in (self.name, self.config, *weighted) if one)
        return [path for path in named if path.exists()]

    def load(self, device: str | None = None) -> "LoadedModel":
        """Load the model onto a device, `auto` when none is named.

        Raises ModelRefusedError with the reason and what to do, ConfigError for a mitigation that does not fit.
        """
        loaded = self.load_silently(device)
        for note in loaded.notes:
            say(f"note on the model: {note}")
        return loaded

    def load_silently(self, device: str | None = None) -> "LoadedModel":
        """Load the model as `load` does, for a process that prints nothing."""
        from imgaudit.mitigation.registry import apply_mitigation
        from imgaudit.models import load_model

        loaded = load_model(
            self.name, device or "auto", self.loras or (), variant=self.variant or "", config=self.config or "",
            offload=self.offload, compiled=self.compiled,
        )  # fmt: skip
        return apply_mitigation(loaded, self.mitigation) if self.mitigation else loaded


PlainModel = Annotated[ModelChoice, Take(without=("mitigation",))]
"""A model that is measured as it is, without a mitigation."""

ModelFiles = Annotated[ModelChoice, Take(only=("name", "variant", "config"), heading=Heading.MODEL)]
"""A model whose own weights are looked at or changed."""
