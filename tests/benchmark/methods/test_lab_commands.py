"""Commands of imgaudit as benchmarks run them."""

from pathlib import Path

import pytest

from imgaudit.benchmark.methods.lab_commands import run_command, run_once, split_halves
from imgaudit.exceptions import InputError
from tests.benchmark.methods.test_prompt_scores import lab_image


def test_no_image_that_locates_judges() -> None:
    images = [lab_image(number, f"{number}", "planted", 64) for number in range(7)]
    first, second = split_halves(images)
    assert len(first) == 4 and len(second) == 3 and not {i.sha256 for i in first} & {i.sha256 for i in second}
    assert split_halves(images[::-1]) == (first, second)


def test_a_command_that_ended_is_not_run_again(tmp_path: Path) -> None:
    said = run_once("say the version", ["--version"], tmp_path)
    assert "imgaudit" in said
    (tmp_path / "said" / "say-the-version.txt").write_text("kept", encoding="utf-8")
    assert run_once("say the version", ["no such command"], tmp_path) == "kept"


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"imgaudit audit nowhere .* ended with 2: (?s:.*)nowhere"):
        run_command(["audit", "nowhere", "--model", "demo"], tmp_path)
