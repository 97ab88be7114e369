import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgaudit.decision import near_duplicates
from imgaudit.decision.folder import FolderDecision
from imgaudit.decision.measured_bank import build_bank
from imgaudit.decision.null_bank import FIT_FROM, KEEP_OUT_FROM, NullBank, count_bank_controls
from imgaudit.decision.replication import Evidence
from imgaudit.exceptions import CalibrationError
from imgaudit.report.wording import controls_text
from imgaudit.runs.summary import summarise
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.policy import Policy
from imgaudit.schema.protocol import Effort, protocol_for
from imgaudit.schema.records import Measurement, Rung
from tests.support.records import PROTOCOL, bank, measurement


def build(count: int) -> NullBank:
    controls = [measurement(f"c{n}", 0.1 * n, [(0.5, 0.3)] * 4) for n in range(count)]
    options = {"model": "m", "model_fingerprint": "f", "seed": 0, "note": "s", "made": "now"}
    return build_bank([*controls, controls[0]], protocol=PROTOCOL, **options)  # type: ignore[arg-type]


def test_small_banks_keep_every_control_and_large_ones_spare_a_quarter_for_the_fit() -> None:
    small, first, large = build(KEEP_OUT_FROM - 1), build(KEEP_OUT_FROM), build(120)
    assert (len(small.kept_out), len(small.controls)) == (0, KEEP_OUT_FROM - 1)
    assert (len(first.kept_out), len(first.controls)) == (1, KEEP_OUT_FROM - 1)
    assert (len(large.kept_out), len(large.controls)) == (30, 90)
    assert not {c.sha256 for c in large.kept_out} & {c.sha256 for c in large.controls}


@given(st.integers(0, 2000), st.integers(0, 2000))
def test_more_controls_never_give_a_larger_smallest_p_value(fewer: int, more: int) -> None:
    fewer, more = sorted((fewer, more))
    assert count_bank_controls(fewer) <= count_bank_controls(more) <= more
    assert 1 / (1 + count_bank_controls(more)) <= 1 / (1 + count_bank_controls(fewer))


def test_the_score_is_fitted_on_complexity_only_by_enough_controls() -> None:
    controls = [measurement(f"c{n}", float(n), [(0.5, 0.3)] * 4, complexity=float(n)) for n in range(99)]
    few, enough = frozen(controls[:98]), frozen(controls)
    assert (len(few.kept_out), len(enough.kept_out)) == (FIT_FROM - 1, FIT_FROM)
    assert few.line.slope == 0 and few.score(controls[5]) == 5.0
    assert enough.line.slope == pytest.approx(1)


def test_a_bank_survives_the_file_and_refuses_another_model_or_protocol(tmp_path: Path) -> None:
    original = bank(30)
    original.write(tmp_path / "bank.json")
    read = NullBank.read(tmp_path / "bank.json")
    assert read == original
    read.require("f", PROTOCOL)
    with pytest.raises(CalibrationError, match="was made with model 'm'"):
        read.require("g", PROTOCOL)
    with pytest.raises(CalibrationError, match=r"inversion\.steps: 3 here, 25 there"):
        read.require("f", AuditConfig(effort="quick", steps=3).protocol)  # type: ignore[arg-type]
    before = bank(30, protocol=AuditConfig.model_validate({"effort": "quick", "search": "inversion"}).protocol)
    before.require("f", PROTOCOL.for_model("epsilon"))
    cropped = bank(30, protocol=AuditConfig.model_validate({"effort": "quick", "framing": "crop"}).protocol)
    with pytest.raises(CalibrationError, match=r"framing: crop-or-pad here, crop there\): use --framing crop, as its"):
        cropped.require("f", AuditConfig.model_validate({"effort": "quick"}).protocol)
    with pytest.raises(CalibrationError, match="search: texts here, inversion there"):
        before.require("f", protocol_for(Effort.QUICK).for_model("flow"))
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(CalibrationError, match="is not a null bank"):
        NullBank.read(tmp_path / "other.json")


def test_thresholds_are_exceeded_by_at_most_the_level() -> None:
    controls = bank(199)
    thresholds = controls.thresholds(0.05)
    assert thresholds is not None
    share = sum(best > thresholds.similarity for best in controls.maxima(Rung.EMBEDDING)) / 199
    assert share <= 0.05
    assert controls.null_rung(Rung.PROMPT) is Rung.CAPTION
    assert bank(20, captions=False).null_rung(Rung.PROMPT) is Rung.EMBEDDING
    assert bank(0).thresholds(0.05) is None and bank(0).null_rung(Rung.PROMPT) is None
    assert controls.control_rate(Rung.EMBEDDING, thresholds) <= 0.05


def frozen(controls: list[Measurement], note: str = "n", fingerprint: str = "f") -> NullBank:
    return build_bank(
        controls, model="m", model_fingerprint=fingerprint, protocol=PROTOCOL, seed=0, note=note, made="now"
    )


def pdq_hash(work: int, changed: int = 0) -> str:
    """Return a hash of its own for every work, with as many of its bits changed as asked."""
    bits = np.random.default_rng(work).integers(0, 2, 256)
    bits[:changed] ^= 1
    return np.packbits(bits).tobytes().hex()


def test_near_copies_in_a_file_of_controls_are_one_control() -> None:
    pictures = [
        measurement(f"{work} in brightness {version}", 0.1 * version, [(0.5, 0.3)] * 4, pdq=pdq_hash(work, version % 4))
        for work in range(4)
        for version in range(20)
    ]
    made = frozen(pictures)
    assert (made.works, made.files, len(made.near_copies)) == (4, 80, 76)
    assert len(made.controls) == 4 and not made.kept_out
    older = made.model_copy(update={"controls": [*made.controls, *made.near_copies], "near_copies": []})
    assert older.by_work() == made and made.by_work() is made
    # None is near a target, so that each would count.
    target = measurement("target", 9.0, [(0.5, 0.3)] * 4, pdq=pdq_hash(9))
    decided = FolderDecision([target], Evidence(older, PROTOCOL, Policy()))
    assert decided.p_values[target.id] == 1 / 5
    counted = summarise([], decided, 1)
    assert (counted.controls, counted.control_files, counted.control_works) == (4, 80, 4)
    said = controls_text(counted)
    assert said.startswith("80 control files are 4 works: near copies and series count once; of the works, 4 count in")


def test_merged_banks_count_the_works_of_both_in_any_order() -> None:
    # The second picture lies between the first and the third, which are not near each other.
    chain = [
        measurement(name, 0.1, [(0.5, 0.3)] * 4, pdq=pdq_hash(1, changed))
        for name, changed in (("a", 0), ("b", 30), ("c", 60))
    ]
    others = [measurement(f"o{n}", 0.1, [(0.5, 0.3)] * 4, pdq=pdq_hash(2 + n)) for n in range(5)]
    flat = [measurement(f"f{n}", 0.1, [(0.5, 0.3)] * 4, pdq="") for n in range(2)]
    a, b, c = (frozen([one, *others[n:]], f"bank {n}") for n, one in enumerate(chain))
    rest = frozen(flat, "flat")
    merged = a.merge(b).merge(c).merge(rest)
    assert merged.works == 1 + 5 + 2 and {one.pdq for one in merged.near_copies} <= {one.pdq for one in chain}
    assert merged == rest.merge(c).merge(a.merge(b)) == c.merge(b.merge(rest)).merge(a)
    assert a.merge(c).works == 2 + 5


def test_every_pair_of_hashes_is_compared_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = [pdq_hash(n % 37, n % 5) if n % 11 else "" for n in range(200)]
    expected = [min(m for m in range(200) if hashes[m] and m % 37 == n % 37) if hashes[n] else n for n in range(200)]
    assert near_duplicates.label_near_hashes(hashes).tolist() == expected
    monkeypatch.setattr(near_duplicates, "BLOCK_PAIRS", 1000)
    assert near_duplicates.label_near_hashes(hashes).tolist() == expected


def test_hashes_of_a_hostile_bank_are_refused(tmp_path: Path) -> None:
    held = bank(1).model_dump(mode="json")
    held["controls"][0]["pdq"] = "zz"
    (tmp_path / "bank.json").write_text(json.dumps(held))
    with pytest.raises(CalibrationError, match="is not a null bank"):
        NullBank.read(tmp_path / "bank.json")


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
