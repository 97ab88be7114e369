"""Parts of a null bank give the bank of all controls, and nothing else does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgaudit.decision.bank_shards import join_bank_shards
from imgaudit.decision.controls import Control
from imgaudit.decision.null_bank import NullBank, split_controls
from imgaudit.exceptions import CalibrationError
from imgaudit.schema.shard import BankShard, Shard
from tests.support.records import bank

WHOLE = bank(100)


def controls_of(whole: NullBank) -> dict[str, Control]:
    return {one.sha256: one for one in (*whole.kept_out, *whole.controls, *whole.near_copies)}


def rebuild(whole: NullBank, images: set[str], made: str = "2026-01-02") -> NullBank:
    """The bank that a calibration on some of its controls makes."""
    controls = controls_of(whole)
    source = whole.sources[0].model_copy(update={"made": made, "sha256s": sorted(images)})
    return split_controls(whole, [controls[sha256] for sha256 in sorted(images)], [source])


def divide(whole: NullBank, count: int, chunk_size: int = 8) -> list[NullBank]:
    known, parts = set(controls_of(whole)), []
    for number in range(1, count + 1):
        shard = Shard(number=number, count=count)
        part = rebuild(whole, shard.select(known, chunk_size), made=f"2026-01-{1 + number:02}")
        parts.append(part.model_copy(update={"shard": BankShard.of(shard, known, chunk_size)}))
    return parts


@given(st.integers(1, 15), st.integers(1, 30), st.randoms())
def test_all_parts_in_any_order_are_the_whole_bank(count: int, chunk_size: int, random: object) -> None:
    parts = divide(WHOLE, count, chunk_size)
    random.shuffle(parts)  # type: ignore[attr-defined]
    assert join_bank_shards(parts) == rebuild(WHOLE, set(controls_of(WHOLE)))


def test_a_part_serves_no_audit() -> None:
    part = divide(WHOLE, 3)[1]
    with pytest.raises(CalibrationError, match="shard 2 of 3, and no p-value can be had from a part"):
        part.require(part.model_fingerprint, part.protocol)
    with pytest.raises(CalibrationError, match="shard 2 of 3"):
        part.merge(WHOLE)


def test_missing_double_and_foreign_parts_are_named() -> None:
    first, second, third = divide(WHOLE, 3)
    with pytest.raises(CalibrationError, match="2 of 3 shards are missing: 1, 3"):
        join_bank_shards([second])
    with pytest.raises(CalibrationError, match="shard 2 was given 2 times"):
        join_bank_shards([first, second, second, third])
    with pytest.raises(CalibrationError, match="is whole and no shard"):
        join_bank_shards([first, WHOLE, third])
    with pytest.raises(CalibrationError, match="no shards were given"):
        join_bank_shards([])
    seed = second.model_copy(update={"sources": [second.sources[0].model_copy(update={"seed": 99})]})
    others = {
        "other controls, or another chunk size": divide(WHOLE, 3, 9)[1],
        "4 shards, there 3": divide(WHOLE, 4)[1],
        "another model": second.model_copy(update={"model_fingerprint": "0" * 64}),
        "another copy descriptor": second.model_copy(update={"copy_descriptor": "sscd: here"}),
        "seed 99, there": seed,
    }
    for message, other in others.items():
        with pytest.raises(CalibrationError, match=f"not of the same calibration as shard 1 of 3: .*{message}"):
            join_bank_shards([first, other, third])
