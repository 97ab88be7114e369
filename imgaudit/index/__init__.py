"""Nearest-neighbour search with FAISS: in memory, and in collections on disk."""

from imgaudit.index.building import BuildOptions, add_to_collection, build_collection
from imgaudit.index.collection import Collection
from imgaudit.index.flat import FlatIndex, Neighbour, RangeIndex, gpu_count
from imgaudit.index.index_types import Choice, Kind, choose_kind
from imgaudit.index.results import Found, Match, Matches
from imgaudit.index.sources import Given, give_sources

__all__ = [
    "BuildOptions",
    "Choice",
    "Collection",
    "FlatIndex",
    "Found",
    "Given",
    "Kind",
    "Match",
    "Matches",
    "Neighbour",
    "RangeIndex",
    "add_to_collection",
    "build_collection",
    "choose_kind",
    "give_sources",
    "gpu_count",
]
