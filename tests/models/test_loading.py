"""Strangers' model folders: hostile and damaged ones are refused without being run, harmless ones are loaded."""

import json
import os
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import imgaudit
from imgaudit.benchmark.robustness.broken_model import BrokenModel
from imgaudit.benchmark.robustness.hostile.model_files import (
    INDEX,
    MODEL_INDEX,
    SHARD,
    TEXT,
    TOKENIZER,
    TOKENIZER_CONFIG,
    UNET,
)
from imgaudit.benchmark.robustness.hostile.models import HostileModel, make_hostile_models
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models import load_model, resolve_model
from imgaudit.models.loading import hash_model_files, model_fingerprint
from tests.support.refusals import REASONS

MEMORY = 4 * 2**30
"""Address space that loading a tiny model may take; without refusals some folders would take a thousand times it."""

READABLE = tuple(map(str, (sys.prefix, sys.base_prefix, Path(imgaudit.__file__).parent, "/proc", "/sys", "/dev/null")))

watched: list[str] = []
watching = False


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if watching and event == "open" and isinstance(arguments[0], str | bytes):
        watched.append(os.path.abspath(os.fsdecode(arguments[0])))  # noqa: PTH100
    if watching and event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect"):
        watched.append(event)


# A hook of this kind cannot be removed, so it looks at a flag.
sys.addaudithook(_watch)


def opened_outside(folder: Path, load: Callable[[], object]) -> list[str]:
    """What `load` opens or starts, apart from the folder and the Python installation."""
    global watching
    watched.clear()
    watching = True
    try:
        load()
    finally:
        watching = False
    return [name for name in watched if not name.startswith((*READABLE, str(folder)))]


@pytest.fixture
def bounded_memory() -> Iterator[None]:
    """An absurd model must not be able to take the machine down with the tests."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("only Linux tells how much memory is taken")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_the_watch_sees_what_is_opened_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "outside").write_text("secret")
    assert opened_outside(tmp_path / "inside", (tmp_path / "outside").read_text) == [str(tmp_path / "outside")]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the hostile models create when something of them is executed."""
    return tmp_path_factory.mktemp("planted") / "executed"


@pytest.fixture(scope="module")
def hostile(model_folder: Path, planted: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, HostileModel]:
    made = make_hostile_models(model_folder, tmp_path_factory.mktemp("hostile"), planted)
    return {model.name: model for model in made}


@pytest.fixture
def copied(model_folder: Path, tmp_path: Path) -> BrokenModel:
    return BrokenModel(Path(shutil.copytree(model_folder, tmp_path / "copy")), tmp_path / "executed", model_folder)


def test_every_hostile_model_has_a_reason_of_its_own(hostile: dict[str, HostileModel]) -> None:
    assert hostile.keys() == REASONS.keys()
    assert len(hostile) >= 100 and len({model.kind for model in hostile.values()}) >= 10


@pytest.mark.usefixtures("bounded_memory")
@pytest.mark.parametrize("name", REASONS)
def test_a_hostile_model_is_refused_for_its_reason(name: str, hostile: dict[str, HostileModel], planted: Path) -> None:
    folder = hostile[name].path

    def load() -> None:
        with pytest.raises(ModelRefusedError) as refused:
            load_model(str(folder), "cpu")
        message = str(refused.value)
        assert REASONS[name] in message
        assert message.isprintable() and len(message) < 600

    assert opened_outside(folder, load) == []
    assert not planted.exists()


def test_the_model_that_they_were_made_from_is_loaded(hostile: dict[str, HostileModel]) -> None:
    folder = hostile["lora"].path.parent / "valid"
    assert opened_outside(folder, lambda: load_model(str(folder), "cpu")) == []


def beside_pickles(model: BrokenModel) -> None:
    model.write("unet/diffusion_pytorch_model.bin", model.trap())
    model.write("v1-5-pruned.ckpt", model.trap())


def with_a_pickled_safety_checker(model: BrokenModel) -> None:
    model.write("safety_checker/pytorch_model.bin", model.trap())
    model.change(MODEL_INDEX, {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]})


def with_stale_paths(model: BrokenModel) -> None:
    model.change(TOKENIZER_CONFIG, {"vocab_file": "/home/trainer/vocab.json", "special_tokens_map_file": "./none.json"})
    model.change("unet/config.json", {"_name_or_path": "/etc"})


def with_code_that_nothing_names(model: BrokenModel) -> None:
    model.write("unet/my_code.py", f"open({str(model.planted)!r}, 'w')".encode())
    model.write("pipeline.py", f"open({str(model.planted)!r}, 'w')".encode())


def in_the_cache_of_the_hub(model: BrokenModel) -> None:
    repository = model.path.parent / "models--owner--name"
    (repository / "blobs").mkdir(parents=True)
    for number, file in enumerate(path for path in sorted(model.path.rglob("*")) if path.is_file()):
        blob = repository / "blobs" / f"{number:040x}"
        file.rename(blob)
        file.symlink_to(blob)
    (repository / "snapshots").mkdir()
    model.path.rename(repository / "snapshots" / "0123abcd")
    model.path.symlink_to(repository / "snapshots" / "0123abcd")


def with_a_link_within(model: BrokenModel) -> None:
    (model.path / UNET).rename(model.path / "unet/weights.safetensors")
    (model.path / UNET).symlink_to("weights.safetensors")
    (model.path / "tokenizer/license.txt").symlink_to("nowhere.txt")


def in_shards(model: BrokenModel) -> None:
    header, data = model.tensors(TEXT)
    model.shard()
    name, entry = header.popitem()
    start = entry["data_offsets"][0]
    second = SHARD.replace("1-of", "2-of")
    model.write_tensors(SHARD, header, data[:start])
    model.write_tensors(second, {name: entry | {"data_offsets": [0, len(data) - start]}}, data[start:])
    placed = dict.fromkeys(header, Path(SHARD).name) | {name: Path(second).name}
    model.change(INDEX, {"weight_map": placed})


def with_a_vocabulary_in_two_files(model: BrokenModel) -> None:
    parts = json.loads((model.path / TOKENIZER).read_text())["model"]
    model.remove(TOKENIZER)
    model.write("tokenizer/vocab.json", json.dumps(parts["vocab"]).encode())
    model.write("tokenizer/merges.txt", "\n".join(["#version: 0.2", *map(" ".join, parts["merges"])]).encode())


def with_tensors_that_it_does_not_need(model: BrokenModel) -> None:
    header, data = model.tensors(TEXT)
    entry = {"dtype": "I64", "shape": [1, 1], "data_offsets": [len(data), len(data) + 8]}
    model.write_tensors(TEXT, header | {"embeddings.position_ids": entry}, data + bytes(8))


@pytest.mark.parametrize(
    "change",
    [
        beside_pickles, with_a_pickled_safety_checker, with_stale_paths, with_code_that_nothing_names,
        in_the_cache_of_the_hub, with_a_link_within, in_shards, with_a_vocabulary_in_two_files,
        with_tensors_that_it_does_not_need,
    ],
)  # fmt: skip
def test_what_only_looks_alarming_is_loaded_and_is_the_same_model(
    copied: BrokenModel, change: Callable[[BrokenModel], None]
) -> None:
    expected = load_model(str(copied.path), "cpu").denoiser.condition(["a red fox"]).streams["text"]
    change(copied)
    loaded = load_model(str(copied.path), "cpu")
    torch.testing.assert_close(loaded.denoiser.condition(["a red fox"]).streams["text"], expected)
    assert loaded.denoiser.network_evaluations == 0
    assert not copied.planted.exists()


def test_a_model_of_the_hub_is_known_by_its_commit(
    copied: BrokenModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_model(str(copied.path), "cpu").revision == ""
    commit, repository = "0123456789abcdef" * 2 + "01234567", tmp_path / "hub" / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots").mkdir()
    copied.path.rename(repository / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("owner/name", "owner/name@main", f"owner/name@{commit}", str(repository / "snapshots" / commit)):
        loaded = load_model(name, "cpu")
        assert (loaded.name, loaded.revision) == (name, commit)


def test_a_cache_of_the_hub_gives_no_leave_to_read_elsewhere(copied: BrokenModel) -> None:
    in_the_cache_of_the_hub(copied)
    repository = copied.path.parent / "models--owner--name"
    blob = next(path for path in (repository / "blobs").iterdir() if path.stat().st_size > 1000)
    blob.unlink()
    blob.symlink_to(copied.outside / UNET)
    with pytest.raises(ModelRefusedError, match="a link that leaves the model's folder"):
        load_model(str(copied.path), "cpu")


def test_parts_of_two_models_are_refused(copied: BrokenModel, other_model_folder: Path) -> None:
    copied.remove("text_encoder")
    shutil.copytree(other_model_folder / "text_encoder", copied.path / "text_encoder")
    with pytest.raises(ModelRefusedError, match="do not fit together"):
        load_model(str(copied.path), "cpu")


def test_the_fingerprint_follows_every_file_that_decides_what_the_model_does(copied: BrokenModel) -> None:
    files = hash_model_files(copied.path)
    assert {UNET, "vae/config.json", "model_index.json", TOKENIZER} <= set(files)
    seen = {model_fingerprint(files)}
    weights = bytearray((copied.path / UNET).read_bytes())
    weights[-1] ^= 1
    copied.write(UNET, bytes(weights))
    seen.add(model_fingerprint(hash_model_files(copied.path)))
    added = (INDEX, SHARD, "tokenizer/vocab.json", "tokenizer/merges.txt", "tokenizer/spiece.model")
    for name in added:
        copied.write(name, b"{}")
        seen.add(model_fingerprint(hash_model_files(copied.path)))
    assert len(seen) == 2 + len(added)
    copied.write("README.md", b"not the model")
    assert model_fingerprint(hash_model_files(copied.path)) in seen


def test_what_is_wrong_with_a_name_is_said() -> None:
    with pytest.raises(ModelRefusedError, match="was not found"):
        resolve_model("./nowhere")
    with pytest.raises(ModelRefusedError, match="cannot be opened: File name too long"):
        resolve_model("x" * 5000)
    with pytest.raises(ModelRefusedError, match="not cached and cannot be fetched"):
        load_model("nobody/nothing", "cpu")


def test_a_folder_named_like_a_bundled_lab_does_not_shadow_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    assert (resolve_model("demo") / "model_index.json").is_file()
    assert resolve_model("./demo") == Path("demo")
