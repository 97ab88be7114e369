"""Shards: one part of an audit or a calibration that several machines divide."""

import hashlib
import re
from collections.abc import Collection
from typing import Self

from pydantic import Field, model_validator

from imgaudit.exceptions import InputError
from imgaudit.schema.records import Record

MOST_SHARDS = 10_000
"""Parts that the work can be divided into."""


class Shard(Record):
    """One of several parts of the images: whole chunks, so that every image keeps the neighbours that it always has."""

    number: int = Field(ge=1)
    """Number of the part, from 1 on."""
    count: int = Field(ge=1, le=MOST_SHARDS)
    """Number of the parts."""

    @model_validator(mode="after")
    def _is_one_of_them(self) -> Self:
        if self.number > self.count:
            raise ValueError(f"there is no shard {self.number} of {self.count}")
        return self

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read a part as it is named on the command line. Raises InputError for anything else.

        >>> str(Shard.parse("3/20"))
        'shard 3 of 20'
        """
        found = re.fullmatch(r"([0-9]{1,5})/([0-9]{1,5})", text)
        number, count = (int(found[1]), int(found[2])) if found else (0, 0)
        if not 1 <= number <= count <= MOST_SHARDS:
            raise InputError(
                f"--shard is I/N, such as 3/20 for the third of twenty parts, with N at most {MOST_SHARDS:,}; but got "
                f"{text!r:.80}"
            )
        return cls(number=number, count=count)

    def __str__(self) -> str:
        return f"shard {self.number} of {self.count}"

    def select(self, sha256s: Collection[str], chunk_size: int) -> set[str]:
        """Return the images of this part. The images of all parts are all images, each in one part.

        sha256s:     SHA-256 of all images of the audit, in any order
        chunk_size:  images in a chunk

        Images are sorted by SHA-256 and cut into chunks, as an audit does. Part I takes chunk I, I + N, I + 2 N, ...

        >>> sorted(Shard.parse("1/2").select("abcdefgh", 3)), sorted(Shard.parse("2/2").select("abcdefgh", 3))
        (['a', 'b', 'c', 'g', 'h'], ['d', 'e', 'f'])
        """
        order = sorted({*sha256s})
        return {sha256 for place, sha256 in enumerate(order) if place // chunk_size % self.count == self.number - 1}


class ShardSummary(Record):
    """What a part of an audit has measured. It has no verdicts: those need all images."""

    shard: Shard
    """The part."""
    images: int
    """Number of its images."""
    measured: int
    """Number of images that were measured."""
    skipped: int
    """Number of images that were not measured."""
    head: str
    """End of the chain in its evidence.json, which covers every file of the part."""


class BankShard(Record):
    """The part of a null bank's controls that a file holds."""

    shard: Shard
    """The part."""
    images_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 over the size of a chunk and the SHA-256 of all controls of all parts: the same in every part."""

    @property
    def refusal(self) -> str:
        """The reason why no audit takes the file, as a sentence that says what to do."""
        return (
            f"the null bank is {self.shard}, and no p-value can be had from a part of the controls: imgaudit merge "
            "SHARD... --out BANK makes a bank of all shards"
        )

    @classmethod
    def of(cls, shard: Shard, sha256s: Collection[str], chunk_size: int) -> "BankShard":
        """Return what the bank of a part says of all controls."""
        lines = "\n".join([str(chunk_size), *sorted(sha256s)])
        return cls(shard=shard, images_sha256=hashlib.sha256(lines.encode()).hexdigest())
