"""One reviewer's decision on one image: a frozen record, whoever it comes from."""

import enum
import unicodedata
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator, Field, field_validator, model_validator

from imgaudit.schema.findings import Verdict
from imgaudit.schema.records import Record

LONGEST_COMMENT = 4000
"""Characters."""

LONGEST_NAME = 120
"""Characters of a reviewer's name."""

HIGHEST_LEVEL = 5
"""The end of the scale for how much of an image was returned: 0 none of it, 5 all of it. It is the scale of D-Rep
(Wang et al., Image Copy Detection for Diffusion Models, NeurIPS 2024), whose 40,000 pairs people have labelled."""


class ReviewChoice(enum.StrEnum):
    """A reviewer's opinion of the machine's verdict."""

    ACCEPT = "accept"
    """It holds."""
    DISPUTE = "dispute"
    """It does not."""
    UNSURE = "unsure"
    """The reviewer has looked and cannot say."""


class Source(enum.StrEnum):
    """Way by which a decision came into the run."""

    FILE = "file"
    """From a decisions.json."""
    VIEW = "view"
    """From the pages that `imgaudit view` serves."""


def _timestamp(value: Any) -> Any:
    # Bare numbers would be read as seconds or milliseconds, whichever looks likelier.
    if not isinstance(value, str | datetime):
        raise ValueError("expected a time such as 2026-05-04T10:20:30Z")
    return value


class ReviewDecision(Record):
    """One reviewer's decision on one image, and on one result.

    >>> ReviewDecision(
    ...     run_id="0" * 16, image_id="a" * 16, sha256="a" * 64, result_sha256="b" * 64, decision="dispute",
    ...     replication_level=1, comment="Only the frame.", reviewer=" A. Jurist ", made="2026-05-04T12:20:30+02:00",
    ...     machine_verdict="partial", source="file", version="0.1.0",
    ... ).model_dump(mode="json", include={"reviewer", "made"})
    {'reviewer': 'A. Jurist', 'made': '2026-05-04T10:20:30Z'}
    """

    run_id: str = Field(pattern=r"^[0-9a-f]{16}$")
    """First 16 hex digits of the SHA-256 of the run's manifest.json."""
    image_id: str = Field(pattern=r"^[0-9a-f]{16}$")
    """First 16 hex digits of the image's SHA-256."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the image's file."""
    result_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the report.json that the reviewer saw."""
    decision: ReviewChoice
    """The reviewer's opinion of the machine's verdict."""
    replication_level: int | None = Field(strict=True, ge=0, le=HIGHEST_LEVEL)
    """Amount of the image that was returned, 0 (none) to 5 (all); None where the reviewer gave no level."""
    comment: str = Field(max_length=LONGEST_COMMENT)
    """In the reviewer's words; may be empty."""
    reviewer: str = Field(min_length=1, max_length=LONGEST_NAME)
    """Who decided, as they call themselves: nothing proves it."""
    made: Annotated[AwareDatetime, BeforeValidator(_timestamp)]
    """When, in UTC, by the reviewer's clock; cut to milliseconds."""
    machine_verdict: Verdict
    """The machine's verdict that the reviewer saw."""
    source: Source
    """Way by which it came into the run."""
    version: str = Field(pattern=r"^[0-9A-Za-z.+!-]{1,40}$")
    """Version of the imgaudit that wrote it into the run."""

    @field_validator("reviewer", mode="before")
    @classmethod
    def _one_spelling(cls, value: Any) -> Any:
        # The same name typed on two systems must be the same reviewer.
        return unicodedata.normalize("NFC", value).strip() if isinstance(value, str) else value

    @field_validator("reviewer")
    @classmethod
    def _readable(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("expected a name without control or direction characters")
        return value

    @field_validator("comment")
    @classmethod
    def _writable(cls, value: str) -> str:
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError("expected text that can be written as UTF-8") from error
        return value

    @field_validator("made")
    @classmethod
    def _in_utc(cls, value: datetime) -> datetime:
        try:
            value = value.astimezone(UTC)
        except OverflowError as error:
            raise ValueError("expected a time between the years 1 and 9999") from error
        return value.replace(microsecond=value.microsecond // 1000 * 1000)

    @model_validator(mode="after")
    def _one_image(self) -> "ReviewDecision":
        if self.sha256[:16] != self.image_id:
            raise ValueError(f"expected an image_id that begins the sha256, but got {self.image_id}")
        return self

    @property
    def said(self) -> tuple[object, ...]:
        """Values that make two records the same decision: all but how it came into a run."""
        return (
            self.image_id, self.reviewer, self.made, self.decision, self.replication_level, self.comment,
            self.result_sha256,
        )  # fmt: skip
