"""Files that are not audited: what the pages and tables say of each kind is true of it, and stands everywhere."""

import csv
import html
import importlib.util
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from imgaudit.benchmark.reports.run import make_run
from imgaudit.decision.verdict import conclude_skipped
from imgaudit.io.captions import CaptionSource
from imgaudit.io.portfolio import Portfolio, read_portfolio
from imgaudit.report import write_report
from imgaudit.report.page_data import ROWS
from imgaudit.report.wording import WORDING
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.findings import AuditResult, Finding, Verdict
from tests.conftest import random_image
from tests.support.raw_files import write_dng


class Case(NamedTuple):
    """One kind of file that is not audited."""

    name: str
    """Its file name."""
    write: Callable[[Path], object]
    """Function that writes it."""
    said: str
    """Reason, as the pages give it."""


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def write_huge(path: Path) -> None:
    """Write a PNG that declares far more pixels than it has."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


def write_bright(path: Path) -> None:
    """Write a PNG whose cICP chunk says that it is of high dynamic range (BT.2020, PQ)."""
    random_image(5).save(path)
    content = path.read_bytes()
    path.write_bytes(content[:33] + chunk(b"cICP", bytes([9, 16, 0, 1])) + content[33:])


def write_large(path: Path) -> None:
    """Write a file that is longer than any that is read, without using the disk."""
    with path.open("wb") as file:
        file.truncate(256 * 1024 * 1024 + 1)


def write_cut(path: Path) -> None:
    random_image(6, (200, 200)).save(path)
    path.write_bytes(path.read_bytes()[:-400])


def write_integers(path: Path) -> None:
    Image.fromarray(np.arange(256, dtype=np.int32).reshape(16, 16) * 1000).save(path)


CASES = (
    Case("plain.png", lambda path: Image.new("RGB", (30, 30), "navy").save(path),
         "the file is a single colour: no comparison could recognise it"),
    Case("cut.jpg", write_cut, "the file is damaged or truncated: image file is truncated"),
    Case("empty.png", lambda path: path.touch(), "the file is empty (0 bytes)"),
    Case("words.png", lambda path: path.write_text("no picture"), "the file is not an image that can be decoded ("),
    Case("drawing.svg", lambda path: path.write_text('<svg xmlns="http://www.w3.org/2000/svg"/>'),
         "which is not an image that can be decoded: export it as PNG, TIFF or JPEG"),
    Case("camera.dng", write_dng, "of which only a small preview could be read: export it as JPEG or TIFF, or run `pip "
         "install imgaudit[raw]`"),
    Case("huge.png", write_huge,
         "the file declares more pixels than are decoded; at most 64,000,000 are: export it smaller"),
    Case("large.png", write_large, "the file has 268,435,457 bytes; at most 268,435,456 are read"),
    Case("bright.png", write_bright, "the file is high dynamic range"),
    Case("integers.tif", write_integers, "export it as 8 or 16 bit"),
    Case("link.png", lambda path: path.symlink_to("first.png"),
         "the entry is a symbolic link, which is not followed: give the file or folder itself"),
    Case("twin.png", lambda path: path.write_bytes(path.with_name("first.png").read_bytes()),
         "first.png: the result of that file is also the result of this one"),
)  # fmt: skip


@pytest.fixture(scope="module")
def portfolio(tmp_path_factory: pytest.TempPathFactory) -> Portfolio:
    """A folder with a file of each kind, and a run and other files that imgaudit passes over."""
    folder = tmp_path_factory.mktemp("portfolio")
    random_image(1).save(folder / "first.png")
    for case in CASES:
        case.write(folder / case.name)
    own = folder / "earlier"
    own.mkdir()
    random_image(2).save(own / "target.png")
    (own / "manifest.json").write_text('{"command": [], "model": {}, "versions": {}, "started": ""}')
    (folder / "film.mov").touch()
    with pytest.MonkeyPatch.context() as patch:
        find = importlib.util.find_spec
        patch.setattr(importlib.util, "find_spec", lambda name: None if name == "rawpy" else find(name))
        return read_portfolio(folder, CaptionSource(folder))


@pytest.fixture(scope="module")
def report(portfolio: Portfolio, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Finding]]:
    """The pages of a run with these files, and the findings on them."""
    run = RunFolder(tmp_path_factory.mktemp("skipped") / "run")
    result = make_run(run.path, 4, side=24)
    findings = [conclude_skipped(one) for one in portfolio.skipped]
    counts = {**result.summary.counts, Verdict.SKIPPED: len(findings)}
    summary = result.summary.model_copy(update={"targets": 4 + len(findings), "counts": counts})
    manifest = result.run | {
        "remarks": portfolio.remarks, "skipped": [one.model_dump(mode="json") for one in portfolio.skipped],
    }  # fmt: skip
    update = {"findings": [*result.findings, *findings], "summary": summary, "run": manifest}
    write_report(run, AuditResult.model_validate(result.model_copy(update=update).model_dump(mode="json")))
    return run.path / "report", findings


def test_every_file_is_listed_once(portfolio: Portfolio) -> None:
    assert sorted(Path(one.path).name for one in portfolio.skipped) == sorted(case.name for case in CASES)
    assert [Path(one.path).name for one in portfolio.targets] == ["first.png"]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_reason_is_the_same_true_one_on_every_page_and_in_every_table(
    case: Case, report: tuple[Path, list[Finding]]
) -> None:
    folder, findings = report
    (finding,) = [one for one in findings if Path(one.path).name == case.name]
    assert case.said in finding.reason and finding.reason.startswith("Not measured: the ")
    page = html.unescape((folder / f"{finding.id}.html").read_text(encoding="utf-8"))
    assert finding.reason in page and WORDING[Verdict.SKIPPED].limit in page
    assert "could not be read" not in page and "no copy was generated" not in page
    script = (folder / "data" / "images-0001.js").read_text()
    rows = json.loads(script.removeprefix(ROWS[0]).removesuffix(ROWS[1]))
    assert [row["reason"] for row in rows if row["id"] == finding.id] == [finding.reason]
    with (folder / "findings.csv").open(encoding="utf-8", newline="") as file:
        assert [row["reason"] for row in csv.DictReader(file) if row["id"] == finding.id] == [finding.reason]


def test_the_index_counts_them_and_names_what_was_passed_over(report: tuple[Path, list[Finding]]) -> None:
    folder, findings = report
    page = html.unescape((folder / "index.html").read_text(encoding="utf-8"))
    assert f"{len(findings)} of {4 + len(findings)} files were not measured." in page
    assert "not read, because imgaudit wrote it: 'earlier' (a run of imgaudit)" in page
    assert "left out: 1 file that is not an image by name (.mov 1)" in page
