"""What a signature says: an in-toto Statement about a finished run, or about one file.

The JSON of a statement is documented in docs/reference/attestations.md.
"""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
RUN_PREDICATE: Final = "urn:imgaudit:predicate:run:v1"
FILE_PREDICATE: Final = "urn:imgaudit:predicate:file:v1"

CHAIN: Final = "imgauditChain"
"""Name of the digest of a chain: the head of evidence.json, which is the SHA-256 of no file."""


class Subject(BaseModel):
    """One thing that a statement is about, with its digests."""

    model_config = ConfigDict(frozen=True)

    name: str
    digest: dict[str, str] = Field(min_length=1)


class RunPredicate(BaseModel):
    """The statement's own part when a run is signed. Every value is text: JSON libraries round large numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: str
    """First 16 hexadecimal digits of the SHA-256 of manifest.json."""
    head: str
    """Head of the chain in evidence.json."""
    complete_head: str = ""
    """Head over everything in the run, reports and review included; empty for evidence that has none."""
    signed: str
    """Time in UTC by the clock of the signer's machine: a claim, which only a timestamp supports."""
    imgaudit: str
    """Version of imgaudit that signed."""


class FilePredicate(BaseModel):
    """The statement's own part when a single file is signed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    signed: str
    """Time in UTC by the clock of the signer's machine: a claim, which only a timestamp supports."""
    imgaudit: str
    """Version of imgaudit that signed."""


class Statement(BaseModel):
    """An in-toto Statement v1, as it is read back; fields that a later version adds are left out."""

    model_config = ConfigDict(frozen=True)

    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: list[Subject] = Field(min_length=1, max_length=100)
    predicate_type: str = Field(alias="predicateType")
    predicate: dict[str, object]
