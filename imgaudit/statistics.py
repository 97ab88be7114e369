"""The statistics the tool reports, each a thin layer over scipy or scikit-learn, or a formula with its source."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture

Floats = npt.NDArray[np.float64]


class Interval(NamedTuple):
    """A two-sided confidence interval."""

    low: float
    """Lower end."""
    high: float
    """Upper end."""


@lru_cache(maxsize=4096)
def clopper_pearson(hits: int, n: int, confidence: float = 0.95) -> Interval:
    """Return the exact two-sided interval of a binomial rate (Clopper & Pearson 1934); (0, 1) when n is 0.

    >>> tuple(round(bound, 4) for bound in clopper_pearson(0, 300))
    (0.0, 0.0122)
    """
    if n == 0:
        return Interval(0.0, 1.0)
    interval = stats.binomtest(hits, n).proportion_ci(confidence, method="exact")
    return Interval(float(interval.low), float(interval.high))


@lru_cache(maxsize=4096)
def upper_bound(hits: int, n: int, confidence: float = 0.95) -> float:
    """Return the one-sided exact upper bound of a binomial rate (Clopper & Pearson 1934); 1 when every try is a hit.

    It reads "0 of 300: below 1.0 % at 95 %".

    >>> round(upper_bound(0, 300), 4)
    0.0099
    """
    return 1.0 if hits >= n else float(stats.beta.ppf(confidence, hits + 1, n - hits))


@lru_cache(maxsize=4096)
def fisher_exact(hits_a: int, n_a: int, hits_b: int, n_b: int) -> float:
    """Return the two-sided exact p-value that two rates are equal (Fisher 1935).

    It adds the probabilities of all tables that are no likelier than the one observed.

    Conditional on the total of hits, so it holds at any n and leans towards "no difference".

    >>> round(fisher_exact(0, 8, 8, 8), 6)
    0.000155
    """
    table = [[hits_a, n_a - hits_a], [hits_b, n_b - hits_b]]
    return min(1.0, float(stats.fisher_exact(table, alternative="two-sided").pvalue))


@lru_cache(maxsize=4096)
def newcombe(hits_a: int, n_a: int, hits_b: int, n_b: int, confidence: float = 0.95) -> Interval:
    """Return the interval of rate b - rate a from two Wilson intervals (Newcombe 1998, Stat. Med. 17:873, method 10).

    Newcombe's own example, 56 of 70 against 48 of 80, with the sign turned:

    >>> tuple(round(bound, 4) for bound in newcombe(48, 80, 56, 70))
    (0.0524, 0.3339)
    """
    a, b = hits_a / n_a, hits_b / n_b
    of_a = stats.binomtest(hits_a, n_a).proportion_ci(confidence, method="wilson")
    of_b = stats.binomtest(hits_b, n_b).proportion_ci(confidence, method="wilson")
    low = b - a - np.hypot(b - of_b.low, of_a.high - a)
    high = b - a + np.hypot(of_b.high - b, a - of_a.low)
    return Interval(max(-1.0, float(low)), min(1.0, float(high)))


@lru_cache(maxsize=4096)
def rate_ratio(hits_a: int, tries_a: int, hits_b: int, tries_b: int, confidence: float = 0.95) -> Interval:
    """Return the exact interval of rate a over rate b of rare events (Poisson counts; Przyborowski & Wilenski 1940).

    Given the total of hits, those of a are binomial. Without any hit the interval is 0 to infinity.

    >>> tuple(round(bound, 2) for bound in rate_ratio(10, 100, 2, 100))
    (1.07, 46.93)
    """
    share = clopper_pearson(hits_a, hits_a + hits_b, confidence)
    low, high = (end / (1 - end) * tries_b / tries_a if end < 1 else np.inf for end in share)
    return Interval(float(low), float(high))


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return Student's interval of the mean of two or more measurements, such as timings.

    >>> tuple(round(bound, 3) for bound in mean_interval([1.0, 1.1, 1.2]))
    (0.852, 1.348)
    """
    given = np.asarray(values, dtype=np.float64)
    half = stats.t.ppf((1 + confidence) / 2, len(given) - 1) * given.std(ddof=1) / np.sqrt(len(given))
    return Interval(float(given.mean() - half), float(given.mean() + half))


def bootstrap_mean(
    values: Sequence[float] | Floats,
    confidence: float = 0.95,
    resamples: int = 5000,
    statistic: Callable[..., Any] = np.mean,
) -> Interval:
    """Return the percentile bootstrap interval of a mean (Efron 1979), the same for the same values.

    statistic:  of an array along an `axis`, in place of the mean, such as `np.median`

    One value is its own interval.

    Raises ValueError without values.

    >>> bootstrap_mean([0.5, 0.5, 0.5])
    Interval(low=0.5, high=0.5)
    """
    given = np.asarray(values, dtype=np.float64)
    if not given.size:
        raise ValueError("expected one or more values, but got none")
    if (given == given[0]).all():
        return Interval(float(given[0]), float(given[0]))
    found = stats.bootstrap(
        (given,), statistic, confidence_level=confidence, n_resamples=resamples, method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    return Interval(float(found.low), float(found.high))


def conformal_p_value(score: float, controls: Sequence[float]) -> float:
    """Return the conformal p-value of a score: (1 + controls with a score at least as high) / (1 + controls).

    Higher scores are more extreme (Vovk et al. 2005; Bates et al. 2023).

    Valid when the image is exchangeable with the controls. The smallest value is 1 / (1 + controls).

    >>> conformal_p_value(5.0, [1.0, 2.0, 3.0])
    0.25
    """
    return (1 + sum(control >= score for control in controls)) / (1 + len(controls))


def conformal_p_values(scores: Sequence[float] | Floats, controls: Sequence[float] | Floats) -> Floats:
    """Return the conformal p-values of many scores against the same controls, as `conformal_p_value` does for one.

    >>> conformal_p_values([5.0, 2.0], [1.0, 2.0, 3.0]).tolist()
    [0.25, 0.75]
    """
    ordered = np.sort(np.asarray(controls, dtype=float))
    below = np.searchsorted(ordered, np.asarray(scores, dtype=float), side="left")
    return np.asarray((1 + len(ordered) - below) / (1 + len(ordered)), dtype=float)


Correction = Literal["benjamini_hochberg", "benjamini_yekutieli"]


def q_values(p_values: Sequence[float], correction: Correction = "benjamini_hochberg") -> list[float]:
    """Return for each test the smallest false discovery rate at which it would be a discovery, in the same order.

    Benjamini & Hochberg 1995 holds it for independent and positively dependent p-values (conformal p-values against
    one bank are: Bates et al. 2023); Benjamini & Yekutieli 2001 under any dependence.

    >>> [round(q, 3) for q in q_values([0.01, 0.02, 0.5])]
    [0.03, 0.03, 0.5]
    """
    method: Any = {"benjamini_hochberg": "bh", "benjamini_yekutieli": "by"}[correction]
    return [float(q) for q in stats.false_discovery_control(list(p_values), method=method)] if len(p_values) else []


class FamilyQValues:
    """The q-values of p-values that are tested beside a family of tests without being in it; the family is sorted once.

    >>> FamilyQValues([0.01, 0.02, 0.5]).at(0.02) == q_values([0.01, 0.02, 0.5])[1]
    True
    """

    def __init__(self, family: Sequence[float], correction: Correction = "benjamini_hochberg") -> None:
        self._sorted, m = np.sort(np.asarray(family, dtype=float)), len(family)
        harmonic = correction == "benjamini_yekutieli"
        self._scale = m * float(np.sum(1 / np.arange(1, m + 1))) if harmonic else float(m)
        accepted = np.searchsorted(self._sorted, self._sorted, side="right")
        each = self._scale * self._sorted / np.maximum(accepted, 1)
        self._smallest = np.minimum.accumulate(each[::-1])[::-1]

    def at(self, p_value: float) -> float:
        """Return the q-value of a p-value; for a member of the family, its own (see `q_values`)."""
        accepted = int(np.searchsorted(self._sorted, p_value, side="right"))
        own = self._scale * p_value / accepted if accepted else 1.0
        larger = float(self._smallest[accepted]) if accepted < len(self._sorted) else 1.0
        return float(min(1.0, own, larger))


def exceedance_threshold(controls: Sequence[float] | Floats, level: float) -> float:
    """Return the threshold that at most a share `level` of exchangeable images exceeds; a hit is strictly above it.

    A value exceeds it exactly when its conformal p-value is at most `level`; infinity when the controls are too few.

    >>> exceedance_threshold([0.1, 0.2, 0.3, 0.4], 0.4)
    0.3
    """
    allowed = int(np.floor(level * (len(controls) + 1) + 1e-9)) - 1
    if allowed < 0:
        return float("inf")
    return float(np.sort(controls)[-1 - allowed]) if allowed < len(controls) else float("-inf")


class JointThresholds(NamedTuple):
    """Thresholds of two scores, both of which must be exceeded strictly."""

    first: float
    """Threshold of the first score."""
    second: float
    """Threshold of the second score."""
    each: float
    """Share of the controls that may reach either alone; 0 when the controls are too few."""


def joint_exceedance_thresholds(first: Sequence[float], second: Sequence[float], level: float) -> JointThresholds:
    """Set thresholds that at most a share `level` of exchangeable images exceeds on both scores.

    They are the k-th highest of both scores, with the largest k that keeps this share.

    A control's rank is the worse of its two ranks, counted from the highest, ties with all. An image that exceeds the
    k-th highest of both has a rank of at most k among all n + 1; controls of rank k do not, since the image is put
    before them. As ranks are exchangeable, it happens with probability <= level when at most level (n + 1) - 1 controls
    have a rank below k; with two equal scores this is `exceedance_threshold`. Infinite when the controls are too few.

    >>> joint_exceedance_thresholds([0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], 0.4)
    JointThresholds(first=0.2, second=0.2, each=0.6)
    """
    n, scores = len(first), np.array([first, second], dtype=float)
    allowed = int(np.floor(level * (n + 1) + 1e-9)) - 1
    if allowed < 0:
        return JointThresholds(float("inf"), float("inf"), 0.0)
    if allowed >= n:
        return JointThresholds(float("-inf"), float("-inf"), 1.0)
    ordered = np.sort(scores, axis=1)
    ranks = [n - np.searchsorted(row, own, side="left") for row, own in zip(ordered, scores, strict=True)]
    k = int(np.sort(np.maximum(*ranks))[allowed])
    return JointThresholds(float(ordered[0, n - k]), float(ordered[1, n - k]), k / (n + 1))


def false_positive_interval(allowed: int, n: int, confidence: float = 0.95) -> Interval:
    """Return the interval of the false-positive rate of a bank where `allowed` + 1 of n + 1 ranks are significant.

    For continuous scores the rate at a threshold set on n controls is Beta(allowed + 1, n - allowed) distributed
    (Vovk 2012); its central interval is returned, (0, 1) without controls.

    >>> tuple(round(bound, 3) for bound in false_positive_interval(9, 199))
    (0.024, 0.084)
    """
    if n == 0:
        return Interval(0.0, 1.0)
    distribution = stats.beta(allowed + 1, max(n - allowed, 1e-9))
    return Interval(float(distribution.ppf((1 - confidence) / 2)), float(distribution.ppf((1 + confidence) / 2)))


def fewest_findable(controls: int, targets: int, level: float) -> int | None:
    """Return the fewest detections that n controls can show among m targets, or None when no number can.

    The smallest p-value is 1/(n+1); Benjamini-Hochberg accepts r of them when 1/(n+1) <= level r / m.

    >>> fewest_findable(controls=199, targets=24, level=0.05)
    3
    """
    needed = int(np.ceil(targets / (level * (controls + 1)) - 1e-9))
    return max(1, needed) if needed <= targets else None


def controls_needed(targets: int, detections: int, level: float) -> int:
    """Return how many controls make `detections` of `targets` findable: n >= m / (level r) - 1.

    >>> controls_needed(targets=8, detections=1, level=0.05)
    159
    """
    return int(np.ceil(targets / (level * detections) - 1 - 1e-9))


class Auc(NamedTuple):
    """Area under the ROC curve with its interval."""

    value: float
    """The area, 0 to 1; 0.5 = no separation."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    positives: int
    """Number of positives."""
    negatives: int
    """Number of negatives."""


def auc(positives: Sequence[float], negatives: Sequence[float], confidence: float = 0.95) -> Auc:
    """Return P(positive > negative) + P(tie) / 2 with Newcombe's method 5 interval (Stat. Med. 25:559, 2006).

    Unlike the bootstrap and the Wald interval it has a width when every positive beats every negative.

    >>> auc([3.0, 4.0], [1.0, 2.0]).value
    1.0
    """
    m, n = len(positives), len(negatives)
    value = float(roc_auc_score([1] * m + [0] * n, [*positives, *negatives]))
    z = float(stats.norm.ppf((1 + confidence) / 2))
    half = (m + n) / 2

    def spread(a: float) -> float:
        variance = a * (1 - a) * (1 + (half - 1) * ((1 - a) / (2 - a) + a / (1 + a))) / (m * n)
        return z * float(np.sqrt(max(variance, 0.0)))

    def bound(inner: float, outer: float) -> float:
        def gap(a: float) -> float:
            return abs(a - value) - spread(a)

        # At the estimate itself the gap is <= 0; at the end of [0, 1] the spread is 0, so the gap is >= 0.
        return outer if gap(outer) <= 0 else float(optimize.brentq(gap, inner, outer))

    nudge = 1e-9
    low = 0.0 if value <= nudge else bound(value - nudge, 0.0)
    high = 1.0 if value >= 1 - nudge else bound(value + nudge, 1.0)
    return Auc(value, low, high, m, n)


class LinearFit(NamedTuple):
    """The line score ~ intercept + slope * complexity, fitted on controls that count in no p-value."""

    intercept: float
    """Score at complexity 0."""
    slope: float
    """Score per unit of complexity."""
    n: int
    """Number of images fitted."""

    def residual(self, score: float, complexity: float) -> float:
        """Return the part of a score that complexity does not explain."""
        return score - self.intercept - self.slope * complexity


def fit_line(complexities: Sequence[float], scores: Sequence[float]) -> LinearFit:
    """Fit a Theil-Sen line (Sen 1968), which outliers such as a control that was in training after all do not bend.

    The line is flat at 0 with fewer than two different complexities.

    >>> fit_line([0.0, 1.0, 2.0], [1.0, 3.0, 5.0])
    LinearFit(intercept=1.0, slope=2.0, n=3)
    """
    if len(scores) < 2 or len(set(complexities)) < 2:
        return LinearFit(0.0, 0.0, len(scores))
    x, y = np.asarray(complexities, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    rise, run = y[:, None] - y, x[:, None] - x
    # Without the interval of scipy.stats.theilslopes, which takes most of its time: banks are fitted by the thousand.
    slope = np.median(rise[run > 0] / run[run > 0])
    return LinearFit(float(np.median(y) - slope * np.median(x)), float(slope), len(scores))


class TwoModes(NamedTuple):
    """Evidence that scores come from two populations: a mixture of two normal distributions against one."""

    gain: float
    """Bayesian information criterion of one minus that of two; above 10 is strong evidence (Kass & Raftery 1995)."""
    separation: float
    """Ashman's D: distance of the means over their spread; modes are clear above 2 (Ashman et al. 1994)."""
    share: float
    """Weight of the component with the higher mean."""
    above: float
    """Lowest score for which the upper component is the likelier one."""

    @property
    def clear(self) -> bool:
        """True with strong evidence for a minority that scores clearly higher."""
        return self.gain > 10 and self.separation > 2 and self.share < 0.5


def two_modes(scores: Sequence[float]) -> TwoModes | None:
    """Fit one and two normal distributions; None with fewer than 40 scores, where neither can be told."""
    if len(scores) < 40 or np.ptp(scores) == 0:
        return None
    values = np.asarray(scores, dtype=float)[:, None]
    values = (values - np.median(values)) / values.std()
    one = GaussianMixture(1, random_state=0).fit(values)
    two = GaussianMixture(2, random_state=0, n_init=5).fit(values)
    means, spreads = two.means_[:, 0], np.sqrt(two.covariances_[:, 0, 0])
    upper = int(np.argmax(means))
    separation = float(np.sqrt(2) * np.ptp(means) / np.sqrt((spreads**2).sum()))
    members = (two.predict(values) == upper) & (values[:, 0] > means.min())
    above = float(np.asarray(scores)[members].min()) if members.any() else float("inf")
    return TwoModes(float(one.bic(values) - two.bic(values)), separation, float(two.weights_[upper]), above)
