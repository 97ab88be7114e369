"""The null bank of all parts of a calibration: what the calibration would have made in one piece."""

from collections import Counter
from collections.abc import Iterator, Sequence

from imgaudit.decision.controls import ControlSource
from imgaudit.decision.null_bank import NullBank, split_controls
from imgaudit.exceptions import CalibrationError
from imgaudit.schema.shard import Shard

SHOWN = 5
"""Missing parts that a message lists."""


def join_bank_shards(banks: Sequence[NullBank]) -> NullBank:
    """Return the bank of all parts, in any order.

    Raises CalibrationError that names parts which are missing, given twice, or of another calibration.
    """
    parts = sorted(((_require_part(bank), bank) for bank in banks), key=lambda one: one[0].number)
    if not parts:
        raise CalibrationError("no shards were given: name the files of all shards")
    (shard, first), *others = parts
    for other, bank in others:
        if found := list(_find_differences(first, bank)):
            raise CalibrationError(f"{other} is not of the same calibration as {shard}: {'; '.join(found)}")
    _require_all([one for one, _ in parts])
    everything = {
        control.sha256: control for bank in banks for control in (*bank.kept_out, *bank.controls, *bank.near_copies)
    }
    whole = first.model_copy(update={"shard": None})
    source = _join_sources([bank.sources[0] for _, bank in parts])
    joined = split_controls(whole, [everything[sha256] for sha256 in sorted(everything)], [source])
    if len(joined.baselines) > 1:
        raise CalibrationError("the shards were scored against different baselines: calibrate again with one version")
    return joined


def _require_part(bank: NullBank) -> Shard:
    if bank.shard is None or len(bank.sources) != 1:
        raise CalibrationError(
            f"a null bank of {bank.files} controls is whole and no shard: imgaudit bank merge merges whole banks"
        )
    return bank.shard.shard


def _require_all(shards: Sequence[Shard]) -> None:
    times, count = Counter(one.number for one in shards), shards[0].count
    if twice := [number for number, given in sorted(times.items()) if given > 1]:
        raise CalibrationError(f"shard {twice[0]} was given {times[twice[0]]} times: give it once")
    if missing := [number for number in range(1, count + 1) if number not in times]:
        named = ", ".join(map(str, missing[:SHOWN])) + (" and others" if len(missing) > SHOWN else "")
        raise CalibrationError(f"{len(missing)} of {count} shards are missing: {named}")


def _join_sources(sources: Sequence[ControlSource]) -> ControlSource:
    """Return the set of controls of all parts, which have one origin and one seed."""
    measured = sorted({sha256 for one in sources for sha256 in one.sha256s})
    same_works = {sha256 for one in sources for sha256 in one.same_works} - {*measured}
    return sources[0].model_copy(
        update={
            "made": min(one.made for one in sources), "sha256s": measured, "same_works": sorted(same_works),
        }
    )  # fmt: skip


def _find_differences(first: NullBank, other: NullBank) -> Iterator[str]:
    """Yield what keeps two parts from being parts of one calibration, in words."""
    if first.shard is None or other.shard is None:
        return
    if first.shard.shard.count != other.shard.shard.count:
        yield f"{other.shard.shard.count} shards, there {first.shard.shard.count}"
    if first.shard.images_sha256 != other.shard.images_sha256:
        yield "other controls, or another chunk size"
    if first.model_fingerprint != other.model_fingerprint:
        yield "another model, by its fingerprint"
    yield from (f"protocol {one}" for one in other.protocol.differences(first.protocol))
    if first.copy_descriptor != other.copy_descriptor:
        yield "another copy descriptor, or only one of the two has one"
    for name in ("seed", "note"):
        here, there = (getattr(bank.sources[0], name) for bank in (other, first))
        if here != there:
            yield f"{name} {here!r:.80}, there {there!r:.80}"
