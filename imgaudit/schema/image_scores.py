"""What is known of an image before it is asked in all ways: its first look, and its scores."""

from dataclasses import dataclass as plain_dataclass

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid", ser_json_inf_nan="strings"))
class FirstLook:
    """A score after a part of its search and on some of its draws; see `FirstLookConfig`."""

    steps: int
    """Steps of the score's search that came before."""
    draws: int
    """Draws of the score that it was measured on."""
    log_ratio: float
    """Mean over these draws of log(baseline's error / error under the condition so far); higher = more memorised."""
    caption_log_ratio: float | None = None
    """The same under the image's caption; None without one."""


@plain_dataclass(frozen=True)
class ImageScores:
    """The scores of an image that has no record yet."""

    complexity: float
    """Detail of the image: log(PNG bytes per pixel)."""
    log_ratio: float | None = None
    """Score before the effect of complexity is removed; higher = more memorised. None before it is measured."""
    caption_log_ratio: float | None = None
    """The same under the image's caption; None without one."""
    first_look: FirstLook | None = None
    """The first look; None where none was taken."""
