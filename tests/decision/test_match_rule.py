"""Tests of the rule by which a match is concluded."""

import numpy as np
import pytest

from imgaudit.decision.match_rule import Closest, MatchRule
from imgaudit.schema.match import LEAST_SIMILARITY, PairScore, WholeThresholds
from imgaudit.schema.pairs import PairThresholds
from imgaudit.schema.records import Skipped


def score(parts: float, whole: float, worst_quarter: float | None = None) -> PairScore:
    quarter = whole if worst_quarter is None else worst_quarter
    return PairScore(geometric=parts, photometric=parts, similarity=whole, worst_quarter=quarter)


def closest(parts: float, whole: float) -> Closest:
    return Closest(score(parts, whole), score(parts, whole))


def decoys(count: int, seed: int = 0) -> list[Closest]:
    draw = np.random.default_rng(seed)
    return [closest(float(parts), float(whole)) for parts, whole in draw.uniform(0, 0.5, (count, 2))]


def test_both_comparisons_share_the_level() -> None:
    """At most half of the level of the decoys exceeds either threshold, by hand with evenly spaced scores."""
    nulls = [closest(float(n), n / 1000) for n in range(100)]
    rule = MatchRule.fit(nulls, 0.05)
    assert isinstance(rule.thresholds, PairThresholds) and rule.thresholds.level == 0.025
    assert sum(rule.finds_parts(one.parts) for one in nulls) <= 2
    assert isinstance(rule.whole_thresholds, WholeThresholds)
    # Decoys that are little alike do not make pictures copies that are.
    assert rule.whole_thresholds.similarity == LEAST_SIMILARITY
    alike = [closest(0.0, 0.6 + n / 1000) for n in range(100)]
    held = MatchRule.fit(alike, 0.05)
    assert isinstance(held.whole_thresholds, WholeThresholds) and held.whole_thresholds.similarity > 0.69
    assert 0 < sum(held.finds_whole(one.whole) for one in alike) <= 2


def test_a_whole_picture_has_to_agree_in_its_worst_quarter_too() -> None:
    rule = MatchRule.fit(decoys(50), 0.05)
    assert rule.finds_whole(score(0.0, 0.9)) and not rule.finds_whole(score(0.0, 0.9, 0.1))
    assert rule.finds(score(0.0, 0.9)) and rule.finds(score(9.0, 0.0)) and not rule.finds(score(0.1, 0.9, 0.1))


def test_with_few_decoys_parts_alone_decide_at_the_whole_level() -> None:
    rule = MatchRule.fit(decoys(38), 0.05)
    assert not rule.compares_whole and isinstance(rule.thresholds, PairThresholds) and rule.thresholds.level == 0.05
    assert rule.p_value(closest(0.0, 1.0)) > 0.5 and rule.p_value(closest(9.0, 0.0)) == pytest.approx(1 / 39)  # type: ignore[operator]
    assert rule.choose(closest(0.0, 1.0)) == "parts"
    assert isinstance(MatchRule.fit(decoys(18), 0.05).thresholds, Skipped)
    assert rule.fit([], 0.05).p_value(closest(9.0, 1.0)) == Skipped(skipped="no decoys: give --decoys DIR")


def test_either_comparison_can_make_a_p_value_small_and_says_which_image_is_shown() -> None:
    rule = MatchRule.fit(decoys(99), 0.05)
    # A decoy that is first in the other comparison is about as strong, hence more than the least p-value of 1/100.
    assert rule.p_value(closest(9.0, 0.0)) <= 0.03 and rule.p_value(closest(0.0, 0.9)) <= 0.03  # type: ignore[operator]
    assert rule.p_value(closest(9.0, 0.9)) == pytest.approx(0.01)
    assert rule.choose(closest(0.0, 0.9)) == "whole" and rule.choose(closest(9.0, 0.9)) == "parts"
    assert rule.choose(closest(0.0, 0.0)) == "parts" and rule.choose(closest(0.1, 0.45)) == "whole"


def test_p_values_of_images_like_the_decoys_are_uniform_or_larger() -> None:
    everything = decoys(60, seed=3)
    p_values = [
        MatchRule.fit([*everything[:place], *everything[place + 1 :]], 0.05).p_value(everything[place])
        for place in range(60)
    ]
    ordered = np.sort(np.array(p_values, dtype=float))
    assert (ordered >= (np.arange(60) + 1) / 60 - 1e-12).all()
