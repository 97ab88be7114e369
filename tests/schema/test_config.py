from pathlib import Path

import pytest

from imgaudit.exceptions import ConfigError
from imgaudit.schema.config import resolve_config
from imgaudit.schema.protocol import Effort


def test_flags_beat_environment_beats_file_beats_default(tmp_path: Path) -> None:
    (tmp_path / "imgaudit.toml").write_text('seed = 1\nlevel = 0.1\neffort = "quick"\n')
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    config, sources = resolve_config({"seed": 3, "level": None}, {"IMGAUDIT_SEED": "2", "IMGAUDIT_STEPS": "7"}, inner)
    assert (config.seed, config.steps, config.level, config.effort) == (3, 7, 0.1, Effort.QUICK)
    assert sources["seed"] == "command line" and sources["steps"] == "environment"
    assert sources["level"].endswith("imgaudit.toml") and sources["device"] == "default"


def test_pyproject_table_is_read_and_the_nearest_file_wins(tmp_path: Path) -> None:
    (tmp_path / "imgaudit.toml").write_text("seed = 1\n")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "pyproject.toml").write_text("[tool.imgaudit]\nchunk-size = 4\n")
    config, _ = resolve_config({}, {}, inner)
    assert (config.chunk_size, config.seed) == (4, 0)


@pytest.mark.parametrize("key", ["sede", "IMGAUDIT_SEDE"])
def test_an_unknown_key_names_the_nearest(key: str, tmp_path: Path) -> None:
    environ = {key: "1"} if key.startswith("IMG") else {}
    if not environ:
        (tmp_path / "imgaudit.toml").write_text("sede = 1\n")
    with pytest.raises(ConfigError, match=r"unknown key 'sede'.*nearest known key is 'seed'"):
        resolve_config({}, environ, tmp_path)


def test_a_bad_value_names_its_source(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"level \(from environment\).*'2'"):
        resolve_config({}, {"IMGAUDIT_LEVEL": "2"}, tmp_path)
    (tmp_path / "imgaudit.toml").write_text("= broken")
    with pytest.raises(ConfigError, match="cannot be read"):
        resolve_config({}, {}, tmp_path)


def test_options_that_are_impossible_together_are_refused_when_they_are_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one iteration takes 136 network evaluations, but only 50 are allowed"):
        resolve_config({"token_evaluations": 50}, {}, tmp_path)
