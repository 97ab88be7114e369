"""Seals: what an audit will be, fixed in a statement before anything is measured."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from imgaudit.schema.config import AuditConfig
from imgaudit.schema.manifest import AuditManifest, KnownTarget
from imgaudit.schema.records import Record, SkippedImage

FREE_OPTIONS = frozenset({"batch_size", "device", "fail_on", "offline", "operator", "rescan", "seed"})
"""Options that a seal does not fix, as they do not decide what is measured or how. Another seed is allowed, and shown
as one wherever the run is."""


def canonical_json(value: Any) -> bytes:
    """Return JSON with sorted keys and without spaces, in UTF-8: the same value always gives the same bytes.

    >>> canonical_json({"b": 1, "a": "é"})
    b'{"a":"\\xc3\\xa9","b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8")


def hash_json(value: Any) -> str:
    """Return the SHA-256 over a value's canonical JSON, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


class SealedImages(Record):
    """A folder of images beside the targets: controls or decoys."""

    images: list[KnownTarget]
    """Images that could be read."""
    skipped: list[SkippedImage]
    """Files that could not, with the reason."""


class SealedBank(Record):
    """A null bank that was measured before."""

    bank_sha256: str
    """SHA-256 over its canonical JSON."""
    controls: int
    """Number of files that it was made from."""
    source: str
    """Origin of its controls in words."""


class SealedCollection(Record):
    """A collection in which near copies are counted."""

    manifest_sha256: str
    """SHA-256 of its manifest, which holds the digests of all its files."""
    name: str
    """Name of its folder."""


class Statement(Record):
    """Everything that decides what an audit measures and concludes, as it was before the audit began."""

    kind: Literal["imgaudit seal"] = "imgaudit seal"
    """Tells this file from others."""
    statement_version: Literal[1] = 1
    """Version of the format."""
    audit: AuditManifest
    """The manifest that the audit would be begun with. `started` is the time of sealing, `command` the command that
    sealed, and `device` the device that the model was loaded onto."""
    controls: SealedImages | SealedBank | None
    """Controls; None for an audit without any."""
    decoys: SealedImages | None
    """Images given as decoys; None where the controls serve."""
    reference: SealedCollection | None
    """Collection; None without one."""
    inputs: dict[str, str]
    """Folders and files as they were named, by option."""

    @property
    def config(self) -> AuditConfig:
        """The options that the seal fixes, with its seed and operator; the others have their defaults."""
        fixed = self.audit.config.keys() - FREE_OPTIONS | {"seed", "operator"}
        return AuditConfig.model_validate({key: self.audit.config[key].value for key in fixed})


@dataclass(frozen=True)
class Seal:
    """A statement and the bytes of its file, whose digest names it."""

    statement: Statement
    """The statement."""
    data: bytes
    """Content of the file."""
    path: Path | None = field(default=None, compare=False)
    """The file that the user gave, beside which its signature and timestamps lie; None for a seal that a run holds."""

    @classmethod
    def of(cls, statement: Statement) -> "Seal":
        """Return the seal of a new statement."""
        return cls(statement, canonical_json(statement.model_dump(mode="json")))

    @property
    def sha256(self) -> str:
        """SHA-256 of the file, as sha256sum prints it."""
        return hashlib.sha256(self.data).hexdigest()
