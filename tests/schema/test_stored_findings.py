"""Findings that are stored are the same when they are taken out, and take little memory."""

import tracemalloc

import pytest
from pydantic import ValidationError

from imgaudit.decision.folder import FolderDecision
from imgaudit.decision.replication import Evidence
from imgaudit.decision.verdict import conclude_folder
from imgaudit.schema.findings import Finding
from imgaudit.schema.stored_findings import StoredFindings, list_contents, read_content, take_findings
from tests.support.records import PROTOCOL, bank, measurement


@pytest.fixture(scope="module")
def findings() -> list[Finding]:
    targets = [measurement(f"t{n}", 0.3 * n, [(0.1 * n, 0.4)] * 8, [(0.4, 0.4)] * 8) for n in range(5)]
    return conclude_folder(FolderDecision(targets, Evidence(bank(99), PROTOCOL)))


def test_what_is_taken_out_is_what_was_put_in(findings: list[Finding]) -> None:
    stored = StoredFindings(findings)
    assert len(stored) == 5 and list(stored) == findings and stored == findings and stored == StoredFindings(findings)
    assert stored[-1] == findings[-1] and stored[1:3] == findings[1:3] and stored != findings[:4]
    assert list(list_contents(stored)) == list(list_contents(findings))
    assert [stored.content(place) for place in range(5)] == [one.model_dump(mode="json") for one in findings]


def test_findings_are_taken_in_another_order(findings: list[Finding]) -> None:
    for given in (findings, StoredFindings(findings)):
        assert list(take_findings(given, [3, 0, 0])) == [findings[3], findings[0], findings[0]]
        assert read_content(given, 2) == findings[2].model_dump(mode="json")


def test_findings_can_be_added_to_those_that_were_taken(findings: list[Finding]) -> None:
    for count in range(6):
        stored = StoredFindings(findings[:count])
        taken = stored.take(range(count))
        for one in (*findings, *findings):
            taken.append(one)
        assert list(taken) == [*findings[:count], *findings, *findings] and list(stored) == findings[:count]


def test_content_from_elsewhere_is_checked_and_kept_as_it_is(findings: list[Finding]) -> None:
    stored, content = StoredFindings(), findings[0].model_dump(mode="json")
    with pytest.raises(ValidationError):
        stored.append_content({"id": "x"})
    stored.append_content(content | {"path": "half a pair: \ud800"})
    assert stored.content(0)["path"] == stored[0].path == "half a pair: \ud800"


def test_a_stored_finding_takes_a_fraction_of_an_object(findings: list[Finding]) -> None:
    tracemalloc.start()
    try:
        stored = StoredFindings(findings[:1])
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(200):
            stored.append(findings[-1])
        each = (tracemalloc.get_traced_memory()[0] - before) / 200
    finally:
        tracemalloc.stop()
    # Most of what is left are digits.
    assert each < 700
