"""Variants of the weights: which is loaded, what its fingerprint covers, and what is fetched from the hub."""

import json
import shutil
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline

from imgaudit.benchmark.robustness.broken_model import BrokenModel
from imgaudit.exceptions import ModelRefusedError
from imgaudit.io.offline import go_offline, go_online
from imgaudit.models import load_model
from imgaudit.models.description import describe_model
from imgaudit.models.files.hub import fetch_model
from imgaudit.models.loading import LoadedModel

STEMS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}


@pytest.fixture(scope="module")
def halves(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tiny model's weights in half precision, whole and in shards, without the plain ones."""
    folders = {name: tmp_path_factory.mktemp("variants") / name for name in ("fp16", "bf16", "shards")}
    for name, folder in folders.items():
        dtype = torch.bfloat16 if name == "bf16" else torch.float16
        pipeline = StableDiffusionPipeline.from_pretrained(model_folder, dtype=dtype, safety_checker=None)
        size = "20KB" if name == "shards" else "10GB"
        pipeline.save_pretrained(folder, variant="bf16" if name == "bf16" else "fp16", max_shard_size=size)
    return folders


@pytest.fixture
def both(model_folder: Path, halves: dict[str, Path], tmp_path: Path) -> Path:
    """A folder with the plain weights and those of fp16."""
    folder = Path(shutil.copytree(model_folder, tmp_path / "both"))
    return Path(shutil.copytree(halves["fp16"], folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.json")))


def weight(loaded: LoadedModel) -> torch.Tensor:
    pipeline: Any = loaded.denoiser.pipeline  # type: ignore[attr-defined]
    return torch.cat([pipeline.unet.conv_in.weight.flatten(), pipeline.vae.encoder.conv_in.weight.flatten()])


def weight_files(loaded: LoadedModel) -> set[str]:
    return {name for name in loaded.files if name.endswith(".safetensors")}


@pytest.mark.parametrize(("name", "dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16), ("shards", torch.half)])
def test_the_only_variant_is_loaded(name: str, dtype: torch.dtype, halves: dict[str, Path], model_folder: Path) -> None:
    plain, loaded = load_model(str(model_folder), "cpu"), load_model(str(halves[name]), "cpu")
    assert loaded.variant == ("bf16" if name == "bf16" else "fp16") and plain.variant == ""
    assert torch.equal(weight(loaded), weight(plain).to(dtype).float())
    if name == "shards":
        assert "text_encoder/model.safetensors.index.fp16.json" in loaded.files
        assert len(weight_files(loaded)) > 3
    else:
        assert weight_files(loaded) == {f"{part}/{stem}.{name}.safetensors" for part, stem in STEMS.items()}


def test_plain_weights_go_before_variants_and_one_may_be_asked_for(
    both: Path, model_folder: Path, halves: dict[str, Path]
) -> None:
    plain, alone = load_model(str(model_folder), "cpu"), load_model(str(halves["fp16"]), "cpu")
    loaded, asked = load_model(str(both), "cpu"), load_model(str(both), "cpu", variant="fp16")
    assert torch.equal(weight(loaded), weight(plain)) and torch.equal(weight(asked), weight(alone))
    assert weight_files(loaded) == {f"{part}/{stem}.safetensors" for part, stem in STEMS.items()}
    # What lies beside the weights that are loaded makes no other model of them.
    assert loaded.denoiser.fingerprint == plain.denoiser.fingerprint
    assert asked.denoiser.fingerprint != plain.denoiser.fingerprint
    assert weight_files(asked) == weight_files(alone)


def test_weights_before_averaging_are_never_loaded(halves: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(halves["fp16"], tmp_path / "ema"))
    for part, stem in STEMS.items():
        shutil.copy(folder / part / f"{stem}.fp16.safetensors", folder / part / f"{stem}.non_ema.safetensors")
    assert load_model(str(folder), "cpu").variant == "fp16"
    for name in ("non_ema", "../fp16", "fp16.x"):
        with pytest.raises(ModelRefusedError, match="is no variant that can be audited"):
            load_model(str(folder), "cpu", variant=name)


def test_a_variant_that_a_network_lacks_is_refused(both: Path, halves: dict[str, Path]) -> None:
    with pytest.raises(ModelRefusedError, match="no weights of the variant 'bf16'; variants that it has: fp16"):
        load_model(str(both), "cpu", variant="bf16")
    (both / "vae/diffusion_pytorch_model.safetensors").unlink()
    assert load_model(str(both), "cpu").variant == "fp16"
    shutil.copytree(halves["bf16"], both, dirs_exist_ok=True)
    with pytest.raises(ModelRefusedError, match="the variants bf16, fp16: choose one with --variant"):
        load_model(str(both), "cpu")
    assert load_model(str(both), "cpu", variant="bf16").variant == "bf16"


def test_networks_without_a_variant_in_common_are_refused(model_folder: Path, both: Path) -> None:
    (both / "vae/diffusion_pytorch_model.safetensors").unlink()
    (both / "unet/diffusion_pytorch_model.fp16.safetensors").unlink()
    with pytest.raises(ModelRefusedError, match="component 'vae' has no regular file 'diffusion_pytorch"):
        load_model(str(both), "cpu")


def test_an_index_that_diffusers_would_obey_is_refused(halves: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "v1.5"
    model = BrokenModel(Path(shutil.copytree(halves["fp16"], folder)), tmp_path / "executed", halves["bf16"])
    index = {"metadata": {}, "weight_map": {"conv_in.weight": "other.safetensors"}}
    parts = (folder / "unet/diffusion_pytorch_model.safetensors.index.json").as_posix().split(".")
    for cut in (2, 3):
        name = Path(".".join([*parts[:cut], "fp16", *parts[cut:]]))
        name.parent.mkdir(parents=True, exist_ok=True)
        name.write_text(json.dumps(index))
        with pytest.raises(ModelRefusedError, match="would be loaded in place of"):
            load_model(str(model.path), "cpu")
        name.unlink()
    assert load_model(str(model.path), "cpu").variant == "fp16"


def test_damage_of_a_variant_is_refused_as_that_of_plain_weights_is(halves: dict[str, Path], tmp_path: Path) -> None:
    model = BrokenModel(Path(shutil.copytree(halves["shards"], tmp_path / "copy")), tmp_path / "x", halves["bf16"])
    shards = sorted((model.path / "text_encoder").glob("*.safetensors"))
    shards[0].unlink()
    with pytest.raises(ModelRefusedError, match="which is not there"):
        load_model(str(model.path), "cpu")
    shards[0].write_bytes(shards[1].read_bytes()[:-1])
    with pytest.raises(ModelRefusedError, match="is damaged: its tensors take"):
        load_model(str(model.path), "cpu")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], list[str]]:
    """hub(folder) makes the folder the only repository of a hub; what is fetched from it is listed."""
    cache, fetched, commit = tmp_path / "cache" / "snapshots", list[str](), "0123456789abcdef" * 2 + "01234567"

    def serve(folder: Path) -> list[str]:
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]

        def snapshot_download(
            name: str, revision: str | None, local_files_only: bool, allow_patterns: Sequence[str]
        ) -> str:
            for file in names:
                wanted = any(fnmatch(file, pattern) for pattern in allow_patterns)
                if wanted and not local_files_only and not (cache / commit / file).exists():
                    (cache / commit / file).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(folder / file, cache / commit / file)
                    fetched.append(file)
            return str(cache / commit)

        def list_repo_files(self: Any, name: str, revision: str) -> list[str]:
            assert revision == commit
            return names

        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
        monkeypatch.setattr("huggingface_hub.HfApi.list_repo_files", list_repo_files)
        return fetched

    return serve


def test_only_weights_that_will_be_loaded_are_fetched(both: Path, hub: Callable[[Path], list[str]]) -> None:
    for name in ("v1-5-pruned.safetensors", "unet/diffusion_pytorch_model.bin", "safety_checker/model.safetensors"):
        (both / name).parent.mkdir(exist_ok=True)
        (both / name).write_bytes(b"large")
    fetched = hub(both)
    loaded = load_model("owner/name", "cpu")
    assert loaded.variant == "" and len(loaded.revision) == 40
    assert sorted(one for one in fetched if not one.endswith(("json", "txt"))) == sorted(weight_files(loaded))
    assert weight_files(loaded) == {f"{part}/{stem}.safetensors" for part, stem in STEMS.items()}
    asked = load_model("owner/name", "cpu", variant="fp16")
    assert weight_files(asked) < set(fetched) and asked.variant == "fp16"


def test_a_variant_is_fetched_where_plain_weights_are_missing(
    halves: dict[str, Path], hub: Callable[[Path], list[str]]
) -> None:
    fetched = hub(halves["shards"])
    loaded = load_model("owner/name@main", "cpu")
    assert loaded.variant == "fp16" and weight_files(loaded) <= set(fetched)
    count = len(fetched)
    go_offline()
    try:
        assert load_model("owner/name", "cpu").denoiser.fingerprint == loaded.denoiser.fingerprint
    finally:
        go_online()
    assert len(fetched) == count


def test_a_description_fetches_no_weights(both: Path, hub: Callable[[Path], list[str]]) -> None:
    fetched = hub(both)
    found = describe_model("owner/name")
    assert found.denoiser is not None and found.refusals == [] and not found.has_weights
    assert "model_index.json" in fetched and not [name for name in fetched if name.endswith(".safetensors")]


def test_a_repository_without_an_index_is_refused(both: Path, hub: Callable[[Path], list[str]]) -> None:
    (both / "model_index.json").unlink()
    hub(both)
    with pytest.raises(ModelRefusedError, match="it is no diffusers folder: if it has a single file, download"):
        load_model("owner/name", "cpu")


def test_what_cannot_be_audited_is_refused_before_its_weights_are_fetched(
    both: Path, hub: Callable[[Path], list[str]]
) -> None:
    index = json.loads((both / "model_index.json").read_text())
    (both / "model_index.json").write_text(json.dumps(index | {"_class_name": "StableCascadeCombinedPipeline"}))
    fetched = hub(both)
    with pytest.raises(ModelRefusedError, match="is not supported by this version"):
        fetch_model("owner/name")
    assert fetched and not any(name.endswith(".safetensors") for name in fetched)


def test_a_hub_that_fails_meanwhile_leaves_what_is_there(
    both: Path, hub: Callable[[Path], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub(both)
    expected = load_model("owner/name", "cpu")

    def fail(self: Any, name: str, revision: str) -> list[str]:
        raise ConnectionError

    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_files", fail)
    assert load_model("owner/name", "cpu").denoiser.fingerprint == expected.denoiser.fingerprint
