"""Shards divide any list of images into whole chunks, each image in one shard."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgaudit.exceptions import InputError
from imgaudit.schema.shard import BankShard, Shard

DIGESTS = st.sets(st.binary(min_size=32, max_size=32).map(bytes.hex), max_size=60)


@given(DIGESTS, st.integers(1, 12), st.integers(1, 9))
def test_shards_of_any_number_and_chunks_of_any_size_partition_the_images(
    images: set[str], count: int, size: int
) -> None:
    parts = [Shard(number=number, count=count).select(images, size) for number in range(1, count + 1)]
    assert set().union(*parts) == images and sum(map(len, parts)) == len(images)
    order = sorted(images)
    whole = [set(order[start : start + size]) for start in range(0, len(order), size)]
    # Chunks stay whole, and keep their members when a shard's own list is cut into chunks again.
    cut = [
        {*own[start : start + size]} for part in parts for own in [sorted(part)] for start in range(0, len(own), size)
    ]
    assert sorted(cut, key=sorted) == whole
    assert max(map(len, parts)) - min(map(len, parts)) <= size


@pytest.mark.parametrize("text", ["3/20", "1/1", "20/20"])
def test_a_shard_is_read_as_it_is_named(text: str) -> None:
    shard = Shard.parse(text)
    assert f"{shard.number}/{shard.count}" == text


@pytest.mark.parametrize(
    "text", ["", "3", "0/3", "4/3", "-1/3", "1/0", "1/10001", "1/3/5", " 1/3", "a/b", "٣/٥", "1/3\n"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--shard is I/N"):
        Shard.parse(text)
    with pytest.raises(ValueError, match="no shard 4 of 3"):
        Shard(number=4, count=3)


def test_parts_of_other_controls_or_chunks_are_told_apart() -> None:
    shard = Shard(number=1, count=2)
    same = {BankShard.of(shard, images, 8) for images in (["a" * 64, "b" * 64], ["b" * 64, "a" * 64])}
    assert len(same) == 1
    assert BankShard.of(shard, ["a" * 64], 8) not in same and BankShard.of(shard, ["a" * 64, "b" * 64], 4) not in same
