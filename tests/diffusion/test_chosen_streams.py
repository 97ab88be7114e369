"""Streams of text encoders that are inverted by choice: the others stay where they start."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from imgaudit.benchmark.budgets.dori import dori_inversion
from imgaudit.cli import main
from imgaudit.diffusion.inversion import count_embedding_bits, make_initial_streams
from imgaudit.diffusion.quantisation import sort_settings, truncate_embedding
from imgaudit.exceptions import CalibrationError, ConfigError
from imgaudit.models import load_model
from imgaudit.models.families.unet import UNetDenoiser
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.manifest import read_manifest
from imgaudit.schema.protocol import (
    InversionConfig,
)
from tests.conftest import make_pipeline, tiny_recipe
from tests.support.records import bank as make_bank
from tests.support.streams import ADAPTERS, SD3, STREAMS, inverted
from tests.support.wrapping import unwrap


def test_a_bank_of_other_streams_is_refused() -> None:
    bank = make_bank(20)
    chosen = InversionConfig(steps=bank.protocol.inversion.steps, streams=("pooled",))
    with pytest.raises(CalibrationError, match=r"inversion\.streams: \['pooled'\] here, all there"):
        bank.require(bank.model_fingerprint, bank.protocol.model_copy(update={"inversion": chosen}))
    assert '"streams"' not in bank.model_dump_json()


def test_only_the_chosen_streams_are_inverted(family: str) -> None:
    denoiser = ADAPTERS[family]()
    start, names = denoiser.start_condition(), STREAMS[family]
    assert list(start.streams) == names
    whole = inverted(denoiser, None)
    assert all(torch.equal(whole.streams[name], inverted(denoiser, names).streams[name]) for name in names)
    for name in names:
        alone = inverted(denoiser, [name])
        assert list(alone.streams) == names
        for other in names:
            moved = (alone.streams[other] != start.streams[other]).any(dim=2)[0]
            assert torch.equal(moved, start.free[other] if other == name else torch.zeros_like(start.free[other]))


def test_streams_that_are_not_chosen_start_where_they_stay_and_carry_no_bits(family: str) -> None:
    denoiser = ADAPTERS[family]()
    start = denoiser.start_condition()
    config = InversionConfig(streams=("pooled",), initialisation="random")
    streams = make_initial_streams(denoiser, ["aa"], config, run_seed=1)
    assert [name for name in start.streams if not torch.equal(streams[name], start.streams[name])] == ["pooled"]
    width = start.streams["pooled"].shape[2]
    assert count_embedding_bits(start, None, ["pooled"]) == 32 * width < count_embedding_bits(start, None)
    moved = start.with_streams({**start.streams, "pooled": start.streams["pooled"] + torch.arange(width)})
    for rank, precision in sort_settings(start, None, ["pooled"])[:3]:
        turned, bits = truncate_embedding(moved, start, None, rank, precision, chosen=["pooled"])
        assert bits < truncate_embedding(moved, start, None, rank, precision)[1]
        assert [n for n in start.streams if not torch.equal(turned.streams[n], start.streams[n])] == ["pooled"]


def test_a_stream_that_a_model_lacks_is_refused_with_those_it_has(family: str) -> None:
    denoiser, names = ADAPTERS[family](), ", ".join(STREAMS[family])
    with pytest.raises(ConfigError, match=f"no stream 'clp'; expected one or more of {names}"):
        inverted(denoiser, ["clp", "pooled"])
    assert denoiser.network_evaluations == 0


def test_the_commands_refuse_it_before_anything_is_measured(
    family_folders: dict[str, Path], make_folder: Callable[..., Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder, out = make_folder("portfolio", [1]), tmp_path / "out"
    model = ["--model", str(family_folders[SD3]), "--streams", "clip,text", "--out", str(out), "--device", "cpu"]
    for command in (["audit", "--no-controls"], ["audit", "--dry-run"], ["calibrate"]):
        monkeypatch.setattr("sys.argv", ["imgaudit", command[0], str(folder), *model, *command[1:]])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 2
        assert "no stream 'text'; expected one or more of clip, t5, pooled" in unwrap(capsys.readouterr().err)
        assert not out.exists()


def test_an_audit_of_chosen_streams_from_the_command_line(
    family_folders: dict[str, Path], make_folder: Callable[..., Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder, out = make_folder("portfolio", [1]), tmp_path / "out"
    command = ["imgaudit", "audit", str(folder), "--model", str(family_folders[SD3]), "--streams", "pooled,clip"]
    command += ["--steps", "2", "--draws", "2", "--seeds", "2", "--num-inference-steps", "2", "--device", "cpu"]
    # Without controls nothing can be concluded, which has an exit code of its own.
    for more, code in ((["--dry-run"], 0), (["--no-controls", "--out", str(out)], 3)):
        monkeypatch.setattr("sys.argv", [*command, *more])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == code
    # Three conditions of two guided seeds of two steps, and 64 draws of each of four.
    evaluations = 3 * 2 * 2 * 2 + 4 * 64
    shown = " ".join(capsys.readouterr().out.split())
    assert re.search(rf"At most {evaluations} more, about \d+ s, for each image", shown)
    manifest = read_manifest(RunFolder(out))
    assert manifest.protocol.inversion.streams == ("clip", "pooled")
    [one], _ = RunFolder(out).read_measurements()
    embeds = load_file(RunFolder(out).image_folder(one.id) / "embeds.safetensors")
    start = load_model(str(family_folders[SD3]), "cpu").denoiser.start_condition()
    same = {name for name, stream in embeds.items() if torch.equal(stream, start.streams[name][0])}
    assert set(embeds) == {"clip", "t5", "pooled"} and same == {"t5"}


def test_dori_s_learning_rate_is_that_of_the_condition_where_the_inversion_starts() -> None:
    denoiser = ADAPTERS["sdxl"]()
    scale = max(denoiser.start_condition().root_mean_square().values())
    assert max(denoiser.null_condition().root_mean_square().values()) == 0
    assert dori_inversion(denoiser).learning_rate == pytest.approx(0.1 / scale)
    one = UNetDenoiser(make_pipeline(tiny_recipe()), "fingerprint")
    [null] = one.null_condition().root_mean_square().values()
    assert dori_inversion(one).learning_rate == 0.1 / null
