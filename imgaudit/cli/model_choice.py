"""The options that name a model, and the model itself."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from imgaudit.cli.signatures import Heading, Take, flag, option

if TYPE_CHECKING:
    from imgaudit.models import LoadedModel


@dataclass(frozen=True)
class ModelChoice:
    """A model, and how it is to be loaded."""

    name: Annotated[
        str,
        option("--model", "-m", metavar="MODEL", heading=Heading.SUBJECT,
               help="Diffusers folder, single safetensors file, hub id[@revision], or a bundled lab: demo."),
    ]  # fmt: skip
    """Folder, single file, hub id or bundled lab."""
    loras: Annotated[
        list[str] | None,
        option("--lora", metavar="FILE[:WEIGHT]", heading=Heading.SUBJECT, default="none",
               help="LoRA to fuse into the model: a safetensors file or a folder with one, times WEIGHT. "
               "May be repeated."),
    ] = None  # fmt: skip
    """LoRAs to fuse into it, with weights."""
    variant: Annotated[
        str | None,
        option("--variant", metavar="NAME", heading=Heading.SUBJECT, default="the plain files",
               help="Variant of the model's weights, such as fp16."),
    ] = None  # fmt: skip
    """Variant of its files of weights."""
    config: Annotated[
        str | None,
        option("--model-config", metavar="FOLDER", heading=Heading.SUBJECT, default="chosen by diffusers",
               help="Diffusers folder or hub id with what a single file lacks: schedule, tokenizers, networks."),
    ] = None  # fmt: skip
    """Configuration of a single file."""
    mitigation: Annotated[
        str | None,
        option("--mitigation", metavar="NAME", heading=Heading.SUBJECT, default="none",
               help="Mitigation to run the model with at inference time; `imgaudit mitigate list` names them."),
    ] = None  # fmt: skip
    """Inference-time mitigation, as `imgaudit mitigate list` names it."""
    offload: Annotated[
        Literal["none", "model", "sequential"],
        option("--offload", metavar="WHAT", heading=Heading.MACHINE,
               help="Keep parts of the model in main memory while the GPU does not need them, to save GPU memory: "
               "none, model (whole networks) or sequential (single layers, slow)."),
    ] = "none"  # fmt: skip
    """Parts that wait in main memory."""
    compiled: Annotated[
        bool,
        flag("--compile", heading=Heading.MACHINE, help="Let torch compile the model: a slow start, then faster."),
    ] = False
    """Whether torch compiles the blocks of its network."""

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
        return apply_mitigation(loaded, self.mitigation) if self.mitigation else loaded


PlainModel = Annotated[ModelChoice, Take(without=("mitigation",))]
"""A model that is measured as it is, without a mitigation."""

ModelFiles = Annotated[ModelChoice, Take(only=("name", "variant", "config"), heading=Heading.MODEL)]
"""A model whose own weights are looked at or changed."""
