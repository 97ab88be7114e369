"""From a name on the command line to the files of a model: a folder, a bundled lab, a hub id, or a single file."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.family import Component, Family
from imgaudit.models.files.hub import fetch_model
from imgaudit.models.files.inspection import hash_model_file, hash_model_files, list_files, quote, read_model_index
from imgaudit.models.files.variants import choose_folder_variant
from imgaudit.models.files.weights import Weights, find_weights
from imgaudit.schema.model_name import BUNDLED, is_hub_id, require_named

if TYPE_CHECKING:
    from imgaudit.models.files.single_file import Checkpoint

SINGLE_FILE = "checkpoint"
"""Name of a single file among a model's files, before its suffix: under any other name it is the same model."""


@dataclass(frozen=True)
class Source:
    """The files that a model is loaded from."""

    folder: Path
    """A diffusers folder, or what takes its place beside a single file: configuration, and what the file lacks."""
    checkpoint: "Checkpoint | None" = None
    """The single file."""
    config: str = ""
    """The configuration of a single file, as it was named or taken by default."""

    def find_held(self, networks: Mapping[str, Component]) -> dict[str, Weights]:
        """Find the weights that a single file holds; none of a folder. Raises ModelRefusedError as `find_weights`."""
        if self.checkpoint is None:
            return {}

        from imgaudit.models.files.single_file import find_checkpoint_weights

        return find_checkpoint_weights(self.checkpoint, self.folder, networks)

    def find_weights(self, networks: Mapping[str, Component], variant: str) -> dict[str, Weights]:
        """Find the weights of every network; nothing is loaded.

        variant:  the one that was asked for
        Raises ModelRefusedError for files that are missing, damaged, or of no use.
        """
        held = self.find_held(networks)
        others = {name: one for name, one in networks.items() if name not in held}
        if variant and not others:
            raise ModelRefusedError(f"the model is a single file, which has no variant {variant!r:.80}")
        chosen = choose_folder_variant(self.folder, others, variant)
        return held | {name: find_weights(self.folder / name, one.stem, chosen) for name, one in others.items()}

    def hash_files(self, weights: Mapping[str, Weights]) -> dict[str, str]:
        """Return the SHA-256 of the configuration, and of those files of weights that are loaded, by relative path."""
        files = hash_model_files(self.folder, {path for one in weights.values() for path in one.files})
        if self.checkpoint is None:
            return files
        path = self.checkpoint.path
        return {SINGLE_FILE + path.suffix: hash_model_file(path)} | files

    def list_notes(self, family: Family) -> list[str]:
        """List for the user what the files hold beside what a family loads or leaves out, which is not audited."""
        known = {*family.components, *family.never_loaded}
        beside = sorted(
            path.parent.relative_to(self.folder).as_posix()
            for path in list_files(self.folder)
            if path.suffix == ".safetensors" and path.parent.parent == self.folder and path.parent.name not in known
        )
        idle = [
            f"the folder holds weights in {name!r:.99}, which is no part of its model_index.json; they are not audited"
            for name in dict.fromkeys(beside)
        ]
        return [*(self.checkpoint.notes if self.checkpoint is not None else ()), *idle]

    def refuse_other_constants(self, pipeline: Any) -> None:
        """Refuse a single file whose own schedule is not that of the pipeline it was made: ModelRefusedError."""
        if self.checkpoint is None:
            return

        from imgaudit.models.files.left_overs import ALPHAS, SCALE, refuse_other_constants

        held = self.checkpoint.load([name for name in (ALPHAS, SCALE) if name in self.checkpoint.shapes])
        if not held:
            # Some autoencoders name no such factor.
            return
        alphas = getattr(pipeline.scheduler, ALPHAS, None)
        refuse_other_constants(self.checkpoint.path, held, alphas, float(pipeline.vae.config.scaling_factor))


def bundled_lab(name: str = "demo") -> Path:
    """Return the folder of a bundled lab: model/, portfolio/, controls, lab.json."""
    return Path(str(resources.files("imgaudit"))) / "lab" / "bundled" / name


def find_source(model: str, variant: str = "", config: str = "", *, with_weights: bool = True) -> Source:
    """Find the files of a model; those on the hub are fetched.

    variant:       the variant of the weights that was asked for
    config:        folder or hub id of the configuration of a single file; by default the one that diffusers takes
    with_weights:  False fetches no weights
    Raises ModelRefusedError with what to do.
    """
    path = resolve_model(model, variant, with_weights=with_weights)
    if path.is_dir():
        if config:
            raise ModelRefusedError(f"model {model!r:.200} is a folder with a configuration of its own; see --help")
        return Source(path)

    from imgaudit.models.files.single_file import read_checkpoint

    checkpoint = read_checkpoint(path)
    folder, config = _find_configuration(checkpoint, variant, config, with_weights)
    there, expected = read_model_index(folder)["_class_name"], checkpoint.pipeline_class
    if there != expected:
        raise ModelRefusedError(
            f"{quote(path)} holds the weights of a {expected}, but {config!r:.200} is the configuration of a "
            f"{there!r:.80}: name one of the same family with --model-config"
        )
    return Source(folder, checkpoint, config)


def resolve_model(model: str, variant: str = "", *, with_weights: bool = True) -> Path:
    """Return the local folder, or single file, of a model.

    A bundled lab's name is that lab (a folder of that name is ./name), what exists is itself, and anything shaped like
    `owner/name[@revision]` is fetched from the hub (configuration, and the safetensors that will be loaded), unless
    HF_HUB_OFFLINE is set and it is not cached.
    variant:       the variant of the weights that was asked for
    with_weights:  False fetches no weights
    Raises ModelRefusedError with what to do.
    """
    require_named(model)
    if model in BUNDLED:
        return bundled_lab(model) / "model"
    path = Path(model)
    return path if path.exists() else fetch_model(model, variant, with_weights=with_weights)


def _find_configuration(checkpoint: "Checkpoint", variant: str, config: str, with_weights: bool) -> tuple[Path, str]:
    from imgaudit.models.files.single_file import find_usual_configuration

    if config and Path(config).is_dir():
        return Path(config), config
    named = config or find_usual_configuration(checkpoint)
    if not is_hub_id(named):
        raise ModelRefusedError(f"configuration {named!r:.200} was not found: expected a diffusers folder or a hub id")
    try:
        return fetch_model(named, variant, checkpoint.parts, with_weights=with_weights), named
    except ModelRefusedError as error:
        raise ModelRefusedError(
            f"{quote(checkpoint.path)} says nothing of its schedule and tokenizers: name a diffusers folder that holds "
            f"those of its family with --model-config FOLDER, because {error}"
        ) from error
