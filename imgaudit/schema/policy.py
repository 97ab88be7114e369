"""The policy: how measurements become verdicts. Its hash is in the manifest before anything runs.

A run can be decided again under another policy, without the model; it is then marked as decided again.
"""

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imgaudit.exceptions import ConfigError
from imgaudit.schema.problems import describe_problem


class Policy(BaseModel):
    """The rules that turn scores and replicas into verdicts. None of them needs a network evaluation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: float = Field(0.05, gt=0, lt=0.5)
    """False discovery rate over the folder."""
    copy_level: float = Field(0.05, gt=0, lt=0.5)
    """Share of controls that may pass a copy threshold."""
    correction: Literal["benjamini_hochberg", "benjamini_yekutieli"] = "benjamini_hochberg"
    """Method from p-values to q-values over the folder; Yekutieli's allows any dependence, at a factor of log m."""
    near_duplicates: Literal["grouped", "separate"] = "grouped"
    """Treatment of near copies among the targets: one hypothesis, with a representative, or one each."""
    legs: Literal["both", "similarity", "descriptor", "either"] = "both"
    """Scores that make a copy: the pixel similarity and the tiled distance together (both), the pixel similarity alone
    (similarity), the similarity by the copy descriptor alone (descriptor), or both of the first two or the last
    (either), where what the last alone finds is at least a part of the image. Where targets and controls have no copy
    descriptor in common, either is the same as both."""
    complexity: Literal["residual", "none"] = "residual"
    """Adjustment of scores: residual subtracts what complexity explains on controls outside the bank."""
    bins: int = Field(1, ge=1, le=20)
    """Bins of complexity within which p-values are taken (Mondrian), where each holds enough controls; 1 pools them."""
    alarms: Literal["take_p_values", "only_warn"] = "take_p_values"
    """Effect of validity alarms: they make p-values unusable and negatives inconclusive, or are only shown. Too few
    controls, and a model that fails its checks, make negatives inconclusive in any case."""

    @property
    def uses_copy_descriptor(self) -> bool:
        """True when the copy descriptor takes part in decisions, where it was measured."""
        return self.legs in ("descriptor", "either")

    @property
    def hash(self) -> str:
        """SHA-256 over the policy's canonical JSON, hexadecimal.

        >>> Policy().hash == Policy(level=0.05).hash
        True
        """
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def differences(self, other: "Policy") -> list[str]:
        """List the keys that differ, as "level: 0.1 here, 0.05 there".

        >>> Policy(level=0.1).differences(Policy())
        ['level: 0.1 here, 0.05 there']
        """
        here, there = self.model_dump(), other.model_dump()
        return [f"{key}: {here[key]} here, {there[key]} there" for key in here if here[key] != there[key]]

    def describe_changes(self) -> list[str]:
        """Return in words what differs from the built-in rules, apart from the level; empty where nothing does.

        >>> Policy(near_duplicates="separate", level=0.1).describe_changes()
        ['near copies among the images count one by one']
        """
        built_in = Policy().model_dump()
        words: dict[str, str] = {
            "copy_level": f"a copy must be closer than for all but {100 * self.copy_level:g} % of the controls",
            "correction": f"q is corrected by the method {_CORRECTIONS[self.correction]}",
            "near_duplicates": "near copies among the images count one by one",
            "legs": f"copies are told {_LEGS[self.legs]}",
            "complexity": "scores are not adjusted for how detailed an image is",
            "bins": f"images are compared with controls of like detail, in {self.bins} groups",
            "alarms": "alarms only warn, and no p-value is taken away because of them",
        }
        return [text for key, text in words.items() if getattr(self, key) != built_in[key]]


_CORRECTIONS = {"benjamini_hochberg": "of Benjamini and Hochberg", "benjamini_yekutieli": "of Benjamini and Yekutieli"}

_LEGS = {
    "both": "by pixel similarity and worst tile together",
    "similarity": "by pixel similarity alone",
    "descriptor": "by the copy descriptor alone",
    "either": "by pixels or by the copy descriptor",
}


def read_policy(path: Path, base: Policy | None = None) -> Policy:
    """Read a policy from a TOML or JSON file; keys that it leaves out are those of `base`.

    Raises ConfigError when the file cannot be read, has an unknown key or a value outside its range.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        values = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise ConfigError(f"the policy {str(path)!r} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"the policy {str(path)!r} must be a table of keys, but is a {type(values).__name__}")
    try:
        return Policy.model_validate((base or Policy()).model_dump() | values)
    except ValidationError as error:
        known = ", ".join(Policy.model_fields)
        raise ConfigError(
            f"the policy {str(path)!r} is not valid: {describe_problem(error)} (keys: {known})"
        ) from error
