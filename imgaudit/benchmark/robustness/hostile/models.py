"""Model folders that are hostile or damaged, one per way of being so: an audit has to refuse every one of them.

Each is a valid model in which one thing was changed. What stays as it was is hard-linked, so they take little room.
"""

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from imgaudit.benchmark.robustness.broken_model import BrokenModel
from imgaudit.benchmark.robustness.hostile.model_files import (
    CHANGED_KEYS,
    DEEP,
    DROPPED,
    INDEX,
    LEFT_OUT,
    LIES,
    LINKS,
    MODEL_INDEX,
    OTHER_BYTES,
    REMOVED,
    SHARD,
    TEXT,
    TEXT_CONFIG,
    TOKENIZER,
    TOKENIZER_CONFIG,
    UNET,
    VAE,
)


@dataclass(frozen=True)
class HostileModel:
    """A folder that must be refused."""

    kind: str
    """The way in which it is hostile or damaged, shared by similar ones."""
    name: str
    """What exactly was changed, and the name of its folder."""
    path: Path
    """What to pass as --model."""


_Build = Callable[[BrokenModel], object]
_CASES: list[tuple[str, str, _Build]] = []


def _case(kind: str) -> Callable[[Any], Any]:
    def register(build: Any) -> Any:
        _CASES.append((kind, build.__name__[1:].replace("_", "-"), build))
        return build

    return register


@_case("pickled weights")
def _pickled_weights(model: BrokenModel) -> None:
    model.remove(UNET)
    model.write("unet/diffusion_pytorch_model.bin", model.trap())


@_case("pickled weights")
def _pickled_shards(model: BrokenModel) -> None:
    model.remove(TEXT)
    model.write("text_encoder/pytorch_model-00001-of-00001.bin", model.trap())
    model.change("text_encoder/pytorch_model.bin.index.json", {"weight_map": {"a": "pytorch_model-00001-of-00001.bin"}})


@_case("pickled weights")
def _pickle_called_safetensors(model: BrokenModel) -> None:
    model.write(UNET, model.trap())


@_case("pickled weights")
def _zip_called_safetensors(model: BrokenModel) -> None:
    with zipfile.ZipFile(packed := io.BytesIO(), "w") as archive:
        archive.writestr("archive/data.pkl", model.trap())
    model.write(VAE, packed.getvalue())


@_case("pickled weights")
def _pickle_named_by_the_index(model: BrokenModel) -> None:
    model.shard()
    model.write("text_encoder/model.bin", model.trap())
    model.change(INDEX, {"weight_map": {"a": "model.bin"}})


@_case("adapter that would be left out")
def _lora(model: BrokenModel) -> None:
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    model.write_tensors("pytorch_lora_weights.safetensors", {"unet.down.lora_A.weight": entry}, bytes(4))


@_case("adapter that would be left out")
def _lora_under_another_name(model: BrokenModel) -> None:
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    model.write_tensors("my-style.safetensors", {"lora_unet_mid.lora_down.weight": entry}, bytes(4))


@_case("adapter that would be left out")
def _lora_left_in_the_unet(model: BrokenModel) -> None:
    header, data = model.tensors(UNET)
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [len(data), len(data) + 4]}
    model.write_tensors(UNET, header | {"mid_block.processor.to_q_lora.down.weight": entry}, data + bytes(4))


@_case("adapter that would be left out")
def _adapter_of_the_text_encoder(model: BrokenModel) -> None:
    model.remove(TEXT_CONFIG)
    model.change("text_encoder/adapter_config.json", {"base_model_name_or_path": str(model.outside / "text_encoder")})


@_case("custom code")
def _code_in_the_folder(model: BrokenModel) -> None:
    model.write("unet/my_code.py", f"open({str(model.planted)!r}, 'w').close()\nclass Net: pass\n".encode())
    model.change(MODEL_INDEX, {"unet": ["my_code", "Net"]})


@_case("shards")
def _missing_shard(model: BrokenModel) -> None:
    model.shard()
    model.remove(SHARD)


@_case("shards")
def _truncated_shard(model: BrokenModel) -> None:
    model.shard()
    model.write(SHARD, (model.path / SHARD).read_bytes()[:-64])


@_case("shards")
def _shard_above_the_folder(model: BrokenModel) -> None:
    model.shard(weight_map={"a": f"../../{model.outside.name}/{TEXT}"})


@_case("shards")
def _shard_of_absolute_path(model: BrokenModel) -> None:
    model.shard(weight_map={"a": str(model.outside / TEXT)})


@_case("shards")
def _shard_without_its_tensor(model: BrokenModel) -> None:
    model.shard()
    held = dict.fromkeys(model.tensors(SHARD)[0], Path(SHARD).name)
    model.change(INDEX, {"weight_map": {**held, "another.weight": Path(SHARD).name}})


@_case("shards")
def _index_without_map(model: BrokenModel) -> None:
    model.shard(weight_map=[1, 2])


@_case("shards")
def _index_nested_deeply(model: BrokenModel) -> None:
    model.shard()
    model.write(INDEX, DEEP)


@_case("shards")
def _index_beside_whole_weights(model: BrokenModel) -> None:
    whole = (model.path / TEXT).read_bytes()
    model.shard()
    model.write(TEXT, whole)


@_case("lying header")
def _tensors_that_overlap(model: BrokenModel) -> None:
    header, data = model.tensors(UNET)
    first, second = list(header)[:2]
    model.write_tensors(UNET, header | {second: header[first]}, data)


@_case("lying header")
def _bytes_of_no_tensor(model: BrokenModel) -> None:
    header, data = model.tensors(UNET)
    model.write_tensors(UNET, header, data + model.trap())


@_case("truncated weights")
def _truncated_weights(model: BrokenModel) -> None:
    model.write(UNET, (model.path / UNET).read_bytes()[:-64])


@_case("truncated weights")
def _folder_called_weights(model: BrokenModel) -> None:
    model.remove(UNET)
    (model.path / UNET).mkdir()


@_case("missing files")
def _empty_folder(model: BrokenModel) -> None:
    shutil.rmtree(model.path)
    model.path.mkdir()


@_case("missing files")
def _file_instead_of_folder(model: BrokenModel) -> None:
    shutil.rmtree(model.path)
    model.path.write_bytes(model.trap())


@_case("not finite")
def _nan_in_the_unet(model: BrokenModel) -> None:
    # Bits that are all ones are NaN in every floating type.
    header, data = model.tensors(UNET)
    model.write_tensors(UNET, header, data[:-8] + b"\xff" * 8)


@_case("not finite")
def _infinity_in_the_text_encoder(model: BrokenModel) -> None:
    # The upper half of a 32-bit infinity is one 16-bit float or bfloat that is huge, infinite or NaN.
    header, data = model.tensors(TEXT)
    model.write_tensors(TEXT, header, data[:-8] + b"\x00\x00\x80\x7f\x00\x7c\x00\x7c")


@_case("paths that leave the folder")
def _vocabulary_that_is_a_path(model: BrokenModel) -> None:
    model.remove(TOKENIZER)
    tokenizer = model.outside / "tokenizer"
    model.change(TOKENIZER_CONFIG, {"vocab": str(tokenizer / "vocab.json"), "merges": str(tokenizer / "merges.txt")})


@_case("paths that leave the folder")
def _versioned_tokenizer_outside(model: BrokenModel) -> None:
    outside = f"../../{model.outside.name}/tokenizer/tokenizer.4.0.0.json"
    model.change(TOKENIZER_CONFIG, {"fast_tokenizer_files": [outside]})


@_case("missing files")
def _vocabulary_in_a_folder_below(model: BrokenModel) -> None:
    model.remove(TOKENIZER)
    for name in ("vocab.json", "merges.txt"):
        model.write(f"tokenizer/below/{name}", b"{}")


@_case("wrong config")
def _token_that_the_text_encoder_lacks(model: BrokenModel) -> None:
    vocabulary = json.loads((model.path / TOKENIZER).read_bytes())
    vocabulary["model"]["vocab"]["unheard of"] = 10**6
    model.write(TOKENIZER, json.dumps(vocabulary).encode())


@_case("wrong config")
def _tokenizer_that_panics(model: BrokenModel) -> None:
    model.change(TOKENIZER, {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}})


@_case("shards")
def _weights_of_a_distributed_run(model: BrokenModel) -> None:
    model.write("text_encoder/shard-00001-model-00001-of-00001.safetensors", (model.outside / TEXT).read_bytes())


@_case("special files")
def _pipe_called_weights(model: BrokenModel) -> None:
    model.remove(UNET)
    os.mkfifo(model.path / UNET)


@_case("special files")
def _pipe_called_config(model: BrokenModel) -> None:
    model.remove(TEXT_CONFIG)
    os.mkfifo(model.path / TEXT_CONFIG)


def _unreadable_weights(model: BrokenModel) -> None:
    model.write(UNET, (model.path / UNET).read_bytes())
    (model.path / UNET).chmod(0)


# The superuser reads everything.
if os.geteuid() != 0:
    _case("special files")(_unreadable_weights)


def _all_cases() -> Iterator[tuple[str, str, _Build]]:
    for kind, name, file, changes in CHANGED_KEYS:
        yield kind, name, partial(BrokenModel.change, name=file, changes=changes)
    for kind, name, file, data in OTHER_BYTES:
        yield kind, name, partial(BrokenModel.write, name=file, data=data)
    for name, lie in LIES:
        yield "lying header", name, partial(_lie, lie=lie)
    for name, file, target in LINKS:
        yield "paths that leave the folder", name, partial(_link, name=file, target=target)
    for name, file in REMOVED:
        yield "missing files", name, partial(BrokenModel.remove, name=file)
    for name, file in DROPPED:
        yield "missing tensor", name, partial(_drop_last_tensor, file=file)
    for name, file in LEFT_OUT:
        yield "adapter that would be left out", name, partial(_add_pickle, file=file)
    yield from _CASES


def _lie(model: BrokenModel, lie: dict[str, Any]) -> None:
    header, data = model.tensors(UNET)
    next(iter(header.values())).update(lie)
    model.write_tensors(UNET, header, data)


def _drop_last_tensor(model: BrokenModel, file: str) -> None:
    header, data = model.tensors(file)
    _, last = header.popitem()
    model.write_tensors(file, header, data[: last["data_offsets"][0]])


def _link(model: BrokenModel, name: str, target: str) -> None:
    model.link(name, Path(target.format(outside=model.outside)))


def _add_pickle(model: BrokenModel, file: str) -> None:
    model.write(file, model.trap())


def _write_vocabulary(folder: Path) -> None:
    """The vocabulary once more, in the forms in which a hostile configuration may ask for it."""
    whole = (folder / "tokenizer.json").read_bytes()
    parts = json.loads(whole)["model"]
    pairs = [pair if isinstance(pair, str) else " ".join(pair) for pair in parts["merges"]]
    (folder / "tokenizer.4.0.0.json").write_bytes(whole)
    (folder / "vocab.json").write_text(json.dumps(parts["vocab"]), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *pairs]), encoding="utf-8")


def make_hostile_models(base: Path, folder: Path, planted: Path) -> list[HostileModel]:
    """Break a small valid model in every way that is known here.

    base:     a diffusers folder with one file of weights per network
    folder:   where the hostile folders are made, one per case, beside `valid`, the copy that they were made from
    planted:  what their pickles and code create when they are executed, which must never appear
    """
    valid = folder / "valid"
    shutil.copytree(base, valid)
    made = []
    for kind, name, build in _all_cases():
        shutil.copytree(valid, folder / name, copy_function=os.link)
        build(BrokenModel(folder / name, planted, valid))
        made.append(HostileModel(kind, name, folder / name))
    _write_vocabulary(valid / "tokenizer")
    return made
