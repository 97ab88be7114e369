import pytest
import torch

from imgaudit.diffusion.schedules import NoiseSchedule
from imgaudit.models import FiniteSetDenoiser, load_model
from imgaudit.models.architecture import Architecture, check_architecture, find_published
from imgaudit.models.families.latent import LatentDenoiser
from imgaudit.models.meta_model import build_meta_model
from imgaudit.models.published import choose_models, read_published_models


def outline(name: str) -> LatentDenoiser:
    """A published model without its weights."""
    [model] = choose_models([name])
    return build_meta_model(model, torch.float16)


def failed(found: Architecture) -> dict[str, str]:
    return {check.name: check.sentence for check in found.checks if not check.passed}


@pytest.fixture
def published() -> LatentDenoiser:
    return outline("Stable Diffusion 1.5")


@pytest.mark.parametrize("name", [model.name for model in read_published_models() if model.is_compared])
def test_published_models_are_recognised_and_pass(name: str) -> None:
    denoiser = outline(name)
    found = find_published(denoiser)
    assert found is not None and found.name == name
    assert failed(check_architecture(denoiser)) == {}


def test_a_model_whose_versions_differ_is_compared_with_none() -> None:
    denoiser = outline("LCM Dreamshaper v7")
    denoiser.pipeline.unet.register_to_config(sample_size=64)
    assert find_published(denoiser) is None
    # Other sizes are tried by their errors instead, as for a network of no published shape.
    assert failed(check_architecture(denoiser)) == {} and check_architecture(denoiser).other_sides == (48, 88)


def test_a_size_that_was_never_published_for_the_shape_fails(published: LatentDenoiser) -> None:
    assert check_architecture(published).other_sides == ()
    published.pipeline.unet.register_to_config(sample_size=48)
    assert "published for 64 x 64" in failed(check_architecture(published))["size against the published one"]
    published.pipeline.unet.register_to_config(sample_size=44)
    assert "remainder of the declared size" in failed(check_architecture(published))


def test_relatives_of_another_size_pass_and_are_compared_by_their_errors() -> None:
    denoiser = outline("Stable Diffusion 2.1")
    denoiser.pipeline.unet.register_to_config(sample_size=64)
    found = check_architecture(denoiser)
    assert failed(found) == {} and found.other_sides == (96,)


def test_constants_and_schedules_other_than_the_published_ones_fail(published: LatentDenoiser) -> None:
    published.pipeline.unet.register_to_config(norm_eps=1e6)
    published.pipeline.vae.register_to_config(scaling_factor=0.25)
    published.schedule = NoiseSchedule(torch.linspace(0.999, 0.005, 1000, dtype=torch.float64))
    published.prediction_type = "sample"
    found = failed(check_architecture(published))
    assert "unet norm_eps is 1000000.0" in found["constants that differ from the published ones"]
    assert "vae scaling_factor is 0.25" in found["constants that differ from the published ones"]
    assert {"schedule against the published one", "prediction type that was never published"} <= found.keys()


def test_shapes_that_nobody_published_are_compared_with_other_sizes_by_their_errors() -> None:
    denoiser = load_model("demo", "cpu").denoiser
    assert isinstance(denoiser, LatentDenoiser) and find_published(denoiser) is None
    found = check_architecture(denoiser)
    assert found.other_sides == (4, 12) and not found.few_steps and failed(found) == {}


def test_a_denoiser_without_files_has_no_architecture() -> None:
    assert check_architecture(FiniteSetDenoiser(torch.zeros(2, 3, 4, 4))) == Architecture()


def test_a_mask_has_the_tokens_of_its_stream() -> None:
    [model] = choose_models(["Hunyuan-DiT"])
    assert list(model.list_masks()) == [("mask", 77, 77), ("mask_2", 256, 256)]
    blank = model.model_copy(update={"masks": {"mask": 5}, "blank_masks": {"mask_3": 9}})
    assert list(blank.list_masks()) == [("mask", 77, 5), ("mask_3", 9, 0)]
