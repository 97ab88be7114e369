import json
from pathlib import Path

import pytest

from imgaudit.decision.null_bank import NullBank, build_bank
from imgaudit.exceptions import CalibrationError, ConfigError
from imgaudit.schema.policy import Policy, read_policy
from imgaudit.schema.records import Measurement
from tests.support.records import PROTOCOL, bank, measurement


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


def frozen(controls: list[Measurement], note: str = "n", fingerprint: str = "f") -> NullBank:
    return build_bank(
        controls, model="m", model_fingerprint=fingerprint, protocol=PROTOCOL, seed=0, note=note, made="now"
    )


def test_two_half_banks_merged_are_the_whole_bank_exactly() -> None:
    controls = [measurement(f"c{n}", 0.01 * n, [(0.5, 0.3)] * 4) for n in range(120)]
    whole = frozen(controls)
    first, second = frozen(controls[:60]), frozen(controls[60:])
    assert first.merge(second) == whole == second.merge(first)
    assert len(whole.kept_out) == 30 and whole.merge(first) == whole
    apart = frozen(controls[:60], "mine").merge(frozen(controls[60:], "yours"))
    assert {s.note: len(s.sha256s) for s in apart.sources} == {"mine": 60, "yours": 60}
    assert apart.controls == whole.controls
    with pytest.raises(CalibrationError, match="made with model"):
        first.merge(frozen(controls[60:], fingerprint="g"))


def test_bins_are_used_only_where_each_holds_enough() -> None:
    controls = [measurement(f"c{n}", 0.01 * n, [(0.5, 0.3)] * 4, complexity=float(n)) for n in range(160)]
    null = frozen(controls)
    assert null.bins(1, 10) == [] and null.bins(4, 1000) == [] and bank(50).bins(2, 5) == []
    edges = null.bins(2, 20)
    assert len(edges) == 1
    simple = measurement("x", 0.5, [], complexity=0.0)
    detailed = measurement("y", 0.5, [], complexity=159.0)
    low, high = (null.p_value(one, "none", edges) for one in (simple, detailed))
    assert isinstance(low, float) and isinstance(high, float) and low < high
