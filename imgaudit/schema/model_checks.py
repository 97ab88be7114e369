"""The checks of a model before an audit: what was measured of the model itself, and the band that it had to be in."""

from collections.abc import Sequence
from math import isfinite
from typing import Literal

from pydantic import field_serializer

from imgaudit.schema.records import SCHEMA_VERSION, Record


class ModelCheck(Record):
    """One number that says whether a model works as its configuration says."""

    name: str
    """The quantity, in words."""
    value: float
    """The number that was measured; not finite where it could not be."""
    low: float | None = None
    """The smallest accepted value; None for any."""
    high: float | None = None
    """The largest accepted value; None for any."""
    lower_bound: float | None = None
    """One-sided 95 % lower bound of the number over images, which decides in its place; None where there is none."""
    passed: bool
    """True when what decides is in the band, and the number is finite."""
    sentence: str
    """The meaning of the number, and where it is outside of its band, which setting is probably wrong."""

    @field_serializer("value", when_used="json")
    def _write_value(self, value: float) -> float | str:
        # JSON has no such numbers; they are written as text, from which they are read again.
        return value if isfinite(value) else str(value)

    @property
    def measured(self) -> str:
        """The number, and its lower bound where that decides.

        >>> ModelCheck(name="error", value=1.014, high=1.0, lower_bound=0.98, passed=True, sentence="").measured
        '1.01 (lower bound 0.98)'
        """
        return f"{self.value:.3g}" + ("" if self.lower_bound is None else f" (lower bound {self.lower_bound:.3g})")

    @property
    def band(self) -> str:
        """The accepted values, in words.

        >>> ModelCheck(name="spread", value=1.0, low=0.5, high=2.0, passed=True, sentence="").band
        '0.5 to 2'
        """
        if self.low is None:
            return "any" if self.high is None else f"at most {self.high:g}"
        return f"at least {self.low:g}" if self.high is None else f"{self.low:g} to {self.high:g}"


class ModelChecks(Record):
    """model_checks.json of a run: every check of its model, made before anything else was measured."""

    schema_version: int = SCHEMA_VERSION
    """Version of this format."""
    source: Literal["controls", "targets"]
    """The images that the model was checked with."""
    images: int
    """Number of these images."""
    network_evaluations: int
    """Passes of one sample through the network that the checks took; they are counted for no image."""
    seconds: float
    """Wall time of the checks."""
    checks: tuple[ModelCheck, ...]
    """The checks, in the order in which they were made."""

    @property
    def failed(self) -> Sequence[ModelCheck]:
        """The checks whose number is outside of its band."""
        return [check for check in self.checks if not check.passed]
