"""Checks of a model before an audit: what it does to real images must fit what its configuration says."""

from imgaudit.diffusion.model_checks.checking import CheckPlan, check_model
from imgaudit.diffusion.model_checks.images import CheckImages

__all__ = ["CheckImages", "CheckPlan", "check_model"]
