"""Null banks that were made before the search in the span of texts: who can still use them, and who is told what."""

from collections.abc import Callable
from pathlib import Path

from imgaudit.decision.null_bank import NullBank
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.manifest import read_manifest
from tests.conftest import make_pipeline, tiny_recipe
from tests.end_to_end.test_baseline import BUDGET, imgaudit
from tests.support.wrapping import unwrap

SCORE = (
    "score: how much better the model predicts an image with numbers in place of words that a search found for it "
    "(inversion) than without text"
)


def test_a_bank_of_a_model_that_predicts_noise_goes_on_working_without_options(
    make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    make_pipeline(tiny_recipe()).save_pretrained(tmp_path / "model", safe_serialization=True)
    controls, targets, bank = make_folder("controls", range(50, 53)), make_folder("targets", [1]), tmp_path / "b.json"
    model = ("--model", tmp_path / "model")
    # A bank of the last version has no such search in its protocol.
    said = imgaudit("calibrate", controls, *model, "--out", bank, "--search", "inversion", *BUDGET)
    assert SCORE in unwrap(said)
    before = NullBank.read(bank)
    assert before.protocol.span is None
    said = imgaudit("audit", targets, *model, "--calibration", bank, "--out", tmp_path / "run", *BUDGET)
    assert SCORE in unwrap(said)
    manifest = read_manifest(RunFolder(tmp_path / "run"))
    assert manifest.protocol == before.protocol and manifest.protocol_hash == before.protocol.hash
    assert SCORE in unwrap(imgaudit("bank", "info", bank))
    # More controls, and the rest of the audit, under the defaults of today.
    imgaudit("calibrate", make_folder("more", range(60, 62)), *model, "--out", bank, "--append", *BUDGET)
    assert len(NullBank.read(bank).controls) == 5
