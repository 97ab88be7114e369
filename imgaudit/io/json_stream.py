"""JSON objects with long lists in them, read and written in pieces: one element of a list is in memory at a time."""

import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

from imgaudit.exceptions import InputError, RunFolderError
from imgaudit.io.reading import open_bounded
from imgaudit.io.writing import MAX_PIECES_BYTES

CHUNK: Final = 2**18
"""Bytes that are read at once, where no element is longer."""

_DECODER: Final = json.JSONDecoder()

_SPACE: Final = re.compile(r"[ \t\n\r]*")
"""White space of JSON."""


def read_json_in_pieces(path: Path, takers: Mapping[str, Callable[[Any], None]], limit: int = MAX_PIECES_BYTES) -> Any:
    """Read a JSON file of at most `limit` bytes, and hand over the elements of some of its lists one at a time.

    takers:  called with every element of the list that the outermost object has under a name; the object that is
             returned has an empty list there. What is no list under such a name is returned as it is.

    Raises RunFolderError that names the file, also where a name of `takers` is there twice. Takers raise it too, and no
    ValueError.
    """
    try:
        with open_bounded(path, limit) as file:
            return _Pieces(file, limit).read(takers)
    except RunFolderError:
        raise
    except (InputError, OSError, ValueError, RecursionError) as error:
        raise RunFolderError(f"{str(path)!r} cannot be read: {error}") from error


def format_list(name: str, elements: Iterable[str]) -> Iterator[str]:
    """Yield a list as a member of the outermost object, as `format_json` writes it, without a comma behind it.

    elements:  each as `format_json` writes it by itself

    >>> from imgaudit.io.writing import format_json
    >>> "".join(format_list("a", map(format_json, [1, {"b": 2}])))
    '  "a": [\\n    1,\\n    {\\n      "b": 2\\n    }\\n  ]'
    """
    before = f"  {json.dumps(name)}: [\n"
    for element in elements:
        # No string of JSON has a line break in it, so that every line is indented.
        yield before + "    " + element[:-1].replace("\n", "\n    ")
        before = ",\n"
    yield f"  {json.dumps(name)}: []" if before != ",\n" else "\n  ]"


class _Pieces:
    """The text of a file, of which no more is held than the value that is being read."""

    def __init__(self, file: BufferedReader, limit: int) -> None:
        self._file, self._decode = file, codecs.getincrementaldecoder("utf-8")().decode
        self._text, self._place = "", 0
        self._limit, self._taken, self._ended = limit, 0, False

    def read(self, takers: Mapping[str, Callable[[Any], None]]) -> Any:
        """Return the whole value, as `read_json_in_pieces` does. Raises ValueError for what is no JSON."""
        value = self._object(takers) if self._next() == "{" else self._value()
        if self._next():
            raise ValueError("more follows after its end")
        return value

    def _object(self, takers: Mapping[str, Callable[[Any], None]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self._take("{")
        if self._next() == "}":
            self._take("}")
            return found
        while True:
            if self._next() != '"':
                raise ValueError("a name in double quotes is expected")
            name = self._value()
            self._take(":")
            if name in takers and name in found:
                raise ValueError(f"{name!r:.80} is there twice")
            if name in takers and self._next() == "[":
                self._list(takers[name])
                found[name] = []
            else:
                self._next()
                found[name] = self._value()
            if self._take(",}") == "}":
                return found

    def _list(self, take: Callable[[Any], None]) -> None:
        self._take("[")
        if self._next() == "]":
            self._take("]")
            return
        while True:
            self._next()
            take(self._value())
            if self._take(",]") == "]":
                return

    def _next(self) -> str:
        """Return the next character that is no white space, and stay before it; nothing at the end."""
        while True:
            found = _SPACE.match(self._text, self._place)
            self._place = found.end() if found else self._place
            if self._place < len(self._text):
                return self._text[self._place]
            if not self._read_on():
                return ""

    def _take(self, wanted: str) -> str:
        """Go behind the next character that is no white space, which must be one of those wanted."""
        came = self._next()
        if not came or came not in wanted:
            raise ValueError(f"{' or '.join(map(repr, wanted))} is expected, and {came!r} is there")
        self._place += 1
        return came

    def _value(self) -> Any:
        """Return the value that begins here, and go behind it."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._place)
            except ValueError:
                # It may only be cut.
                if not self._read_on():
                    raise
                continue
            # A number may go on behind what was read so far.
            if end < len(self._text) or not self._read_on():
                self._place = end
                return value

    def _read_on(self) -> bool:
        """Read more of the file, and forget what was taken; whether there can be more."""
        if self._ended:
            return False
        # As much again as is held, so that a long value is not parsed anew for each of many short pieces.
        data = self._file.read(max(CHUNK, len(self._text) - self._place))
        self._taken += len(data)
        if self._taken > self._limit:
            raise InputError(f"grew beyond {self._limit:,} bytes while it was read")
        self._ended = not data
        self._text = self._text[self._place :] + self._decode(data, self._ended)
        self._place = 0
        return True
