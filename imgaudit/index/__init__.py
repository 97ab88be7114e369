"""Nearest-neighbour search with FAISS: in memory, and in collections on disk."""

from imgaudit.index.building import BuildOptions, add_to_collection, build_collection
from imgaudit.index.collection import Collection
from imgaudit.index.flat import FlatIndex, FlatMatch, RangeIndex, count_gpus
from imgaudit.index.index_types import IndexTypeChoice, Kind, choose_kind
from imgaudit.index.results import Match, Matches, SearchResults
from imgaudit.index.sources import SourceInput, pair_id_lists

__all__ = [
    "BuildOptions",
    "Collection",
    "FlatIndex",
    "FlatMatch",
    "IndexTypeChoice",
    "Kind",
    "Match",
    "Matches",
    "RangeIndex",
    "SearchResults",
    "SourceInput",
    "add_to_collection",
    "build_collection",
    "choose_kind",
    "count_gpus",
    "pair_id_lists",
]
