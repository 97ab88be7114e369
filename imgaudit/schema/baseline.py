"""The baseline of a score: what the error under an embedding or a caption is compared with."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

Baseline = Literal["null", "start"]
"""null: the model's own prediction without text. start: its prediction under the empty prompt that inversions start
from, for models that have no null branch. A conformal p-value holds under either, as long as image and controls have
the same: it needs them to be exchangeable, and no null branch."""

BASELINE_WORDING: Mapping[Baseline, str] = MappingProxyType(
    {
        "null": "compared with the model's own prediction without text",
        "start": "compared with the empty prompt that inversions start from",
    }
)
"""The baselines as pages and messages say them."""

BASELINE_NAME: Mapping[Baseline, str] = MappingProxyType({"null": "without text", "start": "with an empty prompt"})
"""The same in a few words, for the terminal."""
