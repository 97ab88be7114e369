"""A finished audit given again ends without the model wherever files alone show that nothing would change."""

from collections.abc import Callable
from pathlib import Path

import pytest

from imgaudit.cli.model_choice import ModelChoice
from imgaudit.exceptions import ConfigError
from imgaudit.mitigation.registry import identify, mitigate
from imgaudit.models import FiniteSetDenoiser
from tests.support.commands import Commands

FAST = ["--steps", "1", "--draws", "1", "--seeds", "1", "--num-inference-steps", "1", "--device", "cpu"]


def test_decoys_and_controls_given_again_change_nothing_and_other_texts_do(
    model_folder: Path, make_folder: Callable[..., Path], run_imgaudit: Commands, tmp_path: Path
) -> None:
    targets = make_folder("targets", range(2))
    command = [
        "audit", targets, "--model", model_folder, "--controls", make_folder("controls", range(10, 13)),
        "--decoys", make_folder("decoys", range(20, 22)), "--out", tmp_path / "run", *FAST,
    ]  # fmt: skip
    first = run_imgaudit(*command)
    assert first.code in (0, 1, 3) and "loading model" in first.stderr, first.stderr
    again = run_imgaudit(*command)
    assert again.code == first.code and again.stdout == first.stdout and "nothing to do" in again.stderr
    assert "loading model" not in again.stderr
    assert "nothing to do" in run_imgaudit(*command, "--fail-on", "never", "--batch-size", "2").stderr
    mitigated = run_imgaudit(*command, "--mitigation", "random-tokens")
    assert mitigated.code == 2 and "another model" in " ".join(mitigated.stderr.split())
    (targets / "metadata.jsonl").write_text('{"file_name": "picture-000.png", "text": "another caption"}')
    other = run_imgaudit(*command)
    assert other.code == 2 and "other prompts or captions" in " ".join(other.stderr.split())


def test_a_mitigation_changes_the_fingerprint_as_a_loaded_model_has_it(
    finite_set: FiniteSetDenoiser, model_folder: Path, make_folder: Callable[..., Path], run_imgaudit: Commands,
    tmp_path: Path,
) -> None:  # fmt: skip
    for spec in ("random-tokens:count=2", "descent", "descent:other_noise=1,rms=0.5", "random-tokens"):
        change = ModelChoice("m", mitigation=spec).named.mitigated
        assert change is not None and change(finite_set.fingerprint) == mitigate(finite_set, spec).fingerprint
    assert identify("attention:factor=2") == "attention factor=2"
    with pytest.raises(ConfigError, match="is no mitigation"):
        _ = ModelChoice("m", mitigation="none").named
    command = ["audit", make_folder("one", [1]), "--model", model_folder, "--out", tmp_path / "run", *FAST]
    behind = [*command, "--no-controls", "--mitigation", "random-tokens:count=2"]
    first = run_imgaudit(*behind)
    again = run_imgaudit(*behind)
    assert again.code == first.code and "nothing to do" in again.stderr and "loading model" not in again.stderr
    other = run_imgaudit(*behind[:-1], "random-tokens:count=3")
    assert other.code == 2 and "another model" in " ".join(other.stderr.split())


def test_a_model_is_named_by_its_files() -> None:
    assert ModelChoice("m").named.mitigated is None
    named = ModelChoice("m", ["l:2"], "fp16", "c", compiled=True).named
    assert (named.loras, named.variant, named.config) == (["l:2"], "fp16", "c")
