"""What a decision may say, whoever it comes from."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from imgaudit.report.review import (
    ReviewDecision,
    ReviewedRun,
    write_decisions_file,
)
from tests.support.reviews import decision, ledger_of


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"decision": "delete"}, "decision"),
        ({"replication_level": 6}, "replication_level"),
        ({"replication_level": True}, "replication_level"),
        ({"replication_level": "4"}, "replication_level"),
        ({"comment": "x" * 4001}, "comment"),
        ({"comment": "\ud800"}, "comment"),
        ({"reviewer": "  "}, "reviewer"),
        ({"reviewer": "A\u202enn"}, "control or direction"),
        ({"reviewer": "x" * 121}, "reviewer"),
        ({"made": "2026-05-04T10:20:30"}, "timezone"),
        ({"made": 1777890030}, "expected a time such as"),
        ({"made": "0001-01-01T00:00:00+14:00"}, "between the years"),
        ({"sha256": "f" * 64}, "begins the sha256"),
        ({"image_id": "../../../etc/pas"}, "image_id"),
        ({"verdict": "x"}, "Extra inputs"),
        ({"machine_verdict": "guilty"}, "machine_verdict"),
    ],
)
def test_a_record_is_refused_with_its_reason(reviewed: ReviewedRun, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        decision(reviewed, **changes)


def test_a_name_is_one_name_however_it_is_typed(reviewed: ReviewedRun) -> None:
    assert decision(reviewed, reviewer="Jose\u0301 ").reviewer == decision(reviewed, reviewer="Jos\xe9").reviewer


@given(
    comment=st.text(max_size=200),
    reviewer=st.text(min_size=1, max_size=40).filter(lambda text: text.strip()),
    made=st.datetimes(timezones=st.just(UTC)),
    level=st.none() | st.integers(0, 5),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_accepted_survives_the_file_and_the_ledger(
    reviewed: ReviewedRun, comment: str, reviewer: str, made: datetime, level: int | None
) -> None:
    try:
        one = decision(reviewed, comment=comment, reviewer=reviewer, made=made.isoformat(), replication_level=level)
    except ValidationError:
        return
    text = write_decisions_file(reviewed.run_id, [one])
    assert ReviewDecision.model_validate(json.loads(text)["decisions"][0]) == one
    ledger = ledger_of(reviewed)
    ledger.append([one])
    assert one in ledger.read().history and not ledger.read().damaged
