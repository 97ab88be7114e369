"""Mask files: read back, and refused where they are something else."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from imgaudit.diffusion.executor import Executor
from imgaudit.exceptions import InputError
from imgaudit.mitigation.activations import TrajectorySettings
from imgaudit.mitigation.mask_file import read_mask, write_mask
from imgaudit.mitigation.pruning import locate
from imgaudit.models.families.unet import UNetDenoiser
from tests.conftest import make_pipeline, tiny_recipe

SETTINGS = TrajectorySettings(steps=3, sampling_steps=5, guidance_scale=2.0, seed=4)


@pytest.fixture
def tiny() -> UNetDenoiser:
    return UNetDenoiser(make_pipeline(tiny_recipe()), "tiny")


def test_masks_come_back_from_their_file_and_other_files_are_refused(tmp_path: Path, tiny: UNetDenoiser) -> None:
    mask, facts = locate(tiny, ["a red fox"], ["the green hill"], sparsity=0.2, settings=SETTINGS, executor=Executor(8))
    path = tmp_path / "mask.safetensors"
    write_mask(path, mask, facts)
    again, same = read_mask(path)
    assert same == facts and again.keys() == mask.keys() and all(torch.equal(again[n], mask[n]) for n in mask)
    tensors = load_file(path)
    lying = {name: list(one.shape) for name, one in mask.items()}
    name = next(iter(mask))
    good = {"imgaudit": facts.model_dump_json(), "shapes": json.dumps(lying)}
    for metadata in (
        None,
        good | {"imgaudit": "{"},
        good | {"shapes": "[]"},
        good | {"shapes": json.dumps(lying | {name: [10**9, 10**9]})},
        good | {"shapes": json.dumps(lying | {"more": [1, 1]})},
        good | {"imgaudit": facts.model_dump_json().replace('"sparsity":0.2', '"sparsity":7')},
    ):
        save_file(tensors, path, metadata=metadata)
        with pytest.raises(InputError, match="is no mask"):
            read_mask(path)
    save_file({}, path, metadata=good | {"shapes": "[]"})
    with pytest.raises(InputError, match="is no mask"):
        read_mask(path)
    path.write_bytes(b"\x80\x04 a pickle")
    with pytest.raises(InputError, match="is no mask"):
        read_mask(path)
    with pytest.raises(InputError, match="is no mask"):
        read_mask(tmp_path / "nothing")
