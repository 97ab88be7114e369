import json
from pathlib import Path

import pytest

from imgaudit.exceptions import ConfigError
from imgaudit.schema.policy import Policy, read_policy


def test_a_policy_is_read_over_a_base_and_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('level = 0.1\nlegs = "similarity"\n')
    policy = read_policy(tmp_path / "p.toml", Policy(copy_level=0.01))
    assert (policy.level, policy.copy_level, policy.legs) == (0.1, 0.01, "similarity")
    (tmp_path / "p.json").write_text(json.dumps({"levle": 0.1}))
    with pytest.raises(ConfigError, match="levle"):
        read_policy(tmp_path / "p.json")
    (tmp_path / "p.json").write_text("[1]")
    with pytest.raises(ConfigError, match="must be a table"):
        read_policy(tmp_path / "p.json")


def test_every_rule_but_the_level_has_words_for_what_it_changes() -> None:
    assert Policy().describe_changes() == Policy(level=0.1).describe_changes() == []
    other: dict[str, object] = {
        "copy_level": 0.01, "correction": "benjamini_yekutieli", "near_duplicates": "separate", "legs": "descriptor",
        "complexity": "none", "bins": 3, "alarms": "only_warn",
    }  # fmt: skip
    assert set(other) == set(Policy.model_fields) - {"level"}
    told = [Policy.model_validate({key: value}).describe_changes() for key, value in other.items()]
    assert all(len(one) == 1 and "_" not in one[0] for one in told) and len({one[0] for one in told}) == len(other)
