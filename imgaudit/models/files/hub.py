"""Models of the hub: their configuration is fetched first, and of the weights only those that will be loaded."""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any

from imgaudit.exceptions import ModelRefusedError
from imgaudit.io.offline import is_offline
from imgaudit.models.families.registry import find_family
from imgaudit.models.files.inspection import ADAPTERS, MODULAR_INDEX, list_files, read_model_index
from imgaudit.models.files.variants import select_weights

CONFIGURATION = ("*.json", "*.txt", "*.model", "*.jinja", *(f"*{name}*.safetensors" for name in ADAPTERS))
"""Patterns of the files that are fetched first. A LoRA is among them, so that it is refused as it is in any folder."""


def fetch_model(model: str, variant: str = "", without: Collection[str] = (), *, with_weights: bool = True) -> Path:
    """Fetch `owner/name[@revision]` into the hub's cache and return its folder; nothing is fetched when offline.

    variant:       the variant of the weights that was asked for
    without:       networks whose weights are not needed
    with_weights:  False fetches the configuration alone
    Raises ModelRefusedError with what to do: gated, not cached, no such model, a class or variant that is not there.
    """
    from huggingface_hub import snapshot_download

    repository, _, revision = model.partition("@")
    # The libraries' own switch is read when they are imported, which may have been before.
    offline = is_offline() or bool(os.environ.get("HF_HUB_OFFLINE"))
    options: dict[str, Any] = {"revision": revision or None, "local_files_only": offline}
    with _refusing(repository):
        folder = Path(snapshot_download(repository, allow_patterns=[*CONFIGURATION], **options))
    if not any((folder / name).exists() for name in ("model_index.json", MODULAR_INDEX)):
        raise ModelRefusedError(
            f"{repository!r} has no model_index.json, so it is no diffusers folder: if it has a single file, download "
            "and name that"
        )
    if not with_weights:
        return folder
    index = read_model_index(folder)
    networks = {
        name: one
        for name, one in find_family(index["_class_name"]).present(index, "network").items()
        if name not in without
    }
    wanted = select_weights(_file_names(repository, folder, offline), networks, variant)
    with _refusing(repository):
        return Path(snapshot_download(repository, allow_patterns=[*CONFIGURATION, *map(escape, wanted)], **options))


def _file_names(repository: str, folder: Path, offline: bool) -> list[str]:
    from huggingface_hub import HfApi

    if not offline:
        try:
            return list(HfApi().list_repo_files(repository, revision=folder.name))
        except Exception:
            # Not to be reached: the errors are those of another library from version to version. What was fetched
            # earlier may do, and what it lacks is refused as missing.
            pass
    return [path.relative_to(folder).as_posix() for path in list_files(folder)]


@contextmanager
def _refusing(repository: str) -> Iterator[None]:
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError

    try:
        yield
    except GatedRepoError as error:
        raise ModelRefusedError(
            f"{repository!r} is gated: accept its terms on the hub and log in with `hf auth login`"
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        raise ModelRefusedError(f"{repository!r} is not cached and cannot be fetched: {error}") from error
