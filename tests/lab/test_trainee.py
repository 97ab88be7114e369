"""Networks in training, their average and their checkpoints."""

from pathlib import Path

import torch

from imgaudit.lab.trainee import Trainee, set_rate, start_trainee


def trainee() -> Trainee:
    torch.manual_seed(0)
    return start_trainee({"net": torch.nn.Linear(3, 2)}, 0.01, 4)


def step(one: Trainee) -> None:
    one.optimiser.zero_grad()
    one.networks["net"](torch.ones(1, 3)).square().sum().backward()
    one.optimiser.step()
    one.step += 1
    one.update_average(0.9)


def test_a_checkpoint_continues_as_if_nothing_had_happened(tmp_path: Path) -> None:
    whole, stopped = trainee(), trainee()
    for _ in range(5):
        step(whole)
    for _ in range(3):
        step(stopped)
    stopped.save(tmp_path / "checkpoint")
    continued = trainee()
    continued.load(tmp_path / "checkpoint")
    assert continued.step == 3 and not list(tmp_path.glob("*.partial"))
    for _ in range(2):
        step(continued)
    for name, weight in whole.named_weights():
        torch.testing.assert_close(dict(continued.named_weights())[name], weight, rtol=0, atol=0)
        torch.testing.assert_close(continued.average[name], whole.average[name], rtol=0, atol=0)


def test_the_average_follows_closely_at_first_and_is_what_is_taken() -> None:
    one = trainee()
    before = {name: weight.clone() for name, weight in one.average.items()}
    step(one)
    for name, weight in one.named_weights():
        # (1 + 1) / (10 + 1) of the average stays after the first step, and not 0.9.
        torch.testing.assert_close(one.average[name], before[name] * 2 / 11 + weight.detach() * 9 / 11)
    one.take_average()
    for name, weight in one.named_weights():
        torch.testing.assert_close(weight.detach(), one.average[name], rtol=0, atol=0)


def test_the_learning_rate_warms_up_and_ends_at_nothing() -> None:
    one = trainee()

    def rate(step: int) -> float:
        set_rate(one.optimiser, step, 1000, 0.5)
        return float(one.optimiser.param_groups[0]["lr"])

    assert rate(0) == 0.5 / 100 and rate(99) == 0.5
    assert abs(rate(550) - 0.25) < 1e-9 and rate(999) < 1e-5
