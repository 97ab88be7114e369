"""The test of a set: valid for works like the controls, blind to order and units, and refused where it cannot be."""

from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError
from scipy import stats

from imgaudit.decision import set_level
from imgaudit.decision.controls import Control, make_control
from imgaudit.decision.folder import FolderDecision
from imgaudit.decision.null_bank import NullBank
from imgaudit.decision.replication import Evidence
from imgaudit.decision.set_level import (
    LEAST_CONTROLS,
    LEAST_WORKS,
    PERMUTATIONS,
    compare_set,
    count_by_legs,
    count_permutations,
    rank_together,
    share_ahead,
)
from imgaudit.schema.findings import AlarmCode
from imgaudit.schema.image_scores import FirstLook
from imgaudit.schema.policy import Policy
from imgaudit.schema.records import Measurement, NotAsked, Rung, Skipped
from imgaudit.schema.set_level import SetLevel
from tests.support.records import PROTOCOL, bank, measurement

MISS = [(0.4, 0.4)] * 8


def enumerate_p_value(values: npt.NDArray[np.float64], works: Sequence[int]) -> float:
    """The share of all ways to name as many works for which the higher mean rank is as high: written out again."""
    ranks = stats.rankdata(values, axis=0)

    def statistic(chosen: Sequence[int]) -> float:
        return max(float(sum(column[list(chosen)])) for column in ranks.T)

    every = [statistic(chosen) for chosen in combinations(range(len(values)), len(works))]
    return float(np.mean([one >= statistic(works) for one in every]))


def p_value(values: npt.NDArray[np.float64], works: Sequence[int], permutations: int, seed: int = 1) -> float:
    order = [*works, *(place for place in range(len(values)) if place not in works)]
    ranks = rank_together(values[order])[:, None, :]
    return float(count_permutations(ranks, len(works), seed, permutations)[0])


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("works", [2, 5])
def test_of_all_ways_to_name_the_works_of_a_tiny_set_at_most_a_share_is_significant(works: int, tied: bool) -> None:
    generator = np.random.default_rng(works)
    values = generator.normal(size=(7, 2))
    values = np.round(values) if tied else values
    ways = list(combinations(range(7), works))
    exact = np.array([enumerate_p_value(values, way) for way in ways])
    drawn = np.array([p_value(values, way, 999, seed) for seed, way in enumerate(ways)])
    # Within five standard errors of 999 permutations.
    assert (abs(drawn - exact) <= 5 * np.sqrt(exact * (1 - exact) / 999) + 2 / 1000).all()
    for level in (0.05, 0.1, 0.2, 0.5):
        assert (exact <= level).mean() <= level


@pytest.mark.parametrize(("works", "controls"), [(6, 40), (40, 6)])
def test_with_one_leg_it_is_the_rank_sum_test_whichever_side_is_smaller(works: int, controls: int) -> None:
    generator = np.random.default_rng(works)
    values = generator.normal(size=(works + controls, 1))
    values[:works] += 0.5
    known = stats.mannwhitneyu(values[:works, 0], values[works:, 0], alternative="greater", method="exact")
    found = p_value(values, range(works), 4_999)
    assert found == pytest.approx(known.pvalue, abs=5 * np.sqrt(known.pvalue / 5_000))
    assert share_ahead(rank_together(values), works)[0] == pytest.approx(known.statistic / (works * controls))


@pytest.mark.parametrize("works", [5, 30])
def test_sets_like_their_controls_are_seldom_told(works: int) -> None:
    """Two legs that depend on each other; 2,000 sets."""
    generator = np.random.default_rng(works)
    values = generator.normal(size=(works + 60, 2_000, 2))
    values[:, :, 1] += values[:, :, 0]
    found = count_permutations(rank_together(values), works, 1, 199)
    for level in (0.05, 0.2, 0.5):
        assert (found <= level).mean() == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 2_000))


@pytest.mark.parametrize("works", [5, 30])
def test_fewer_legs_and_fewer_permutations_at_once_change_nothing(works: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = rank_together(np.random.default_rng(1).normal(size=(works + 20, 7, 2)))
    both, one = count_by_legs(ranks, works, 3, (2, 1), 199)
    assert both.tolist() == count_permutations(ranks, works, 3, 199).tolist()
    assert one.tolist() == count_permutations(ranks[:, :, :1], works, 3, 199).tolist() != both.tolist()
    monkeypatch.setattr(set_level, "RANKS_TOGETHER", 1)
    assert count_permutations(ranks, works, 3, 199).tolist() == both.tolist()


def make_works(values: Sequence[float], captions: Sequence[float | None] | None = None) -> list[Control]:
    captions = captions or [None] * len(values)
    return [
        make_control(measurement(f"work {n}", value, MISS)).model_copy(update={"caption_log_ratio": caption})
        for n, (value, caption) in enumerate(zip(values, captions, strict=True))
    ]


def captioned(null: NullBank) -> NullBank:
    """Controls whose scores under their captions have nothing to do with their scores."""
    count = len(null.controls)
    controls = [
        one.model_copy(update={"caption_log_ratio": (7 * n % count) / count}) for n, one in enumerate(null.controls)
    ]
    return null.model_copy(update={"controls": controls})


def compare(works: Sequence[Control], null: NullBank, *, captions: bool = True) -> SetLevel | Skipped:
    return compare_set(works, null, "residual", captions=captions, given=len(works))


def known(found: SetLevel | Skipped) -> SetLevel:
    assert isinstance(found, SetLevel), found
    return found


def test_the_higher_the_scores_the_smaller_the_p_value() -> None:
    values = np.random.default_rng(3).uniform(size=12)
    found = [known(compare(make_works(list(values + shift)), bank(99))) for shift in np.linspace(-1.5, 1.5, 13)]
    ahead = [one.ahead["score"] for one in found]
    assert ahead == sorted(ahead) and ahead[0] == 0 and ahead[-1] == 1
    # Ranks that differ draw other permutations, so that neighbours may differ by chance.
    assert all(later.p_value <= one.p_value + 0.02 for one, later in pairwise(found))
    assert found[0].p_value == 1 and found[-1].p_value == 1 / (1 + PERMUTATIONS)


def test_neither_order_nor_the_unit_of_scores_changes_a_number() -> None:
    null = captioned(bank(60))
    works = make_works([0.9, 0.2, 0.8, 0.7, 0.95, 0.6], [0.5, 0.9, 0.1, 0.8, 0.7, 0.99])
    first = known(compare(works, null))
    turned = null.model_copy(update={"controls": null.controls[::-1]})
    assert compare(works[::-1], turned) == first

    def scale(one: Control) -> Control:
        assert one.caption_log_ratio is not None and not isinstance(one.log_ratio, Skipped)
        return one.model_copy(
            update={"log_ratio": 3 * one.log_ratio, "caption_log_ratio": 5 * one.caption_log_ratio - 2}
        )

    scaled = null.model_copy(update={"controls": [scale(one) for one in null.controls]})
    assert compare([scale(one) for one in works], scaled) == first


def test_captions_count_where_enough_have_one_and_they_are_written_alike() -> None:
    null, low = captioned(bank(60)), [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    works = make_works(low, [2.0] * 6)
    with_captions, without = known(compare(works, null)), known(compare(works, null, captions=False))
    assert set(with_captions.ahead) == {"score", "caption"} and set(without.ahead) == {"score"}
    assert with_captions.p_value < 0.001 < 0.5 < without.p_value
    assert set(known(compare(works, bank(60))).ahead) == {"score"}, "the controls have none"
    five = known(compare(make_works(low, [2.0] * 5 + [None]), null))
    assert (five.works, five.left_out) == (5, 1) and "caption" in five.ahead
    # Four works with captions are no set, so that all six are compared by their scores.
    four = known(compare(make_works(low, [2.0] * 4 + [None] * 2), null))
    assert (four.works, four.left_out) == (6, 0) and set(four.ahead) == {"score"}


def test_too_few_and_unscored_works_are_not_compared() -> None:
    def reason(works: Sequence[Control], null: NullBank) -> str:
        found = compare(works, null)
        assert isinstance(found, Skipped)
        return found.skipped

    high = [2.0] * LEAST_WORKS
    assert isinstance(compare(make_works(high), bank(LEAST_CONTROLS)), SetLevel)
    assert f"a set has {LEAST_WORKS} or more" in reason(make_works(high[1:]), bank(60))
    assert reason([], bank(60)).startswith("0 works are too few")
    assert f"{LEAST_CONTROLS} are needed" in reason(make_works(high), bank(LEAST_CONTROLS - 1))
    no_score = Skipped(skipped="no score")
    looked = FirstLook(steps=1, draws=1, log_ratio=0.1)
    out = {"log_ratio": no_score, "rungs": {}, "texts": {Rung.EMBEDDING: 1}, "first_look": looked}
    left = [one.model_copy(update=out) for one in make_works(high)]
    assert "a funnel left 5 of 5 works out" in reason(left, bank(60))
    unscored = [one.model_copy(update={"log_ratio": no_score}) for one in make_works(high)]
    assert "neither scores nor scores under captions" in reason(unscored, bank(60))


def decide_set(targets: Sequence[Measurement], null: NullBank | None, **options: Any) -> SetLevel | Skipped:
    policy = options.pop("policy", Policy())
    return FolderDecision(targets, Evidence(null, PROTOCOL, policy, **options)).set_level


@pytest.mark.parametrize("treatment", ["grouped", "separate"])
def test_a_series_is_permuted_as_one_work(treatment: Any) -> None:
    """Twenty high images of one series are one work: the set is no more significant than with one of them."""
    series = [measurement(f"series {n}", 0.97, MISS) for n in range(20)]
    others = [measurement(f"other {n}", 0.1 + 0.15 * n, MISS) for n in range(5)]
    policy = Policy(near_duplicates=treatment)
    grouped = known(decide_set([*series, *others], bank(99), groups=[[one.id for one in series]], policy=policy))
    assert grouped.works == 6 and grouped == known(decide_set([series[0], *others], bank(99), policy=policy))
    apart = known(decide_set([*series, *others], bank(99), policy=policy))
    assert apart.works == 25 and apart.p_value < 0.01 < grouped.p_value


def test_alarms_take_the_set_or_leave_works_out_of_it() -> None:
    targets = [measurement(f"t{n}", 0.9, MISS) for n in range(8)]
    assert known(decide_set(targets, bank(99))).p_value < 0.01
    made = [*targets, measurement("made", 2.0, MISS, made_by="a generator")]
    found = known(decide_set(made, bank(99)))
    assert (found.works, found.left_out) == (8, 1)
    assert decide_set(targets, None) == Skipped(skipped="no controls")
    for alarms in ("take_p_values", "only_warn"):
        other = [measurement(f"t{n}", 0.9, MISS, features={"red": 9.0 + n}) for n in range(25)]
        decided = FolderDecision(other, Evidence(bank(99), PROTOCOL, Policy(alarms=alarms)))
        assert AlarmCode.BLIND_BASELINE in {alarm.code for alarm in decided.alarms}
        assert isinstance(decided.set_level, Skipped)
        assert decided.set_level.skipped.startswith(
            "not used because of an alarm: images of targets and controls differ"
        )


def test_a_record_from_others_is_bounded() -> None:
    good = {"p_value": 0.01, "works": 9, "left_out": 0, "controls": 99, "ahead": {"score": 0.6}, "permutations": 99,
            "seed": 7}  # fmt: skip
    assert SetLevel.model_validate(good).works == 9
    wrong: list[dict[str, Any]] = [
        {"p_value": 0.0}, {"p_value": 1.5}, {"p_value": float("nan")}, {"works": 0}, {"works": 10**12},
        {"left_out": -1}, {"controls": 0}, {"ahead": {"other": 0.5}}, {"ahead": {"score": 2.0}},
        {"ahead": {"score": float("nan")}}, {"permutations": 0}, {"seed": -1}, {"seed": 2**32}, {"more": 1},
    ]  # fmt: skip
    for change in wrong:
        with pytest.raises(ValidationError):
            SetLevel.model_validate(good | change)


def test_images_that_were_not_asked_are_compared_by_their_scores() -> None:
    """A funnel without a first look scores every image."""
    asked = measurement("t", 0.9, MISS)
    left = NotAsked(skipped="its score is not among the highest", texts=[])
    targets = [
        asked.model_copy(update={"id": f"{n:016x}", "sha256": f"{n:064x}", "rungs": {Rung.EMBEDDING: left}})
        for n in range(6)
    ]
    assert known(decide_set(targets, bank(99))).works == 6
