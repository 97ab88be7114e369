"""Tests of what a verification says."""

from imgaudit.schema.verification import Check, Verification


def test_problems_of_every_check_count_and_are_written_as_json() -> None:
    good = Check(name="files", done="3 files were compared")
    bad = Check(name="pages", problems=("'report/index.html' is another page",))
    found = Verification(head="00", files=3, findings=1, checks=[good])
    assert found.matches and found.problems == []
    with_pages = found.with_checks(bad)
    assert not with_pages.matches and with_pages.problems == ["'report/index.html' is another page"]
    assert with_pages.model_dump(mode="json")["problems"] == with_pages.problems
    assert found.matches
