"""The whole verification: libraries that it does without, and heads that are none."""

import subprocess
import sys
from pathlib import Path

import pytest

from imgaudit.exceptions import InputError
from imgaudit.report.verification import verify


def test_libraries_of_models_and_collections_are_not_loaded() -> None:
    # Arrow, which reads collections, comes with the id tables; other packages may load it too.
    needless = {"diffusers", "transformers", "imgaudit.index.id_table"}
    code = f"import imgaudit.report.verification, sys; print(*{needless} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [], "they take as much memory as a run of 1,000 images"


@pytest.mark.parametrize("head", ["abc", "0123456789ax"])
def test_a_head_that_is_none_is_refused(tmp_path: Path, head: str) -> None:
    with pytest.raises(InputError, match="the head must be at least 12 hexadecimal digits, but got"):
        verify(tmp_path, head)
