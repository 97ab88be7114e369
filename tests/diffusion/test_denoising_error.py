"""Denoising errors: the same draws under both conditions, and lower where an image is memorised."""

import torch

from imgaudit.diffusion.denoising_error import measure_paired_errors
from imgaudit.diffusion.executor import Executor
from imgaudit.models import FiniteSetDenoiser
from imgaudit.schema.protocol import ErrorConfig


def test_paired_errors_use_the_same_draws_under_both_conditions(finite_set: FiniteSetDenoiser) -> None:
    null = finite_set.null_condition().repeat(2)
    errors = measure_paired_errors(
        finite_set, finite_set.points[:2], ["x", "y"], null, ErrorConfig(draws=32), run_seed=0, executor=Executor(7)
    )
    assert torch.equal(errors.conditional, errors.null)
    assert errors.log_ratio().tolist() == [0.0, 0.0]
    assert errors.win_rate().tolist() == [0.0, 0.0]


def test_a_memoriser_predicts_better_under_the_right_condition(finite_set: FiniteSetDenoiser) -> None:
    right = finite_set.condition(["0", "1"])
    errors = measure_paired_errors(
        finite_set, finite_set.points[:2], ["x", "y"], right, ErrorConfig(draws=64), run_seed=0, executor=Executor(64)
    )
    assert float(errors.log_ratio().min()) > 0
    [curve, _] = errors.by_timestep(finite_set.schedule.num_train_timesteps)
    assert sum(point.draws for point in curve) == 64
    assert [point.timestep for point in curve] == sorted(point.timestep for point in curve)
