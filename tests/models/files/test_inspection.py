"""A folder that is no model says what in it may be meant."""

from pathlib import Path

import pytest

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.files.inspection import read_model_index


def refusal(folder: Path) -> str:
    with pytest.raises(ModelRefusedError) as refused:
        read_model_index(folder)
    return str(refused.value)


def test_a_folder_around_a_model_names_the_model(tmp_path: Path) -> None:
    bare = f"{str(tmp_path)!r} has no model_index.json: expected a diffusers pipeline folder"
    assert refusal(tmp_path) == refusal(tmp_path / "none").replace("/none", "") == bare
    (tmp_path / "notes.txt").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "model.safetensors").mkdir()
    assert refusal(tmp_path) == bare
    for name in ("b.safetensors", "a.GGUF"):
        (tmp_path / name).touch()
    files = ", ".join(repr(str(tmp_path / name)) for name in ("a.GGUF", "b.safetensors"))
    assert refusal(tmp_path) == f"{bare}. It holds a file of weights; if that is the model, give {files}"
    inner = tmp_path / "in\x1bner"
    inner.mkdir()
    (inner / "model_index.json").write_text("{}")
    said = f"{bare}. It holds a folder with one; if that is the model, give {str(inner)!r}"
    assert refusal(tmp_path) == said and "\x1b" not in said
