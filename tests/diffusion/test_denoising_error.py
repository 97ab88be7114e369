"""Denoising errors: the same draws under both conditions, and lower where an image is memorised."""

import torch

from imgaudit.diffusion.denoising_error import PartialErrors, ScoreDraws, measure_paired_errors
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


def test_what_is_known_is_not_measured_again_even_where_it_is_no_number(finite_set: FiniteSetDenoiser) -> None:
    right, config = finite_set.condition(["0", "1"]), ErrorConfig(draws=8)
    latents, options = finite_set.points[:2], {"run_seed": 0, "executor": Executor(64)}
    whole = measure_paired_errors(finite_set, latents, ["x", "y"], right, config, **options)  # type: ignore[arg-type]
    draws = ScoreDraws(finite_set, latents, ["x", "y"], config, **options)  # type: ignore[arg-type]
    known, before = PartialErrors.none_yet(2, 8), finite_set.network_evaluations
    some = draws.measure(right, [1, 5], known)
    assert finite_set.network_evaluations - before == 2 * 2 * 2
    torch.testing.assert_close(some.conditional, whole.conditional[:, [1, 5]])
    torch.testing.assert_close(some.null, whole.null[:, [1, 5]])
    rest = draws.select([1]).measure(right.select(slice(1, 2)), known=known.select([1]))
    assert finite_set.network_evaluations - before == 2 * 2 * 2 + 2 * 6
    torch.testing.assert_close(rest.conditional, whole.conditional[1:])
    assert known.measured == {1, 5}
    # The baseline of a model that overflows is no number, and views that repeat one row cannot be written to.
    lost = torch.full((1, 8), torch.nan).expand(2, -1)
    before = finite_set.network_evaluations
    errors = measure_paired_errors(finite_set, latents, ["x", "y"], right, config, null=lost, **options)  # type: ignore[arg-type]
    assert finite_set.network_evaluations - before == 2 * 8 and bool(errors.null.isnan().all())
