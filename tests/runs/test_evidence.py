"""evidence.json covers every file that is evidence, and nothing else."""

import json
from pathlib import Path

from imgaudit.io.writing import write_json
from imgaudit.runs.evidence import write_evidence
from imgaudit.runs.folder import RunFolder


def test_evidence_changes_with_any_file_but_not_with_the_report(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    write_json(run.manifest_path, {"a": 1})
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "x.png").write_bytes(b"1")

    def head() -> str:
        write_evidence(run)
        return str(json.loads((tmp_path / "evidence.json").read_text())["head"])

    first = head()
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "index.html").write_text("again")
    assert head() == first
    (tmp_path / "images" / "x.png").write_bytes(b"2")
    assert head() != first
