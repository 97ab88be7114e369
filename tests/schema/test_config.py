from pathlib import Path

import pytest

from imgaudit.exceptions import ConfigError
from imgaudit.schema.config import AuditConfig, resolve_config
from imgaudit.schema.protocol import Effort, GenerationConfig, InversionConfig, Protocol, protocol_for


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


def test_the_protocol_hash_follows_what_decides_scores_and_nothing_else() -> None:
    base = AuditConfig()
    same = AuditConfig(seed=5, batch_size=3, chunk_size=2, level=0.1, operator="x", device="cpu")
    assert base.protocol.hash == same.protocol.hash
    others = [
        {"steps": 3}, {"draws": 2}, {"seeds": 5}, {"num_inference_steps": 4}, {"framing": "pad"}, {"effort": "quick"},
    ]  # fmt: skip
    hashes = {AuditConfig.model_validate(other).protocol.hash for other in others}
    assert len(hashes) == len(others) and base.protocol.hash not in hashes
    assert AuditConfig().protocol.differences(AuditConfig(steps=3).protocol) == [
        "inversion.steps: 50 here, 3 there",
        "error.after_steps: 8 here, 3 there",
    ]


def test_several_scales_keep_the_seeds_that_choose_apart_from_those_that_rate() -> None:
    thorough = protocol_for(Effort.THOROUGH).generation
    assert thorough.seeds - thorough.selection_seeds == 128
    assert AuditConfig(guidance_scales=(1.0, 3.0), seeds=10).protocol.generation.selection_seeds == 2
    with pytest.raises(ValueError, match="selection_seeds"):
        GenerationConfig(guidance_scales=(1.0, 3.0))
    with pytest.raises(ValueError, match="guidance scales"):
        GenerationConfig(guidance_scales=())


def test_the_error_is_measured_within_the_inversion() -> None:
    with pytest.raises(ValueError, match="after 8 inversion steps, but there are only 4"):
        Protocol(inversion=InversionConfig(steps=4))
    assert AuditConfig(steps=4).protocol.error.after_steps == 4


def test_learning_rate_and_steps_before_the_score_are_part_of_the_protocol() -> None:
    config = AuditConfig(learning_rate=1.0, score_after=16)
    assert (config.protocol.inversion.learning_rate, config.protocol.error.after_steps) == (1.0, 16)
    assert config.protocol.hash != AuditConfig().protocol.hash
    with pytest.raises(ValueError, match="after 16 inversion steps, but there are only 8"):
        AuditConfig(steps=8, score_after=16)


def test_options_that_are_impossible_together_are_refused_when_they_are_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one iteration takes 136 network evaluations, but only 50 are allowed"):
        resolve_config({"token_evaluations": 50}, {}, tmp_path)
