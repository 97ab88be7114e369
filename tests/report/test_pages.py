"""What all pages share: they fit, break no word, colour nothing that was not found, explain words and name digests."""

import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page
from pypdf import PdfReader

from imgaudit.io.reading import hash_file
from imgaudit.report.pages import page_environment
from imgaudit.report.wording import CHANGE_WORDING, WORDING
from imgaudit.schema.comparison import Change
from imgaudit.schema.findings import Verdict
from tests.support.axe_options import choose_rules
from tests.support.report_pages import DIFFICULT, FINGERPRINTS, MARKUP, RIGHT_TO_LEFT, write_pages

pytestmark = pytest.mark.browser

NAMES = ("index", "image", "not reproduced", "list", "glossary", "comparison", "detection", "match", "triggers",
         "mitigation", "complaint", "counsel")  # fmt: skip

OWN = ("comparison", "detection", "match", "triggers", "mitigation")
"""Pages that stand alone, outside of the report of an audit."""

TOO_WIDE = """() => [...document.querySelectorAll('body *')].filter(one => {
    const box = one.getBoundingClientRect();
    return box.width && box.right > document.documentElement.clientWidth + 1 && !one.closest('.wide, .frame, .skip');
}).map(one => one.tagName + ': ' + one.textContent.slice(0, 80))"""

BROKEN_WORDS = """() => {
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), broken = [];
    for (let node = walk.nextNode(); node; node = walk.nextNode())
        // A path or a name is no word of the page: where it breaks depends on the folder that a test gets.
        for (const found of node.parentElement.closest('bdi') ? [] : node.textContent.matchAll(/[A-Za-z]+/g)) {
            const range = document.createRange();
            range.setStart(node, found.index);
            range.setEnd(node, found.index + found[0].length);
            if (new Set([...range.getClientRects()].map(box => Math.round(box.top))).size > 1) broken.push(found[0]);
        }
    return broken;
}"""

LINES = """all => all.map(one => {
    const range = document.createRange();
    range.selectNodeContents(one);
    return new Set([...range.getClientRects()].map(box => Math.round(box.top))).size;
})"""

COLOUR = """one => {
    const style = getComputedStyle(one), before = getComputedStyle(one, '::before');
    return [style.color, before.content, style.borderTopStyle];
}"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_pages(tmp_path_factory.mktemp("pages"))


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page on which nothing foreign may happen: no request but for files, no message, no dialog."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: problems.append("a dialog opened"))
    yield page
    context.close()
    # What axe would fetch, the pages forbid.
    assert [one for one in problems if "axe" not in one] == []


def opened(page: Page, path: Path, width: int = 1280, scheme: str = "light") -> Page:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(path.as_uri())
    return page


def test_every_page_is_here(pages: dict[str, Path]) -> None:
    assert tuple(pages) == NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [320, 500, 768, 1280])
def test_a_page_with_difficult_names_fits_and_breaks_no_word_of_its_own(
    page: Page, pages: dict[str, Path], name: str, width: int
) -> None:
    opened(page, pages[name], width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(TOO_WIDE) == []
    own = " ".join(one.label + one.meaning + one.limit for one in (*WORDING.values(), *CHANGE_WORDING.values()))
    words = {one.lower() for one in re.findall("[A-Za-z]{2,}", own)} | {"exhibit", "interval", "prompt", "score"}
    assert [one for one in page.evaluate(BROKEN_WORDS) if one.lower() in words] == []
    assert page.locator("b[onclick]").count() == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(page: Page, pages: dict[str, Path], name: str, scheme: str) -> None:
    for width in (390, 1280):
        found = Axe().run(opened(page, pages[name], width, scheme), options=choose_rules(scheme)).response["violations"]
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        assert serious == [], [(one["id"], one["nodes"][0]["html"]) for one in serious]


def neutral(colour: str) -> bool:
    """Return whether a colour is grey enough to say nothing: no channel leads by more than a tenth of the range."""
    red, green, blue = (int(one) for one in re.findall(r"\d+", colour)[:3])
    return max(red, green, blue) - min(red, green, blue) <= 26


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_finding_nothing_and_not_knowing_are_neutral_and_every_conclusion_has_a_sign(
    page: Page, pages: dict[str, Path], scheme: str
) -> None:
    groups = {
        "verdict": ([one.value for one in Verdict], {"not_reproduced", "inconclusive", "skipped"}),
        "change": ([one.value for one in Change], {"unchanged", "not_comparable", "disappeared", "higher_rung"}),
        "seen": (["copy", "partial", "inconclusive", "not-seen"], {"inconclusive", "not-seen"}),
    }
    opened(page, pages["comparison"], scheme=scheme)
    for kind, (values, without) in groups.items():
        signs = {}
        for value in values:
            page.evaluate(
                "name => { const one = document.createElement('span'); one.className = 'badge ' + name; one.id = name;"
                " document.body.append(one); }", f"{kind}-{value}",
            )  # fmt: skip
            colour, signs[value], line = page.locator(f"#{kind}-{value}").evaluate(COLOUR)
            assert neutral(colour) == (value in without), (kind, value, colour)
            assert (line == "dashed") == (value in ("inconclusive", "not_comparable")), value
        assert len(set(signs.values())) == len(values) and "none" not in signs.values()


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("index", ".badge.verdict-not_reproduced"), ("index", ".counts .verdict-not_reproduced"),
        ("not reproduced", "h1 .badge"), ("list", ".badge.verdict-not_reproduced"),
        ("comparison", ".badge.verdict-not_reproduced"), ("match", ".seen-not-seen"), ("match", ".seen-inconclusive"),
        ("counsel", "td:has-text('Not reproduced')"),
    ],
)  # fmt: skip
def test_what_was_not_found_has_no_colour(page: Page, pages: dict[str, Path], name: str, place: str) -> None:
    shown = opened(page, pages[name]).locator(place).first
    assert neutral(shown.evaluate(COLOUR)[0])


@pytest.mark.parametrize("name", OWN)
def test_words_of_pages_outside_an_audit_lead_to_their_entries(page: Page, pages: dict[str, Path], name: str) -> None:
    opened(page, pages[name].with_name("glossary.html"))
    entries = set(page.locator("dt[id]").evaluate_all("all => all.map(e => e.id)"))
    links = opened(page, pages[name]).locator("a.term").evaluate_all("all => all.map(e => e.getAttribute('href'))")
    assert len(set(links)) >= 4
    assert {one.partition("#")[0] for one in links} == {"glossary.html"}
    assert {one.partition("#")[2] for one in links} <= entries
    page.locator("footer a").click()
    assert page.locator("h1").inner_text() == "Words used here"
    page.locator("nav a").click()
    assert Path(page.url).name == "index.html"


@pytest.mark.parametrize("name", OWN)
def test_digests_stand_on_the_page_and_on_every_printed_sheet(page: Page, pages: dict[str, Path], name: str) -> None:
    beside = {"comparison": "comparison.json", "detection": "../detection.jsonl", "match": "../match.json",
              "triggers": "../candidates.json"}.get(name)  # fmt: skip
    models = {"comparison": FINGERPRINTS, "mitigation": FINGERPRINTS, "match": ()}.get(name, FINGERPRINTS[:1])
    expected = [*models, *([hash_file(pages[name].parent / beside)] if beside else [])]
    for path in (pages[name], pages[name].with_name("glossary.html")):
        footer = opened(page, path).locator("footer").inner_text()
        for sheet in PdfReader(io.BytesIO(page.pdf(format="A4"))).pages:
            text = sheet.extract_text()
            assert all(digest in text for digest in expected)
        assert all(digest in footer for digest in expected)


def test_no_number_is_broken_on_paper(page: Page, pages: dict[str, Path]) -> None:
    for name in ("detection", "triggers"):
        opened(page, pages[name], 700)
        page.emulate_media(media="print")
        lines = page.locator("tbody td:not(:last-child)").evaluate_all(LINES)
        assert len(lines) > 10 and set(lines) == {1}, name


def test_a_name_keeps_its_direction(page: Page, pages: dict[str, Path]) -> None:
    for name in ("index", "list", "comparison", "detection", "match", "triggers", "counsel"):
        found = opened(page, pages[name]).locator("bdi", has_text=RIGHT_TO_LEFT)
        assert found.count() and found.first.evaluate("one => getComputedStyle(one).direction") == "rtl", name
    render = page_environment().from_string("{{ name | isolate }} {{ path | isolate_name }}").render
    assert render(name="<b>", path="a&b/<c>\n") == "<bdi>&lt;b&gt;</bdi> a&amp;b/<bdi>&lt;c&gt;\\n</bdi>"


def test_every_difficult_name_is_shown_whole(page: Page, pages: dict[str, Path]) -> None:
    for name in ("index", "comparison", "match", "counsel"):
        shown = opened(page, pages[name]).locator("body").inner_text().replace("∕", "/")
        assert [one for one in DIFFICULT if one not in shown] == [], name
    assert MARKUP in opened(page, pages["detection"]).locator("h1 + p").inner_text()
