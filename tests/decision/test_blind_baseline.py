"""The blind baseline: it rarely alarms without a shift and nearly always with one."""

import numpy as np
from scipy.stats import norm

from imgaudit.decision.blind_baseline import blind_baseline


def rows(generator: np.random.Generator, count: int, shift: float = 0.0) -> list[dict[str, float]]:
    values = generator.normal(size=(count, 8))
    values[:, 0] += shift
    return [dict(zip("abcdefgh", map(float, row), strict=True)) for row in values]


def test_the_blind_baseline_rarely_alarms_without_a_shift_and_nearly_always_with_one() -> None:
    generator = np.random.default_rng(1)
    shift = float(np.sqrt(2) * norm.ppf(0.9))
    calm = [blind_baseline(rows(generator, 100), rows(generator, 100)) for _ in range(100)]
    shifted = [blind_baseline(rows(generator, 100, shift), rows(generator, 100)) for _ in range(20)]
    assert sum(one is not None and one.alarms() for one in calm) <= 11
    assert sum(one is not None and one.alarms() for one in shifted) >= 19
    assert blind_baseline(rows(generator, 19), rows(generator, 100)) is None
