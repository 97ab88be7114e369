"""The page of one image as a reviewer uses it: views, zoom, replicas, keys, print, and what is missing."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from imgaudit.report import write_report
from imgaudit.runs.conclusion import conclude
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.findings import AuditResult, Verdict
from tests.report.test_formats import page

__all__ = ["page"]

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def run(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A copy of its own: a test deletes one of its pictures for a while."""
    copy = tmp_path_factory.mktemp("pages") / "run"
    shutil.copytree(run.path, copy)
    return RunFolder(copy)


@pytest.fixture(scope="module")
def result(run: RunFolder) -> AuditResult:
    return conclude(run)


@pytest.fixture
def opened(run: RunFolder, result: AuditResult, page: Page) -> Iterator[Page]:
    """The page of a reproduced image, without a message on the console until it is left."""
    problems: list[str] = []
    listener = lambda message: problems.append(message.text)  # noqa: E731
    page.on("console", listener)
    finding = next(f for f in result.findings if f.verdict is Verdict.REPLICATED)
    page.goto((run.path / "report" / f"{finding.id}.html").as_uri())
    yield page
    page.remove_listener("console", listener)
    assert problems == []


def test_views_are_chosen_by_key_and_by_button(opened: Page) -> None:
    panes = opened.locator(".panes")
    for key, view in (("l", "slider"), ("b", "blink"), ("f", "difference"), ("s", "side")):
        opened.keyboard.press(key)
        assert panes.get_attribute("data-view") == view
    opened.get_by_label("Slider").check(force=True)
    cut = opened.get_by_label("Left: the image. Right: the generated one")
    cut.focus()
    for _ in range(10):
        opened.keyboard.press("ArrowLeft")
    assert panes.evaluate("e => e.style.getPropertyValue('--cut')") == "40%"
    assert opened.locator("#pane-target").evaluate("e => getComputedStyle(e).clipPath").startswith("inset(")


def test_blinking_is_still_for_those_who_ask_for_less_motion(opened: Page) -> None:
    opened.emulate_media(reduced_motion="reduce")
    opened.keyboard.press("b")
    opened.wait_for_timeout(900)
    assert "second" not in (opened.locator(".panes").get_attribute("class") or "")
    opened.locator(".panes").click()
    assert "second" in (opened.locator(".panes").get_attribute("class") or "")
    opened.emulate_media(reduced_motion="no-preference")
    opened.keyboard.press("s")
    opened.keyboard.press("b")
    opened.wait_for_selector(".panes.second")


def test_zoom_and_scrolling_are_linked(opened: Page) -> None:
    opened.keyboard.press("z")
    opened.keyboard.press("z")
    frames = opened.locator(".frame")
    width = frames.nth(0).evaluate("e => e.clientWidth")
    assert opened.locator("#target").evaluate("e => e.clientWidth") == pytest.approx(4 * width, abs=2)
    middle = frames.nth(0).evaluate("e => e.scrollLeft + e.clientWidth / 2")
    assert middle == pytest.approx(2 * width, abs=2)
    frames.nth(0).evaluate("e => { e.scrollLeft = 40; e.scrollTop = 70; }")
    opened.wait_for_function("() => document.querySelectorAll('.frame')[1].scrollTop === 70")
    assert frames.nth(1).evaluate("e => e.scrollLeft") == 40


def test_every_replica_can_be_laid_beside_the_image(opened: Page) -> None:
    links = opened.locator("a.replica")
    assert links.count() == 8
    current = opened.locator("a.replica[aria-current]")
    assert current.get_attribute("href") == opened.locator("#replica").get_attribute("src")
    links.nth(0).click()
    opened.keyboard.press("n")
    assert links.nth(1).get_attribute("aria-current") == "true"
    assert opened.locator("#replica").get_attribute("src") == links.nth(1).get_attribute("href")
    opened.keyboard.press("p")
    opened.keyboard.press("p")
    assert links.nth(7).get_attribute("aria-current") == "true"
    links.nth(3).click()
    assert opened.locator("#replica").get_attribute("src") == links.nth(3).get_attribute("href")
    assert "seed" in opened.locator("#replica-caption").inner_text()


def test_keys_walk_through_the_folder_and_are_listed(opened: Page) -> None:
    first, place = opened.url, int(opened.locator(".place").inner_text().split()[0])
    opened.locator("body").press("j")
    opened.wait_for_url(lambda url: url != first)
    assert opened.locator(".place").inner_text() == f"{place + 1} of 3"
    opened.locator("body").press("k")
    opened.wait_for_url(first)
    opened.locator("body").press("?")
    dialog = opened.get_by_role("dialog")
    assert dialog.is_visible() and "next and previous image" in dialog.inner_text()
    opened.keyboard.press("j")
    assert opened.url == first
    opened.keyboard.press("Escape")
    assert not dialog.is_visible()
    opened.locator("body").press("i")
    opened.wait_for_url(lambda url: url.endswith("index.html"))


def test_keys_work_at_once_after_the_help_is_closed(opened: Page) -> None:
    opened.evaluate("""() => {
      const dialog = document.getElementById("keys");
      dialog.showModal();
      dialog.close();
      dialog.querySelector("button").dispatchEvent(new KeyboardEvent("keydown", { key: "l", bubbles: true }));
    }""")
    assert opened.locator(".panes").get_attribute("data-view") == "slider"


def test_the_command_can_be_copied(opened: Page) -> None:
    opened.get_by_role("button", name="Copy").click()
    opened.wait_for_function("() => document.getElementById('copied').textContent !== ''")
    assert opened.locator("#command").inner_text().startswith("imgaudit audit")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_barrier_of_weight_in_either_theme(opened: Page, scheme: str) -> None:
    opened.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    opened.keyboard.press("l")
    # What axe would fetch, the page forbids.
    found = Axe().run(opened, options={"preload": False}).response["violations"]
    opened.emulate_media(color_scheme="light")
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert serious == [], [(one["id"], one["nodes"][0]["html"]) for one in serious]


def test_print_opens_everything_and_names_the_run(opened: Page, tmp_path: Path) -> None:
    opened.keyboard.press("f")
    opened.emulate_media(media="print")
    assert not opened.locator(".viewer-tools").is_visible() and not opened.locator(".steps").is_visible()
    boxes = [opened.locator(name).bounding_box() for name in ("#pane-target", "#pane-replica")]
    assert boxes[0] and boxes[1] and boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    opened.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert opened.evaluate("Array.from(document.querySelectorAll('details')).every(d => d.open)")
    opened.pdf(path=tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").stat().st_size > 10_000
    opened.emulate_media(media="screen")


def test_a_deleted_replica_is_said(run: RunFolder, result: AuditResult, page: Page) -> None:
    finding = next(f for f in result.findings if f.verdict is Verdict.REPLICATED)
    page.goto((run.path / "report" / f"{finding.id}.html").as_uri())
    last = page.locator("a.replica").nth(7)
    path = run.path / "report" / (last.get_attribute("href") or "")
    held = path.read_bytes()
    path.unlink()
    try:
        page.reload()
        last.scroll_into_view_if_needed()
        page.wait_for_selector("li.gone")
        last.click()
        page.wait_for_selector("#gone:not([hidden])")
        assert "no longer in the run folder" in page.locator("#gone").inner_text()
        write_report(run, result)
    finally:
        path.write_bytes(held)


def test_a_folder_is_reviewed_with_the_keyboard_alone(run: RunFolder, opened: Page) -> None:
    opened.goto((run.path / "report" / "index.html").as_uri())
    body = opened.locator("body")
    body.press("j")
    opened.locator(":focus").press("Enter")
    opened.wait_for_selector("#decision-form")
    # Keys are listened to only once the scripts at the end of the page have run.
    opened.wait_for_load_state()
    opened.locator("body").press("d")
    opened.locator("body").press("4")
    opened.locator("body").press("c")
    opened.keyboard.type("j and ? are letters here")
    opened.keyboard.press("Tab")
    opened.keyboard.type("Ann")
    opened.keyboard.press("Tab")
    opened.keyboard.press("Enter")
    assert "Kept in this browser" in opened.locator(".said").inner_text()
    held = opened.evaluate("imgauditDecisions.get(document.getElementById('decision-form').dataset.imageId)")
    assert (held["decision"], held["replication_level"], held["reviewer"]) == ("dispute", 4, "Ann")
    assert held["comment"] == "j and ? are letters here"
    opened.locator("#decision").click()
    opened.locator("body").press("i")
    opened.wait_for_selector("#findings tr")
    opened.get_by_label("Review").select_option("dispute")
    assert opened.locator("#findings tr").count() == 1
    assert opened.locator("#findings .review").inner_text() == "review: dispute"
    opened.evaluate("localStorage.clear()")
