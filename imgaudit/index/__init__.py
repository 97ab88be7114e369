"""Nearest-neighbour search with FAISS."""

from imgaudit.index.flat import FlatIndex, Neighbour, RangeIndex, gpu_count

__all__ = ["FlatIndex", "Neighbour", "RangeIndex", "gpu_count"]
