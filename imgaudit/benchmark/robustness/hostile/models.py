"""Model folders that are hostile or damaged, one per way of being so: an audit has to refuse every one of them.

Each is a valid model in which one thing was changed. What stays as it was is hard-linked, so they take little room.
"""

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    PICKLED_SHARD,
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


_Step = Callable[[BrokenModel], object]
_Tensors = tuple[dict[str, Any], bytes]


def _rewritten(file: str, change: Callable[[dict[str, Any], bytes], _Tensors]) -> _Step:
    """Return a step that changes header and data of a file of weights."""
    return lambda model: model.write_tensors(file, *change(*model.tensors(file)))


def _cut(file: str) -> _Step:
    return lambda model: model.write(file, (model.path / file).read_bytes()[:-64])


def _zipped(data: bytes) -> bytes:
    with zipfile.ZipFile(packed := io.BytesIO(), "w") as archive:
        archive.writestr("archive/data.pkl", data)
    return packed.getvalue()


def _entry(start: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [1], "data_offsets": [start, start + 4]}


def _without_last(header: dict[str, Any], data: bytes) -> _Tensors:
    _, last = header.popitem()
    return header, data[: last["data_offsets"][0]]


def _lie_of_first(header: dict[str, Any], data: bytes, lie: dict[str, Any]) -> _Tensors:
    next(iter(header.values())).update(lie)
    return header, data


def _add_unknown_token(model: BrokenModel) -> None:
    vocabulary = json.loads((model.path / TOKENIZER).read_bytes())
    vocabulary["model"]["vocab"]["unheard of"] = 10**6
    model.write(TOKENIZER, json.dumps(vocabulary).encode())


def _plant_code(model: BrokenModel) -> None:
    model.write("unet/my_code.py", f"open({str(model.planted)!r}, 'w').close()\nclass Net: pass\n".encode())
    model.change(MODEL_INDEX, {"unet": ["my_code", "Net"]})


def _point_to_vocabulary(model: BrokenModel) -> None:
    model.remove(TOKENIZER)
    tokenizer = model.outside / "tokenizer"
    model.change(TOKENIZER_CONFIG, {"vocab": str(tokenizer / "vocab.json"), "merges": str(tokenizer / "merges.txt")})


_STEPS: Mapping[str, Mapping[str, Sequence[_Step]]] = {
    "pickled weights": {
        "pickled-weights": [
            lambda m: m.remove(UNET), lambda m: m.write("unet/diffusion_pytorch_model.bin", m.trap()),
        ],
        "pickled-shards": [
            lambda m: m.remove(TEXT), lambda m: m.write(f"text_encoder/{PICKLED_SHARD}", m.trap()),
            lambda m: m.change("text_encoder/pytorch_model.bin.index.json", {"weight_map": {"a": PICKLED_SHARD}}),
        ],
        "pickle-called-safetensors": [lambda m: m.write(UNET, m.trap())],
        "zip-called-safetensors": [lambda m: m.write(VAE, _zipped(m.trap()))],
        "pickle-named-by-the-index": [
            lambda m: m.shard(), lambda m: m.write("text_encoder/model.bin", m.trap()),
            lambda m: m.change(INDEX, {"weight_map": {"a": "model.bin"}}),
        ],
    },
    "adapter that would be left out": {
        "lora": [lambda m: m.write_tensors(
            "pytorch_lora_weights.safetensors", {"unet.down.lora_A.weight": _entry(0)}, bytes(4))],
        "lora-under-another-name": [lambda m: m.write_tensors(
            "my-style.safetensors", {"lora_unet_mid.lora_down.weight": _entry(0)}, bytes(4))],
        "lora-left-in-the-unet": [_rewritten(UNET, lambda header, data: (
            header | {"mid_block.processor.to_q_lora.down.weight": _entry(len(data))}, data + bytes(4)))],
        "adapter-of-the-text-encoder": [lambda m: m.remove(TEXT_CONFIG), lambda m: m.change(
            "text_encoder/adapter_config.json", {"base_model_name_or_path": str(m.outside / "text_encoder")})],
    },
    "custom code": {"code-in-the-folder": [_plant_code]},
    "shards": {
        "missing-shard": [lambda m: m.shard(), lambda m: m.remove(SHARD)],
        "truncated-shard": [lambda m: m.shard(), _cut(SHARD)],
        "shard-above-the-folder": [lambda m: m.shard(weight_map={"a": f"../../{m.outside.name}/{TEXT}"})],
        "shard-of-absolute-path": [lambda m: m.shard(weight_map={"a": str(m.outside / TEXT)})],
        "shard-without-its-tensor": [lambda m: m.shard(), lambda m: m.change(
            INDEX, {"weight_map": dict.fromkeys([*m.tensors(SHARD)[0], "another.weight"], Path(SHARD).name)})],
        "index-without-map": [lambda m: m.shard(weight_map=[1, 2])],
        "index-nested-deeply": [lambda m: m.shard(), lambda m: m.write(INDEX, DEEP)],
        "index-beside-whole-weights": [
            lambda m: m.shard(), lambda m: m.write(TEXT, (m.outside / TEXT).read_bytes()),
        ],
        "weights-of-a-distributed-run": [lambda m: m.write(
            "text_encoder/shard-00001-model-00001-of-00001.safetensors", (m.outside / TEXT).read_bytes())],
    },
    "lying header": {
        "tensors-that-overlap": [_rewritten(UNET, lambda header, data: (
            header | {list(header)[1]: next(iter(header.values()))}, data))],
        "bytes-of-no-tensor": [lambda m: m.write_tensors(UNET, m.tensors(UNET)[0], m.tensors(UNET)[1] + m.trap())],
    },
    "truncated weights": {
        "truncated-weights": [_cut(UNET)],
        "folder-called-weights": [lambda m: m.remove(UNET), lambda m: (m.path / UNET).mkdir()],
    },
    "missing files": {
        "empty-folder": [lambda m: shutil.rmtree(m.path), lambda m: m.path.mkdir()],
        "file-instead-of-folder": [lambda m: shutil.rmtree(m.path), lambda m: m.path.write_bytes(m.trap())],
        "vocabulary-in-a-folder-below": [
            lambda m: m.remove(TOKENIZER), lambda m: m.write("tokenizer/below/vocab.json", b"{}"),
            lambda m: m.write("tokenizer/below/merges.txt", b"{}"),
        ],
    },
    "not finite": {
        # Bits that are all ones are NaN in every floating type.
        "nan-in-the-unet": [_rewritten(UNET, lambda header, data: (header, data[:-8] + b"\xff" * 8))],
        # The upper half of a 32-bit infinity is one 16-bit float or bfloat that is huge, infinite or NaN.
        "infinity-in-the-text-encoder": [_rewritten(TEXT, lambda header, data: (
            header, data[:-8] + b"\x00\x00\x80\x7f\x00\x7c\x00\x7c"))],
    },
    "paths that leave the folder": {
        "vocabulary-that-is-a-path": [_point_to_vocabulary],
        "versioned-tokenizer-outside": [lambda m: m.change(
            TOKENIZER_CONFIG, {"fast_tokenizer_files": [f"../../{m.outside.name}/tokenizer/tokenizer.4.0.0.json"]})],
    },
    "wrong config": {
        "token-that-the-text-encoder-lacks": [_add_unknown_token],
        "tokenizer-that-panics": [lambda m: m.change(
            TOKENIZER, {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}})],
    },
    "special files": {
        "pipe-called-weights": [lambda m: m.remove(UNET), lambda m: os.mkfifo(m.path / UNET)],
        "pipe-called-config": [lambda m: m.remove(TEXT_CONFIG), lambda m: os.mkfifo(m.path / TEXT_CONFIG)],
    },
}  # fmt: skip
"""Kind, name, and what is done to the model, one step after the other."""


def _all_cases() -> Iterator[tuple[str, str, Sequence[_Step]]]:
    for kind, name, file, changes in CHANGED_KEYS:
        yield kind, name, [partial(BrokenModel.change, name=file, changes=changes)]
    for kind, name, file, data in OTHER_BYTES:
        yield kind, name, [partial(BrokenModel.write, name=file, data=data)]
    for name, lie in LIES:
        yield "lying header", name, [_rewritten(UNET, partial(_lie_of_first, lie=lie))]
    for name, file, target in LINKS:
        yield "paths that leave the folder", name, [partial(BrokenModel.link, name=file, target=target)]
    for name, file in REMOVED:
        yield "missing files", name, [partial(BrokenModel.remove, name=file)]
    for name, file in DROPPED:
        yield "missing tensor", name, [_rewritten(file, _without_last)]
    for name, file in LEFT_OUT:
        yield "adapter that would be left out", name, [partial(_add_pickle, file=file)]
    for kind, cases in _STEPS.items():
        for name, steps in cases.items():
            yield kind, name, steps
    # The superuser reads everything.
    if os.geteuid() != 0:
        yield "special files", "unreadable-weights", [_take_rights]


def _add_pickle(model: BrokenModel, file: str) -> None:
    model.write(file, model.trap())


def _take_rights(model: BrokenModel) -> None:
    model.write(UNET, (model.path / UNET).read_bytes())
    (model.path / UNET).chmod(0)


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
    for kind, name, steps in _all_cases():
        shutil.copytree(valid, folder / name, copy_function=os.link)
        for step in steps:
            step(BrokenModel(folder / name, planted, valid))
        made.append(HostileModel(kind, name, folder / name))
    _write_vocabulary(valid / "tokenizer")
    return made
