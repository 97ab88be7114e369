import json
import pickle
import shutil
from pathlib import Path

import pytest

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models import load_model, resolve_model
from imgaudit.models.loading import hash_model_files, model_fingerprint


@pytest.fixture
def copied(model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_folder, tmp_path / "copy"))


def test_the_fingerprint_follows_every_weight_file(copied: Path) -> None:
    files = hash_model_files(copied)
    assert {"unet/diffusion_pytorch_model.safetensors", "vae/config.json", "model_index.json"} <= set(files)
    before = model_fingerprint(files)
    weights = copied / "vae" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert model_fingerprint(hash_model_files(copied)) != before


def test_a_pickle_is_refused_and_never_opened(copied: Path, tmp_path: Path) -> None:
    planted = tmp_path / "executed"

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (planted,))  # type: ignore[return-value]

    weights = copied / "unet" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    weights.with_suffix(".bin").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ModelRefusedError, match="only pickled weights"):
        load_model(str(copied), "cpu")
    assert not planted.exists()


def test_what_is_wrong_with_a_model_is_said(copied: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelRefusedError, match="was not found"):
        resolve_model("./nowhere")
    with pytest.raises(ModelRefusedError, match=r"no model_index\.json"):
        load_model(str(tmp_path), "cpu")
    with pytest.raises(ModelRefusedError, match="is a single file"):
        load_model(str(copied / "model_index.json"), "cpu")
    with pytest.raises(ModelRefusedError, match="not cached and cannot be fetched"):
        load_model("nobody/nothing", "cpu")
    index = json.loads((copied / "model_index.json").read_text())
    for change, message in (
        ({"_class_name": "FluxPipeline"}, "FluxPipeline is not supported"),
        ({"unet": ["my_code", "Net"]}, "brings its own code"),
    ):
        (copied / "model_index.json").write_text(json.dumps(index | change))
        with pytest.raises(ModelRefusedError, match=message):
            load_model(str(copied), "cpu")
    (copied / "model_index.json").write_text(json.dumps(index))
    with (copied / "unet" / "diffusion_pytorch_model.safetensors").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(ModelRefusedError, match="cannot be loaded"):
        load_model(str(copied), "cpu")


def test_a_missing_device_is_refused(model_folder: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    with pytest.raises(ModelRefusedError, match="no CUDA device"):
        load_model(str(model_folder), "cuda")


def test_a_folder_named_like_a_bundled_lab_does_not_shadow_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    assert (resolve_model("demo") / "model_index.json").is_file()
    assert resolve_model("./demo") == Path("demo")
