"""Variants of a model's weights, such as fp16: which there are, by the names of the files, and which is loaded."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.family import Component
from imgaudit.models.files.inspection import quote

NAME = re.compile(r"[A-Za-z0-9_]+")
"""Pattern of a variant's name: a part of a file's name, and never of a path."""

NEVER = "non_ema"
"""Weights as they were before they were averaged over the training: no image is made with them."""

_NAMED = r"(?:\.(?P<{0}>\w+))?"
_FILE = _NAMED.format("whole") + r"(?:-\d+-of-\d+" + _NAMED.format("shard") + r")?\.safetensors"


def name_weight_files(stem: str, variant: str = "") -> tuple[str, str]:
    """Return the names that both libraries give to a variant's weights, and to the index of their shards.

    stem:     how the network's files are called
    variant:  "" stands for the plain weights

    >>> name_weight_files("model", "fp16")
    ('model.fp16.safetensors', 'model.safetensors.index.fp16.json')
    """
    added = f".{variant}" if variant else ""
    return f"{stem}{added}.safetensors", f"{stem}.safetensors.index{added}.json"


def parse_variant(name: str, stem: str) -> str | None:
    """Return the variant that a file of weights, whole or a shard, belongs to by its name; None for any other file.

    >>> parse_variant("model.fp16.safetensors", "model"), parse_variant("model-00001-of-00002.safetensors", "model")
    ('fp16', '')
    """
    found = re.fullmatch(re.escape(stem) + _FILE, name)
    return (found["whole"] or found["shard"] or "") if found else None


def list_variants(names: Iterable[str], stem: str) -> set[str]:
    """Return the variants among the names of a network's files; "" means the plain weights."""
    return {variant for name in names if (variant := parse_variant(name, stem)) is not None} - {NEVER}


def choose_variant(held: Mapping[str, set[str]], asked: str = "") -> str:
    """Choose the variant that is loaded: the one asked for, else the plain weights, else the only one of all networks.

    held:   variants that are there, by network
    asked:  "" leaves the choice to this rule
    Raises ModelRefusedError when a network lacks the one asked for, or several would do.

    >>> choose_variant({"unet": {"", "fp16"}, "vae": {"", "fp16"}}), choose_variant({"unet": {"fp16"}, "vae": {"fp16"}})
    ('', 'fp16')
    """
    if asked and (asked == NEVER or not NAME.fullmatch(asked)):
        raise ModelRefusedError(f"variant {asked!r:.80} is no variant that can be audited, such as fp16 or bf16")
    if asked:
        if without := [name for name, variants in held.items() if asked not in variants]:
            there = ", ".join(sorted(filter(None, held[without[0]]))) or "none"
            raise ModelRefusedError(
                f"component {without[0]!r} has no weights of the variant {asked!r}; variants that it has: {there}"
            )
        return asked
    shared = set.intersection(*held.values()) if held else set()
    if "" in shared or not shared:
        # Where networks have nothing in common, those without plain weights are refused when they are looked at.
        return ""
    if len(shared) > 1:
        raise ModelRefusedError(
            f"the model has no plain weights, but the variants {', '.join(sorted(shared))}: choose one with --variant"
        )
    return shared.pop()


def choose_folder_variant(folder: Path, networks: Mapping[str, Component], asked: str = "") -> str:
    """Choose the variant of a model's folder that is loaded. Raises ModelRefusedError as `choose_variant` does."""
    held = {
        name: list_variants((path.name for path in (folder / name).glob("*")), one.stem)
        for name, one in networks.items()
    }
    return choose_variant(held, asked)


def select_weights(names: Sequence[str], networks: Mapping[str, Component], asked: str = "") -> list[str]:
    """Select the files of weights that would be loaded, among those of a repository.

    names:  paths of all its files
    Raises ModelRefusedError as `choose_variant` does.
    """
    files = {network: [name for name in names if name.rpartition("/")[0] == network] for network in networks}
    held = {
        network: list_variants((Path(name).name for name in files[network]), one.stem)
        for network, one in networks.items()
    }
    chosen = choose_variant(held, asked)
    return [
        name
        for network, one in networks.items()
        for name in files[network]
        if parse_variant(Path(name).name, one.stem) == chosen
    ]


def refuse_other_indexes(folder: Path, stem: str, variant: str) -> None:
    """Refuse the index of a variant's shards under the names that diffusers obeys besides its own: ModelRefusedError.

    It is made of the whole path, which is cut at its dots, so that it may even be outside of the folder.
    """
    parts = (folder / name_weight_files(stem)[1]).as_posix().split(".")
    for cut in (2, 3):
        other = Path(".".join([*parts[:cut], variant, *parts[cut:]]))
        if other.exists() and other.name != name_weight_files(stem, variant)[1]:
            raise ModelRefusedError(
                f"{quote(other)} would be loaded in place of {name_weight_files(stem, variant)[0]!r}: remove it, or "
                "save the model again"
            )
