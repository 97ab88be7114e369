"""The index for everybody: themes, phones, paper, keys alone, no scripts, and names that would do harm."""

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from imgaudit.benchmark.reports.run import HOSTILE
from tests.support.axe_options import choose_rules
from tests.support.index_page import choose, opened, shown

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_barrier_of_weight_in_either_theme_and_view(page: Page, fifty: Path, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    for address in (fifty.as_uri(), fifty.as_uri() + "#view=gallery", fifty.with_name("list-0001.html").as_uri()):
        page.goto("about:blank")
        page.goto(address)
        found = Axe().run(page, options=choose_rules(scheme)).response["violations"]
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        assert serious == [], [(one["id"], one["nodes"][0]["html"]) for one in serious]


def test_nothing_from_outside_runs_or_hides(page: Page, fifty: Path) -> None:
    opened(page, fifty)
    for view in ("table", "gallery"):
        choose(page, "view", view)
        assert page.title() == "Audit of 50 images"
        assert page.locator("img[src=x], script:not([src]), [onerror]").count() == 0
    names = " ".join(page.locator("#gallery .name").all_inner_texts())
    assert HOSTILE[0] in names and "</script><script>".replace("/", "∕") in names
    hostile = [path for path in sorted(fifty.parent.glob("*.html")) if "document.title" in path.read_text()]
    assert len(hostile) >= 2
    for path in hostile:
        page.goto(path.as_uri())
        assert "owned" not in page.title().replace("document.title='owned'", "")
        assert page.locator("img[src=x], script:not([src]), [onerror]").count() == 0
        assert "\u202e" not in page.locator("body").inner_text()


def test_without_scripts_every_image_is_reached(browser: Browser, fifty: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(fifty.as_uri())
    assert not page.locator("#filters").is_visible()
    page.locator("noscript a").first.click()
    links = page.locator("tbody a")
    assert links.count() == 50
    for link in (links.first, links.last):
        assert (fifty.parent / (link.get_attribute("href") or "")).is_file()
    context.close()


def test_the_theme_is_remembered_and_needs_no_storage(page: Page, fifty: Path) -> None:
    opened(page, fifty)
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    for _ in range(2):
        page.locator("#theme").click()
    assert page.locator("html").get_attribute("data-theme") == "dark" and page.evaluate(ground) != light
    page.reload()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('blocked'); } })")
    page.goto(fifty.as_uri())
    assert page.locator("html").get_attribute("data-theme") is None
    page.locator("#theme").click()
    assert page.locator("html").get_attribute("data-theme") == "light"


@pytest.mark.parametrize("fragment", ["", "#view=gallery"])
def test_a_phone_scrolls_down_only(page: Page, fifty: Path, fragment: str) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    opened(page, fifty, fragment)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_print_leaves_out_what_is_for_hands(page: Page, fifty: Path, tmp_path: Path) -> None:
    opened(page, fifty)
    page.emulate_media(media="print")
    assert not page.locator("#filters").is_visible() and page.locator("#findings tr").first.is_visible()
    assert (page.locator('meta[name="imgaudit-run-id"]').get_attribute("content") or "") in page.locator(
        "footer"
    ).inner_text()
    page.pdf(path=tmp_path / "index.pdf")
    assert (tmp_path / "index.pdf").stat().st_size > 10_000


def test_the_table_is_worked_with_keys_alone(page: Page, fifty: Path) -> None:
    opened(page, fifty)
    page.locator("body").press("/")
    page.keyboard.type("harbour")
    assert shown(page) == "4 of 50 images"
    page.keyboard.press("Escape")
    page.locator("thead").get_by_role("button", name="Score").focus()
    page.keyboard.press("Enter")
    assert page.locator('th[aria-sort="ascending"]').inner_text().startswith("Score")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
