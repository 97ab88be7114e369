"""What vectors belong to: untrusted ids and paths, many at a time."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, compress
from typing import NamedTuple

LONGEST = 32_768
"""Bytes of one id or path."""

UTF8_BYTES = 4
"""Bytes of one character at most."""


class Name(NamedTuple):
    """Id of a vector and path of its file, empty where it has none."""

    id: str
    path: str


@dataclass(frozen=True)
class Names:
    """Names of several vectors, in columns: a tuple for each would take longer to make than its vector to index.

    >>> list(Names.of([Name("a", "a.png"), Name("b", "")]).within("photos"))
    [Name(id='photos/a', path='a.png'), Name(id='photos/b', path='')]
    """

    ids: Sequence[str]
    """Names in the collection."""
    paths: Sequence[str]
    """Files, or empty texts; as many."""

    @classmethod
    def of(cls, names: Iterable[Name]) -> "Names":
        """Put single names into columns."""
        held = list(names)
        return cls([name.id for name in held], [name.path for name in held])

    @classmethod
    def numbered(cls, start: int, stop: int) -> "Names":
        """Return row numbers as ids, without paths."""
        return cls(list(map(str, range(start, stop))), [""] * (stop - start))

    @classmethod
    def joined(cls, parts: Iterable["Names"]) -> "Names":
        """Those of all parts, in order."""
        held = list(parts)
        return cls(
            list(chain.from_iterable(part.ids for part in held)), list(chain.from_iterable(part.paths for part in held))
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Name]:
        return map(Name, self.ids, self.paths)

    def within(self, label: str) -> "Names":
        """Return the same names with ids that begin with a source's label."""
        return Names([f"{label}/{one}" for one in self.ids], self.paths)

    def kept(self, mask: Iterable[object]) -> "Names":
        """Return the names where the mask is true."""
        chosen = list(mask)
        return Names(list(compress(self.ids, chosen)), list(compress(self.paths, chosen)))

    def refused(self) -> dict[int, str]:
        """Return, by row, what may not be an id or a path and why."""
        if not any(_may_be_refused(column) for column in (self.ids, self.paths)):
            return {}
        found = {}
        for row, name in enumerate(self):
            reason = next(
                (f"its name {text[:200]!r} {why}" for text in name if (why := find_refusal_reason(text))), None
            )
            if reason is not None:
                found[row] = reason
        return found


def _may_be_refused(texts: Sequence[str]) -> bool:
    """Return whether one of them may be refused: three searches of all together instead of three of each."""
    joined = "\n".join(texts)
    return ".." in joined or "\0" in joined or UTF8_BYTES * max(map(len, texts), default=0) > LONGEST


def find_refusal_reason(text: str) -> str | None:
    """Return why a string from outside may not be an id or a path, or None: it must not lead out of a folder.

    >>> find_refusal_reason("photos/a.png")
    >>> find_refusal_reason("photos/../../etc/passwd")
    "contains '..' as a folder"
    """
    if "\0" in text:
        return "contains a zero byte"
    if ".." in text and ".." in text.replace("\\", "/").split("/"):
        return "contains '..' as a folder"
    if len(text.encode("utf-8", errors="surrogatepass")) > LONGEST:
        return f"is longer than {LONGEST:,} bytes"
    return None
