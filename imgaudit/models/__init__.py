"""Models: their files inspected, their families adapted, and the loader that chooses."""

from imgaudit.models.finite_set import FiniteSetDenoiser
from imgaudit.models.loading import BUNDLED, LoadedModel, load_model, resolve_model

__all__ = ["BUNDLED", "FiniteSetDenoiser", "LoadedModel", "load_model", "resolve_model"]
