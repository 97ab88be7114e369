"""The bundled lab: what ships is what its description says, and the demo finds it."""

import json
from pathlib import Path

import pytest

from imgaudit.decision.null_bank import NullBank
from imgaudit.io.images import load_image
from imgaudit.io.listing import find_images
from imgaudit.io.tables import read_captions
from imgaudit.lab.description import LabDescription
from imgaudit.models.loading import bundled_lab, hash_model_files, model_fingerprint
from imgaudit.schema.findings import AuditResult, Verdict
from imgaudit.schema.protocol import Effort, Framing, protocol_for
from tests.support.commands import Commands
from tests.support.wrapping import unwrap

LAB = bundled_lab("demo")
FOUND = (Verdict.REPLICATED, Verdict.REPLICATED_BY_INVERSION)


@pytest.fixture(scope="module")
def lab() -> LabDescription:
    return LabDescription.read(LAB / "lab.json")


def hashes(folder: str) -> set[str]:
    return {load_image(path).sha256 for path in find_images(LAB / folder)}


def test_the_bundle_is_small_and_holds_no_pickle() -> None:
    assert sum(p.stat().st_size for p in (LAB / "model").rglob("*")) < 15_000_000
    suffixes = {path.suffix for path in LAB.rglob("*") if path.is_file()}
    assert suffixes <= {".safetensors", ".json", ".jsonl", ".png"}


def test_the_bank_belongs_to_the_model_and_shares_no_image_with_what_it_judges(lab: LabDescription) -> None:
    bank = NullBank.read(LAB / "calibration.json")
    bank.require(
        model_fingerprint(hash_model_files(LAB / "model")), protocol_for(Effort.QUICK, Framing.PAD).for_model("epsilon")
    )
    controls = {control.sha256 for control in [*bank.controls, *bank.kept_out]}
    assert len(bank.controls) >= 200 and controls == hashes("controls")
    assert not controls & (hashes("portfolio") | hashes("benchmark"))
    held_out = {image.sha256 for image in lab.with_role("held_out")}
    assert controls <= held_out


def test_every_portfolio_image_is_known_and_captioned(lab: LabDescription) -> None:
    known = {image.sha256: image for image in lab.images}
    captions = read_captions(LAB / "portfolio" / "metadata.jsonl")
    paths = find_images(LAB / "portfolio")
    assert len(paths) <= 24
    for path in paths:
        assert captions[path.name] == [known[load_image(path).sha256].text]


@pytest.mark.slow
def test_the_demo_finds_what_was_memorised_and_spares_what_was_held_out(
    lab: LabDescription, run_imgaudit: Commands, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    done = run_imgaudit("demo", "--out", run)
    assert done.code == 0, done.stderr
    result = AuditResult.model_validate(json.loads((run / "report.json").read_text()))
    known = {image.sha256: image for image in lab.images}
    verdicts = [(known[finding.sha256], finding.verdict) for finding in result.findings]
    memorised = [verdict in FOUND for image, verdict in verdicts if image.memorised]
    held_out = [verdict in FOUND for image, verdict in verdicts if image.role == "held_out"]
    assert sum(memorised) >= 0.8 * len(memorised)
    assert sum(held_out) == 0
    assert (run / "report" / "index.html").is_file()
    head = json.loads((run / "evidence.json").read_text())["head"]
    assert f"head of the evidence, to be noted elsewhere: {head}" in unwrap(done.stderr)
