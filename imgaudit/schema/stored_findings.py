"""The findings of a large run, held in memory as compressed JSON, which takes a fraction of what the objects do."""

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self, overload

from pydantic import ValidationError

from imgaudit.schema.findings import Finding

LEVEL = 3
"""Level of compression: higher ones take more time and little less memory."""

EXAMPLES = 3
"""The first findings, which the others are compressed against: names and sentences are the same in most."""


class StoredFindings(Sequence[Finding]):
    """Findings that are made anew whenever one is asked for, so that no more than one need be in memory.

    Walk over them rather than ask for the same one again and again: each time it is made anew.
    """

    def __init__(self, findings: Iterable[Finding] = ()) -> None:
        self._packed = list[bytes]()
        self._examples, self._lacking = b"", EXAMPLES
        for finding in findings:
            self.append(finding)

    def append(self, finding: Finding) -> None:
        """Add a finding at the end."""
        self._append(finding.model_dump(mode="json"))

    def append_content(self, content: object) -> None:
        """Add a finding as report.json has it. Raises ValidationError for what is none."""
        Finding.model_validate(content)
        self._append(content)

    def _append(self, content: object) -> None:
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
        if self._lacking:
            self._examples, self._lacking = self._examples + text, self._lacking - 1
            self._packed.append(zlib.compress(text, LEVEL))
        else:
            packing = zlib.compressobj(LEVEL, zdict=self._examples)
            self._packed.append(packing.compress(text) + packing.flush())

    def content(self, place: int) -> Any:
        """Return a finding as report.json has it."""
        return json.loads(self._unpack(self._packed[place]))

    def take(self, places: Iterable[int]) -> Self:
        """Return some of the findings, in the order of their places."""
        taken = type(self)()
        # Whatever is added to it is compressed against the same examples, as these findings are.
        taken._examples, taken._lacking = self._examples, 0
        taken._packed = [self._packed[place] for place in places]
        return taken

    def _unpack(self, packed: bytes) -> bytes:
        # zlib sees by itself that the first ones were compressed without the examples.
        return zlib.decompressobj(zdict=self._examples).decompress(packed)

    def _make(self, packed: bytes) -> Finding:
        text = self._unpack(packed)
        try:
            return Finding.model_validate_json(text)
        except ValidationError:
            # Half of a surrogate pair, which somebody else's report can hold, is text to Python alone.
            return Finding.model_validate(json.loads(text))

    @overload
    def __getitem__(self, place: int) -> Finding: ...
    @overload
    def __getitem__(self, place: slice) -> list[Finding]: ...
    def __getitem__(self, place: int | slice) -> Finding | list[Finding]:
        return (
            list(map(self._make, self._packed[place])) if isinstance(place, slice) else self._make(self._packed[place])
        )

    def __iter__(self) -> Iterator[Finding]:
        return map(self._make, self._packed)

    def __len__(self) -> int:
        return len(self._packed)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(one == another for one, another in zip(self, other, strict=True))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self)!r})"


def take_findings(findings: Sequence[Finding], places: Sequence[int]) -> Sequence[Finding]:
    """Return findings in the order of their places; none is made where they are stored."""
    if isinstance(findings, StoredFindings):
        return findings.take(places)
    return [findings[place] for place in places]


def list_contents(findings: Sequence[Finding]) -> Iterator[Any]:
    """Yield findings as report.json has them, one at a time."""
    if isinstance(findings, StoredFindings):
        return map(findings.content, range(len(findings)))
    return (finding.model_dump(mode="json") for finding in findings)


def read_content(findings: Sequence[Finding], place: int) -> Any:
    """Return one finding as report.json has it."""
    if isinstance(findings, StoredFindings):
        return findings.content(place)
    return findings[place].model_dump(mode="json")
