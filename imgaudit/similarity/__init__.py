"""Similarity: how alike two images are, by descriptors, distances, parts and CLIP."""
