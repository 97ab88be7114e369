"""A complaint package: complete, about one work, and the same bytes every time."""

import csv
import hashlib
import io
import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from imgaudit.exceptions import InputError
from imgaudit.io.writing import read_json, write_json
from imgaudit.report.audit.outputs import SHOWN_CLOSEST, outputs_of
from imgaudit.report.complaint.package import find_image, make_package, write_package, zip_bytes
from imgaudit.report.review import (
    ReviewedRun,
)
from imgaudit.report.wording import PART_NOT_TESTED, WORDING
from imgaudit.runs.finished import FinishedRun, read_finished_run
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.findings import Finding, PartEvidence, Verdict
from imgaudit.schema.pairs import GRID, Box, PairEvidence, Region, Transform
from imgaudit.schema.records import Rung, Skipped
from tests.support.finished_run import HOSTILE
from tests.support.reviews import decision, invoke, ledger_of
from tests.support.wrapping import unwrap


@pytest.fixture
def finished(folder: RunFolder) -> FinishedRun:
    return read_finished_run(folder.path)


def replicated(run: FinishedRun, name: str) -> Finding:
    return next(one for one in run.result.findings if name in one.path)


def with_part(finding: Finding) -> Finding:
    half = Region(runs=(0, GRID * GRID // 2, GRID * GRID // 2), area=0.5, box=Box(left=0, top=0, right=1, bottom=0.5))
    turned = Transform(mirrored=True, scale=0.5, rotation=12.0, matrix=((1, 0, 0), (0, 1, 0)))
    pair = PairEvidence(
        geometric=9.0, photometric=8.0, inliers=17, matches=20, transform=turned, region=half, candidate_region=half
    )
    assert not isinstance(finding.best_replica, Skipped)
    part = PartEvidence(rung=Rung.CAPTION, path=finding.best_replica.path, seed=0, pair=pair)
    return finding.model_copy(update={"part": part})


def test_a_part_that_only_the_copy_descriptor_speaks_for_is_said_to_be_untested(finished: FinishedRun) -> None:
    finding = with_part(replicated(finished, "plain"))
    assert finding.part is not None
    untested = finding.model_copy(update={"part": finding.part.model_copy(update={"is_tested": False})})
    said = [make_package(finished, one)["complaint.md"].decode().replace("\\", "") for one in (finding, untested)]
    assert [PART_NOT_TESTED in text for text in said] == [False, True]


def test_a_package_says_everything_a_recipient_asks(finished: FinishedRun, reviewed: ReviewedRun) -> None:
    finding = with_part(replicated(finished, "plain"))
    number = sorted(reviewed.images).index(finding.id)
    at = [one.id for one in sorted(reviewed.images.values(), key=lambda one: one.path)].index(finding.id)
    assert number in (0, 1)
    ledger_of(reviewed).append(
        [
            decision(reviewed, at, reviewer="Ann <script>", decision="dispute", comment="Only the | frame."),
            decision(reviewed, at, reviewer="Bob", result_sha256="0" * 64),
        ]
    )
    files = make_package(finished, finding)
    pages = [files["complaint.html"].decode(), files["complaint.md"].decode().replace("\\", "")]
    measured = finished.measurements[finding.id]
    [caption] = [one for one in finding.replication if one.rung is Rung.CAPTION]
    wanted = [
        "plain.png", finding.sha256, f"{measured.width} x {measured.height} pixels",
        finished.manifest.model.fingerprint, "prediction type epsilon", "“0”", "inverted embedding",
        f"{caption.hits} of {caption.n}", f"{caption.low:.1%} to {caption.high:.1%}", "seed 0", "guidance 3",
        "this image and the rendering of the work: pixel 1.000",
        "closest, number 1", "Least similar", "50% of the work agrees", "17 local features", "mirrored",
        "disputes the verdict", "4 of 5: nearly all", "on another result, 0000000000000000", "Replicated from text",
        "exchangeable with the controls", "199 count in p-values", "imgaudit audit", finished.result.protocol.hash,
        "torch 2",
        hashlib.sha256(finished.folder.manifest_path.read_bytes()).hexdigest(), "Right in the work",
        read_json(finished.folder.path / "evidence.json")["head"], "lawful",
        "How often the method errs", "False alarms per image", "At the level of 0.05, at most 5 of 100 findings are",
        "Words used here", "the number from which one random initial noise is made",
    ]  # fmt: skip
    for page in pages:
        for part in [*wanted, WORDING[finding.verdict].limit, WORDING[Verdict.PARTIAL].limit]:
            assert part.lower() in page.lower().replace("&#39;", "'"), part
    assert "Only the \\| frame" in files["complaint.md"].decode()
    assert "<script" not in files["complaint.html"].decode() and "style=" not in files["complaint.html"].decode()
    assert {
        "work/original.png",
        "work/target.png",
        "work/rendered.png",
        "part/work.png",
        "part/output.png",
        "outputs.csv",
    } <= files.keys()
    listed = list(csv.DictReader(io.StringIO(files["outputs.csv"].decode())))
    assert len(listed) == 8 and sum(row["copy"] == "yes" for row in listed) >= 4
    assert sum(name.startswith("outputs/") for name in files) == sum(row["shown"] != "" for row in listed)
    assert len(json.loads(files["decisions.json"])["decisions"]) == 2


def test_a_package_names_no_folder_and_no_other_work(finished: FinishedRun) -> None:
    finding = replicated(finished, "plain")
    home = finding.path.rsplit("/", 1)[0]
    assert Path(home).is_absolute()
    files = make_package(finished, finding)
    for name, content in files.items():
        assert home.encode() not in content and b"/tmp/" not in content, name
        assert b"onerror" not in content or name in ("complaint.md", "complaint.html", "manifest.json"), name
        assert b"=cmd" not in content, name
    manifest = json.loads(files["manifest.json"])
    assert [one["path"] for one in manifest["targets"]] == ["plain.png"]
    assert manifest["reduced"]["left_out"] == {"targets": 1, "skipped": 1}
    whole = make_package(finished, finding, whole_manifest=True)["manifest.json"]
    assert whole == finished.folder.manifest_path.read_bytes()
    assert hashlib.sha256(whole).hexdigest() == manifest["reduced"]["sha256"]


def test_every_printed_page_names_the_image_and_the_model(finished: FinishedRun) -> None:
    finding = replicated(finished, "plain")
    style = make_package(finished, finding)["complaint.css"].decode()
    fingerprint = finished.manifest.model.fingerprint
    named = [f"Model {fingerprint}"] if re.fullmatch("[0-9a-f]+", fingerprint) else []
    assert style.rstrip().endswith("}") and "\\A ".join([f"Image SHA-256 {finding.sha256}", *named]) in style


def test_hostile_names_are_text(finished: FinishedRun) -> None:
    finding = replicated(finished, "onerror")
    files = make_package(finished, finding)
    assert b"<img src=x" not in files["complaint.html"] and b"&lt;img src=x" in files["complaint.html"]
    assert b"\\<img src=x" in files["complaint.md"] and b" <img" not in files["complaint.md"]
    assert find_image(finished, f"{HOSTILE}.png") == find_image(finished, finding.id) == finding
    assert find_image(finished, finding.sha256.upper()) == finding
    with pytest.raises(InputError, match="one of the 2 images"):
        find_image(finished, "=cmd.png")


def test_a_package_is_the_same_bytes_and_its_sums_hold(finished: FinishedRun, tmp_path: Path) -> None:
    finding = replicated(finished, "plain")
    files = make_package(finished, finding)
    again = make_package(read_finished_run(finished.folder.path), finding)
    assert zip_bytes(files) == zip_bytes(again)
    written = write_package(files, tmp_path / "made" / "complaint", finished)
    assert {path.relative_to(written).as_posix() for path in written.rglob("*") if path.is_file()} == set(files)
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=written, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.count(": OK") == len(files) - 1
    archive = write_package(files, tmp_path / "complaint.zip", finished)
    with zipfile.ZipFile(archive) as opened:
        assert {name: opened.read(name) for name in opened.namelist()} == {
            f"complaint/{name}": files[name] for name in files
        }
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["complaint"]
    for taken in (written, archive):
        with pytest.raises(InputError, match="exists already"):
            write_package(files, taken, finished)
    with pytest.raises(InputError, match="which is evidence"):
        write_package(files, finished.folder.path / "review" / "complaint", finished)


def test_pictures_that_are_gone_or_lead_out_are_said_to_be_missing(finished: FinishedRun, tmp_path: Path) -> None:
    finding = replicated(finished, "plain")
    outputs = outputs_of(finding, finished.measurements[finding.id])
    shown = [one for one in outputs if one.role and one.rung is Rung.CAPTION]
    assert len(shown) == 4 <= SHOWN_CLOSEST and shown[-1].role == "least similar"
    secret = tmp_path / "secret.png"
    gone = finished.folder.path / shown[0].replica.path
    shutil.copy(gone, secret)
    gone.unlink()
    gone.symlink_to(secret)
    (finished.folder.path / shown[1].replica.path).write_bytes(b"no picture")
    files = make_package(finished, finding)
    assert f"outputs/{shown[0].name}" not in files and f"outputs/{shown[1].name}" not in files
    assert "2 can no longer be read" in files["complaint.md"].decode()


def test_packages_from_the_command_line(finished: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    finding = replicated(finished, "plain")
    done = invoke("package", finished.folder.path, "plain.png")
    assert done.exit_code == 0, done.exception
    assert done.stdout.strip() == f"complaint-{finding.id}" and (tmp_path / done.stdout.strip()).is_dir()
    zipped = invoke("package", finished.folder.path, finding.id, "--output", "x.zip", "--whole-manifest")
    assert zipped.exit_code == 0 and zipfile.is_zipfile("x.zip") and "note:" not in zipped.stderr
    content = read_json(finished.folder.report_path)
    for one in content["findings"]:
        if one["sha256"]:
            one["verdict"] = "not_reproduced"
    write_json(finished.folder.report_path, content)
    negative = invoke("package", finished.folder.path, finding.id, "--output", "y.zip")
    assert "does not show that the model reproduces the image" in unwrap(negative.stderr)
