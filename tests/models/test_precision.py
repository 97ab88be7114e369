"""A network that computes in float32 for a while comes back as it was, in every tensor."""

from itertools import chain
from pathlib import Path

import pytest
import torch
from diffusers import Ideogram4Transformer2DModel

from imgaudit.models.precision import in_float32
from tests.support.tiny_newer_families import make_ideogram4


@pytest.fixture
def network(tmp_path: Path) -> Ideogram4Transformer2DModel:
    """A network in bfloat16 whose table of rotary positions is in float32, as it is loaded for an audit."""
    make_ideogram4().transformer.save_pretrained(tmp_path)
    return Ideogram4Transformer2DModel.from_pretrained(tmp_path, torch_dtype=torch.bfloat16)


def tensors(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: one.detach().clone() for name, one in chain(network.named_parameters(), network.named_buffers())}


@pytest.mark.parametrize("fails", [False, True])
def test_every_tensor_gets_its_own_precision_back(network: Ideogram4Transformer2DModel, fails: bool) -> None:
    before = tensors(network)
    assert {one.dtype for one in before.values()} == {torch.bfloat16, torch.float32}
    try:
        with in_float32(network):
            assert {one.dtype for one in tensors(network).values()} == {torch.float32}
            if fails:
                raise ArithmeticError
    except ArithmeticError:
        assert fails
    after = tensors(network)
    assert all(one.dtype is before[name].dtype and torch.equal(one, before[name]) for name, one in after.items())


def test_what_was_learned_meanwhile_is_kept(network: Ideogram4Transformer2DModel) -> None:
    weight = next(network.parameters())
    before = weight.detach().clone()
    with in_float32(network), torch.no_grad():
        weight += 0.5
    assert weight.dtype is torch.bfloat16 and torch.equal(weight, (before.float() + 0.5).bfloat16())
