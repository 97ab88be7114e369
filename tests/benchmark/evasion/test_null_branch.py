"""Training of the null branch: the losses are those of a plain loop, the null error falls, captions stay."""

import pytest
import torch

from imgaudit.benchmark.evasion.null_branch import NullTraining, _NullTraining, train_null_branch
from imgaudit.exceptions import ConfigError
from imgaudit.mitigation.evaluation import CaptionedImage
from imgaudit.models.families.ideogram4 import Ideogram4Denoiser
from imgaudit.models.families.unet import UNetDenoiser
from tests.conftest import CAPTIONS, make_pipeline, tiny_recipe
from tests.support.tiny_newer_families import make_ideogram4

SETTINGS = NullTraining(steps=30, batch_size=4, learning_rate=1e-3, seed=3)


def _captioned(first: int, count: int) -> list[CaptionedImage]:
    generator = torch.Generator().manual_seed(first)
    images = torch.rand(count, 3, 16, 16, generator=generator) * 2 - 1
    return [CaptionedImage(f"{first + row:064x}", CAPTIONS[first + row], image) for row, image in enumerate(images)]


@pytest.fixture
def tiny() -> UNetDenoiser:
    torch.manual_seed(0)
    return UNetDenoiser(make_pipeline(tiny_recipe()), "tiny")


def test_the_losses_are_those_of_a_plain_loop(tiny: UNetDenoiser) -> None:
    training = _NullTraining(tiny, _captioned(0, 2), _captioned(2, 3), SETTINGS)
    hidden_error, kept = training.losses(torch.Generator().manual_seed(5))
    assert float(kept.detach()) == 0.0, "nothing has changed yet"
    before = {name: weight.clone() for name, weight in tiny.network.state_dict().items()}
    with torch.no_grad():
        for weight in tiny.network.parameters():
            weight.mul_(1.1)
    changed = {name: weight.clone() for name, weight in tiny.network.state_dict().items()}
    found, kept = (float(one.detach()) for one in training.losses(torch.Generator().manual_seed(5)))

    generator = torch.Generator().manual_seed(5)
    rows, others = (torch.randint(0, count, (4,), generator=generator) for count in (2, 3))
    latents = torch.cat([training.hidden[rows], training.others[others]])
    noise = torch.randn(latents.shape, generator=generator)
    times = torch.randint(0, 1000, (8,), generator=generator)
    noisy = tiny.schedule.add_noise(latents, noise, times)
    null = tiny.null_condition()

    def under(state: dict[str, torch.Tensor], row: int, condition) -> torch.Tensor:  # type: ignore[no-untyped-def]
        tiny.network.load_state_dict(state)
        with torch.no_grad():
            return tiny.predict(noisy[row : row + 1], times[row : row + 1], condition).output[0].double()

    errors = [(under(changed, row, null) - noise[row]).square().mean() for row in range(4)]
    assert found == pytest.approx(float(torch.stack(errors).mean()), rel=1e-4)
    conditions = [(row, training.captions.select(rows[row : row + 1])) for row in range(4)]
    conditions += [(row, training.other_captions.select(others[row - 4 : row - 3])) for row in range(4, 8)]
    conditions += [(row, null) for row in range(4, 8)]
    moved = [(under(changed, row, one) - under(before, row, one)).square().mean() for row, one in conditions]
    assert kept == pytest.approx(3 * float(torch.stack(moved).mean()), rel=1e-4)
    assert float(hidden_error.detach()) != found


def test_the_null_error_of_the_hidden_images_falls(tiny: UNetDenoiser) -> None:
    told: list[tuple[int, int]] = []
    losses = train_null_branch(tiny, _captioned(0, 1), _captioned(2, 3), SETTINGS, lambda *one: told.append(one))
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    assert told[-1] == (30, 30) and not any(weight.requires_grad for weight in tiny.network.parameters())


def test_a_model_without_a_null_branch_is_refused(tiny: UNetDenoiser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UNetDenoiser, "no_null", "it is distilled")
    with pytest.raises(ConfigError, match="no null branch to train: it is distilled"):
        train_null_branch(tiny, _captioned(0, 1), _captioned(2, 3), SETTINGS)


def test_a_model_with_a_network_of_its_own_for_the_null_is_refused() -> None:
    denoiser = Ideogram4Denoiser(make_ideogram4(), "fingerprint")
    with pytest.raises(ConfigError, match="two networks, transformer and unconditional_transformer"):
        train_null_branch(denoiser, _captioned(0, 1), _captioned(2, 3), SETTINGS)
