"""Tiny models of every family besides Stable Diffusion's, by pipeline class."""

from tests.support.tiny_hidream import HIDREAM_MAKERS
from tests.support.tiny_more_families import FAMILY_MAKERS
from tests.support.tiny_newer_families import NEWER_MAKERS
from tests.support.tiny_template_text import TEMPLATE_MAKERS

MAKERS = {**FAMILY_MAKERS, **NEWER_MAKERS, **TEMPLATE_MAKERS, **HIDREAM_MAKERS}
"""Functions that make a pipeline, by its class."""
