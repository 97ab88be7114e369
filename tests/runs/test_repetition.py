"""A finished audit given again ends without the model wherever files alone show that nothing would change."""

from collections.abc import Callable
from pathlib import Path

from imgaudit.cli.model_choice import ModelChoice
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
    assert mitigated.code == 2 and "another model" in mitigated.stderr
    (targets / "metadata.jsonl").write_text('{"file_name": "picture-000.png", "text": "another caption"}')
    other = run_imgaudit(*command)
    assert other.code == 2 and "other prompts or captions" in " ".join(other.stderr.split())


def test_a_mitigation_cannot_be_told_from_files() -> None:
    assert ModelChoice("m", mitigation="descent").named is None
    named = ModelChoice("m", ["l:2"], "fp16", "c", compiled=True).named
    assert named is not None and (named.loras, named.variant, named.config) == (["l:2"], "fp16", "c")
