"""The decision form in a browser: from disk and served, with storage that fails."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from imgaudit.report.review import read_decisions_file, read_reviewed_run
from imgaudit.report.server import ReviewServer
from imgaudit.runs.folder import RunFolder
from tests.support.review_requests import history

pytestmark = [pytest.mark.enable_socket]


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a new user; whatever its console says fails the test."""
    context = browser.new_context()
    context.set_default_timeout(10_000)
    made = context.new_page()
    problems: list[str] = []
    made.on("pageerror", lambda error: problems.append(str(error)))
    made.on("console", lambda message: problems.append(message.text) if "Content Security" in message.text else None)
    yield made
    context.close()
    assert problems == []


def fill(
    page: Page, choice: str = "Dispute", level: str = "2: some", name: str = "Ann", comment: str = "<b>Frame"
) -> None:
    page.get_by_label(choice).check()
    page.get_by_label(level).check()
    page.get_by_label("Comment").fill(comment)
    page.get_by_label("Your name").fill(name)


def page_of(pages: RunFolder, number: int = 0) -> Path:
    return sorted((pages.path / "report").glob("decide-[0-9a-f]*.html"))[number]


@pytest.mark.browser
def test_from_disk_drafts_are_kept_and_saved_as_a_file(pages: RunFolder, page: Page, tmp_path: Path) -> None:
    reviewed = read_reviewed_run(pages.path)
    page.goto(page_of(pages).as_uri())
    status = page.get_by_role("status")
    page.get_by_label("Accept").check()
    page.get_by_role("button", name="Save decision", exact=True).click()
    expect(status).to_contain_text("give your name")
    fill(page)
    page.get_by_role("button", name="Save decision", exact=True).click()
    expect(status).to_contain_text("Kept in this browser")
    page.reload()
    assert page.get_by_label("Dispute").is_checked() and page.get_by_label("2: some").is_checked()
    assert page.get_by_label("Comment").input_value() == "<b>Frame"
    # The name is remembered; a decision without a choice is not in the file.
    page.goto(page_of(pages, 1).as_uri())
    assert page.get_by_label("Your name").input_value() == "Ann"
    page.get_by_label("Comment").fill("later")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save decisions.json").click()
    expect(status).to_have_text("1 decision in decisions.json; left out: 1 without a decision or a name.")
    assert download.value.suggested_filename == "decisions.json"
    download.value.save_as(tmp_path / "decisions.json")
    [one] = read_decisions_file(tmp_path / "decisions.json", reviewed)
    assert (one.decision.value, one.replication_level, one.comment, one.reviewer) == ("dispute", 2, "<b>Frame", "Ann")
    assert one.machine_verdict is reviewed.images[one.image_id].verdict


@pytest.mark.browser
def test_other_scripts_can_decide_and_are_told_of_changes(pages: RunFolder, page: Page) -> None:
    reviewed = read_reviewed_run(pages.path)
    first, second = sorted(reviewed.images)
    page.goto((pages.path / "report" / "all.html").as_uri())
    assert page.evaluate("name => imgauditDecisions.get(name)", first) is None
    set_fields = "([name, fields]) => void imgauditDecisions.set(name, fields)"
    page.evaluate("window.told = 0; void imgauditDecisions.onChange(() => { window.told += 1; })")
    page.evaluate(set_fields, [first, {"decision": "accept", "reviewer": "Ann"}])
    page.evaluate(set_fields, [first, {"replication_level": 5}])
    page.evaluate(set_fields, [second, {"decision": "nonsense", "replication_level": 9, "sha256": "x"}])
    assert page.evaluate("window.told") == 3
    found = page.evaluate("imgauditDecisions.all()")
    assert found.keys() == {first, second}
    assert (found[first]["decision"], found[first]["replication_level"], found[first]["saved"]) == ("accept", 5, False)
    assert (found[second]["decision"], found[second]["replication_level"]) == (None, None)
    assert found[second]["sha256"] == reviewed.images[second].sha256 and found[second]["reviewer"] == "Ann"
    # The image's own page shows what was decided on the index, and the other way round.
    page.goto((pages.path / "report" / f"decide-{first}.html").as_uri())
    assert page.get_by_label("Accept").is_checked() and page.get_by_label("5: all").is_checked()
    with pytest.raises(Exception, match="no image"):
        page.evaluate(set_fields, ["0" * 16, {"decision": "accept"}])


@pytest.mark.browser
@pytest.mark.parametrize(
    "stored", ["[", "7", '{"x": 1}', '{"__proto__": {"decision": "accept"}}', '{"0123456789abcdef": {"run_id": [1]}}']
)
def test_whatever_lies_in_the_storage_breaks_nothing(pages: RunFolder, page: Page, stored: str) -> None:
    run_id = read_reviewed_run(pages.path).run_id
    page.goto(page_of(pages).as_uri())
    page.evaluate("([key, text]) => localStorage.setItem(key, text)", [f"imgaudit-decisions:{run_id}", stored])
    page.reload()
    assert page.evaluate("imgauditDecisions.all()") == {}
    fill(page)
    page.get_by_role("button", name="Save decision", exact=True).click()
    assert len(page.evaluate("imgauditDecisions.all()")) == 1


@pytest.mark.browser
@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("Storage.prototype.setItem = () => { throw new DOMException('', 'QuotaExceededError'); }", "storage is full"),
        (
            "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('', 'SecurityError'); } })",
            "This browser keeps nothing",
        ),
    ],
)
def test_a_browser_that_keeps_nothing_says_so(pages: RunFolder, page: Page, broken: str, said: str) -> None:
    page.add_init_script(broken)
    page.goto(page_of(pages).as_uri())
    fill(page)
    page.get_by_role("button", name="Save decision", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text(said)
    # What is on the page can still be saved.
    with page.expect_download() as download:
        page.get_by_role("button", name="Save decisions.json").click()
    content = json.loads(Path(download.value.path()).read_text())
    assert [one["comment"] for one in content["decisions"]] == ["<b>Frame"]


@pytest.mark.browser
def test_served_pages_save_in_the_run(server: ReviewServer, page: Page) -> None:
    report = server.url.partition("/report/")[0] + "/report/"
    page.goto(f"{report}{page_of(server.run).name}#verdict=partial&token={server.token}")
    assert page.url.endswith("#verdict=partial")
    fill(page)
    page.get_by_role("button", name="Save decision", exact=True).click()
    status = page.get_by_role("status")
    expect(status).to_have_text("Saved in the run.")
    expect(page.locator("#decision-saved")).to_contain_text("Ann disputes the verdict, replication level 2")
    expect(page.locator("#decision-saved q")).to_have_text("<b>Frame")
    [one] = history(server)
    assert (one.decision.value, one.source.value, one.comment) == ("dispute", "view", "<b>Frame")
    page.get_by_role("button", name="Save decision", exact=True).click()
    expect(status).to_have_text("Saved in the run.")
    assert len(history(server)) == 1
    # Another page of the same tab has the token; so has a new tab, which asks.
    page.goto(f"{report}all.html")
    page.wait_for_function("() => Object.keys(imgauditDecisions.all()).length === 1")
    other = page.context.new_page()
    other.goto(f"{report}{page_of(server.run).name}")
    expect(other.locator("#decision-saved")).to_contain_text("Ann disputes the verdict")
    assert page.evaluate("name => imgauditDecisions.savedOf(name).length", one.image_id) == 1


@pytest.mark.browser
def test_what_is_not_saved_is_said_and_can_be_sent_later(server: ReviewServer, page: Page) -> None:
    address = server.url.partition("/report/")[0] + f"/report/{page_of(server.run).name}"
    page.goto(address)
    fill(page)
    status, save = page.get_by_role("status"), page.get_by_role("button", name="Save decision", exact=True)
    save.click()
    expect(status).to_contain_text("Not saved in the run: open the page that imgaudit view opened")
    page.goto(f"{address}#token=wrong")
    page.reload()
    save.click()
    expect(status).to_contain_text("the token is missing or of another start")
    page.route("**/decisions", lambda route: route.abort())
    save.click()
    expect(status).to_contain_text("the server does not answer")
    page.unroute("**/decisions")
    assert history(server) == ()
    page.goto(f"{address}#token={server.token}")
    page.reload()
    page.get_by_role("button", name="Save all drafts in the run").click()
    expect(status).to_have_text("Saved in the run.")
    expect(page.get_by_role("button", name="Save all drafts in the run")).to_be_hidden()
    assert len(history(server)) == 1


@pytest.mark.browser
def test_the_form_can_be_used_without_a_mouse_and_passes_axe(pages: RunFolder, page: Page) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page.goto(page_of(pages).as_uri())
    page.get_by_label("Accept").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_label("Dispute").is_checked()
    # Without preload, which would fetch style sheets that the page's policy forbids to fetch.
    assert axe.Axe().run(page, options={"preload": False}).violations_count == 0
