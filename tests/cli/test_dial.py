"""`imgaudit dial` on a run that somebody else made."""

import json
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.cli.dial import _row
from imgaudit.exceptions import RunFolderError
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.dial import Dial, DialPoint
from imgaudit.schema.findings import AuditResult
from tests.support.finished_run import result, run

__all__ = ["result", "run"]


@pytest.fixture
def edited(run: RunFolder, result: AuditResult) -> Iterator[RunFolder]:
    before = run.report_path.read_text("utf-8")
    content = json.loads(before)
    for finding in content["findings"]:
        if "path" in finding["best_replica"]:
            finding["best_replica"]["path"] = "../outside/picture.png"
    run.report_path.write_text(json.dumps(content), encoding="utf-8")
    yield run
    run.report_path.write_text(before, encoding="utf-8")


def test_a_report_that_names_a_picture_outside_of_the_run_is_refused(edited: RunFolder) -> None:
    done = CliRunner().invoke(app, ["dial", str(edited.path), "--model", "demo", "--seeds", "1"])
    assert isinstance(done.exception, RunFolderError) and "names a file outside its place" in str(done.exception)


@pytest.mark.parametrize("hits", [0, 32])
def test_rows_of_large_embeddings_fit_80_columns(hits: int) -> None:
    whole = DialPoint(rank=333, precision=32, bits=43_646_976, hits=32, n=32, best_similarity=1)
    point = DialPoint(rank=128, precision=16, bits=21_823_488, hits=hits, n=32, best_similarity=1)
    dial = Dial(guidance_scale=3, seeds=32, thresholds={}, whole=whole, image_bits=25_165_824, points=[point])
    row = _row("/mine/" + "long-" * 30 + "end.png", dial)
    assert len(row) <= 80 and "..." in row and row.endswith(" 25,165,824")
    assert ("21,823,488    128 x 16   32/32" in row) == bool(hits) and ("more" in row) == (not hits)
