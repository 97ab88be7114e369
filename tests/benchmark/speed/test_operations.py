"""Operations counted without data: those of formulas, of a model with data, and of the committed table."""

import pytest
import torch

from imgaudit.benchmark.speed.operations import count_flops, count_operations
from imgaudit.diffusion.passes import Passes
from imgaudit.models.bare_model import build_bare_model
from imgaudit.models.published import choose_models
from tests.benchmark.speed.test_memory import described
from tests.diffusion.test_memory import FAMILIES

# Raised where tensors without data are made of some that have data; nothing here reads their gradients.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")


def test_convolutions_and_attention_are_counted_by_their_formulas() -> None:
    convolution = torch.nn.Conv2d(3, 5, 3, padding=1)
    assert count_flops(lambda: convolution(torch.zeros(2, 3, 8, 8))) == 2 * 2 * 8 * 8 * 5 * 3 * 9
    query = torch.zeros(1, 4, 16, 8, device="meta")
    attention = count_flops(lambda: torch.nn.functional.scaled_dot_product_attention(query, query, query))
    assert attention == 2 * (2 * 4 * 16 * 16 * 8)


def test_without_data_as_many_are_counted_as_with_data() -> None:
    own = FAMILIES["stable diffusion"]()
    [counted] = count_operations([described(own)]).models
    passes = Passes(own)
    # Otherwise the CPU's attention is a single operator, which torch does not count.
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        assert counted.forward == count_flops(lambda: passes.forward(1))
        assert counted.decode == count_flops(lambda: passes.decode(1))
        assert counted.encode == count_flops(lambda: passes.encode(1))
    # Back to the prompt embeddings alone: gradients of inputs, and none of weights.
    assert counted.forward < counted.backward < 3 * counted.forward
    assert (counted.name, counted.passes_per_step, counted.has_words) == ("own", 2, True)


@pytest.mark.parametrize("name", [name for name in FAMILIES if "hidream" not in name])
def test_every_family_is_counted_whatever_its_passes_look_at(name: str) -> None:
    [counted] = count_operations([described(FAMILIES[name]())]).models
    assert 0 < counted.forward < counted.backward and counted.decode > 0 and counted.encode > 0


def test_a_distilled_model_is_passed_once_for_a_step() -> None:
    [counted] = count_operations([described(FAMILIES["flux dev"]())]).models
    assert counted.passes_per_step == 1 and counted.has_words and counted.prediction_type == "flow"


def test_a_published_model_is_built_without_data() -> None:
    [model] = choose_models(["Stable Diffusion 3.5 medium"])
    denoiser = build_bare_model(model, torch.bfloat16, "meta", shrink=12)
    assert all(one.is_meta for one in denoiser.network.parameters()) and denoiser.latent_shape[1] == 8
