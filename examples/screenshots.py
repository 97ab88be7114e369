"""Take pictures of a report for the documentation: index and page of an image, light and dark, desktop and phone.

imgaudit demo --out imgaudit-demo
python examples/screenshots.py imgaudit-demo docs/images
"""

import argparse
import io
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from imgaudit.io.writing import read_json
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.findings import AuditResult, Finding, Verdict

WIDTHS = {"desktop": 1280, "phone": 390}
"""Width in CSS pixels."""

HEIGHTS = {
    ("index", "desktop"): 1680,
    ("index", "phone"): 844,
    ("image", "desktop"): 1160,
    ("image", "phone"): 1270,
}
"""Height in CSS pixels: the index shows the answer and the first rows, the page of an image both pictures whole."""

COLOURS = 256
"""Number of colours of a picture: text and flat areas need no more, and the files stay small."""


def shown_image(run: RunFolder) -> Finding:
    """Return the first image that the model reproduces, or the first image if there is none."""
    findings = AuditResult.model_validate(read_json(run.report_path)).findings
    return next((one for one in findings if one.verdict is Verdict.REPLICATED), findings[0])


def picture(browser: Browser, page: Path, size: tuple[int, int], scheme: str) -> Image.Image:
    """Take one picture of the upper part of a page."""
    tab = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)  # type: ignore[arg-type]
    tab.goto(page.as_uri())
    tab.wait_for_function("() => Array.from(document.images).every(i => i.complete)")
    shot = Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
    tab.close()
    return shot.quantize(COLOURS)


def main() -> None:
    """Write eight pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    given = parser.parse_args()
    run = RunFolder(given.run.resolve())
    pages = {
        "index": run.path / "report" / "index.html",
        "image": run.path / "report" / f"{shown_image(run).id}.html",
    }
    given.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=given.chromium, args=["--no-sandbox"])
        for name, page in pages.items():
            for device, width in WIDTHS.items():
                for scheme in ("light", "dark"):
                    path = given.out / f"{name}-{device}-{scheme}.png"
                    picture(browser, page, (width, HEIGHTS[name, device]), scheme).save(path, optimize=True)
                    print(path)
        browser.close()


if __name__ == "__main__":
    main()
