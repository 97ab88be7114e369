"""Nearest-neighbour search with FAISS: in memory, and in collections on disk.

The public names are loaded when they are first used: what searches in memory does not pay for Arrow, which reads
collections.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imgaudit.index.building import BuildOptions, add_to_collection, build_collection
    from imgaudit.index.collection import Collection
    from imgaudit.index.flat import FlatIndex, FlatMatch, count_gpus
    from imgaudit.index.index_types import IndexTypeChoice, Kind, choose_kind
    from imgaudit.index.results import Match, Matches, SearchResults
    from imgaudit.index.sources import SourceInput, pair_id_lists

_NAMES = {
    "building": "BuildOptions add_to_collection build_collection",
    "collection": "Collection",
    "flat": "FlatIndex FlatMatch count_gpus",
    "index_types": "IndexTypeChoice Kind choose_kind",
    "results": "Match Matches SearchResults",
    "sources": "SourceInput pair_id_lists",
}
"""The public names of each module."""

_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [
    "BuildOptions", "Collection", "FlatIndex", "FlatMatch", "IndexTypeChoice", "Kind", "Match", "Matches",
    "SearchResults", "SourceInput", "add_to_collection", "build_collection", "choose_kind", "count_gpus",
    "pair_id_lists",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'imgaudit.index' has no attribute {name!r}")
    return getattr(import_module(f"imgaudit.index.{_HOME[name]}"), name)
