"""The changes between two runs: frozen values, each field described; their JSON is comparison.json."""

import enum

from imgaudit.schema.findings import BestReplica, Verdict
from imgaudit.schema.records import Count, Record, Rung, Skipped
from imgaudit.schema.text import file_name

COMPARISON_VERSION = 1
"""Raised whenever a field changes its meaning."""


class Change(enum.StrEnum):
    """The change of one image from run A to run B; every image is in exactly one of these states."""

    APPEARED = "appeared"
    """Not reproduced in A, reproduced in B."""
    DISAPPEARED = "disappeared"
    """Reproduced in A, not reproduced in B within the budget."""
    LOWER_RUNG = "lower_rung"
    """Reproduced in both; B needs a lower rung of the ladder: easier to elicit."""
    HIGHER_RUNG = "higher_rung"
    """Reproduced in both; B needs a higher rung of the ladder: harder to elicit."""
    OTHER_VERDICT = "other_verdict"
    """Another verdict, though neither run or both reproduce the image, on the same rung."""
    RATE_CHANGED = "rate_changed"
    """Same verdict and rung; how often copies come differs beyond chance."""
    UNCHANGED = "unchanged"
    """Same verdict and rung; no difference of rates was shown."""
    NOT_COMPARABLE = "not_comparable"
    """Nothing can be said; the reason says why."""


CHANGED = tuple(change for change in Change if change not in (Change.UNCHANGED, Change.NOT_COMPARABLE))
"""States in which something is different."""

REPRODUCED = (Verdict.REPLICATED, Verdict.REPLICATED_BY_INVERSION, Verdict.PARTIAL)
"""Verdicts with a generated copy."""


class DifferenceEffect(enum.StrEnum):
    """The effect on the comparison of a difference between the runs other than their models."""

    PREVENTS = "prevents_comparison"
    """Verdicts, rungs and rates do not mean the same in both: no image is compared."""
    MAY_EXPLAIN = "may_explain_changes"
    """Changes may come from this difference and not from the model."""
    NOTED = "noted"
    """The reader should know of it; it changes no verdict."""


class Difference(Record):
    """Something besides the model that the two runs do not share, or that weakens one of them."""

    subject: str
    """Subject of the difference: protocol, policy, seed, controls, texts, ..."""
    message: str
    """The difference in words, with both values."""
    effect: DifferenceEffect
    """Effect of the difference."""


class ComparedRun(Record):
    """One of the two runs, as far as a reader needs to find it again."""

    folder: str
    """Folder it was read from, as text."""
    model: str
    """Name of the model, for people."""
    fingerprint: str
    """Identity of the model."""
    pipeline_class: str
    """Class of the model's pipeline."""
    protocol_hash: str
    """Hash of the protocol."""
    policy_hash: str
    """Hash of the policy that decided."""
    seed: int
    """Run seed."""
    started: str
    """UTC time."""
    operator: str
    """Who ran it; may be empty."""
    version: str
    """Version of imgaudit that ran it."""
    controls: int
    """Controls in its null bank."""
    files: int
    """Files it was given."""
    counts: dict[Verdict, int]
    """Number of images with each verdict; files that a stopped audit did not reach are counted as skipped."""


class ImageSide(Record):
    """The conclusion of one run on an image."""

    path: str
    """Path of the file, as text."""
    verdict: Verdict
    """The run's verdict."""
    rung: Rung | Skipped
    """The lowest rung that reproduced the image."""
    reason: str
    """The verdict in one sentence."""
    best_replica: BestReplica | Skipped
    """The closest generated image; its path is inside the run's folder."""


class Copies(Count):
    """Number of copies that a rung returned in one run, counted by the thresholds applied to both runs."""

    own_hits: int
    """Number of these that are copies by the run's own thresholds, as in its report."""
    unscored: int
    """Generated images that could not be scored, such as black frames."""
    rate: float
    """hits / n."""
    upper_bound: float
    """One-sided exact bound of the rate, at the rung's `confidence`."""
    guidance_scale: float
    """The scale that the rate holds for; where several are tried, each run's first seeds choose its own."""
    stands: bool
    """True when the run's report says that this rung reproduces the image."""


class RungComparison(Record):
    """One rung in both runs."""

    rung: Rung
    """The rung."""
    a: Copies
    """In run A."""
    b: Copies
    """In run B."""
    thresholds: dict[str, float]
    """Thresholds that a seed had to exceed (similarity) or stay below (distance): the stricter of the two runs'."""
    same_thresholds: bool
    """True when both runs had these thresholds themselves."""
    confidence: float
    """Confidence of the intervals."""
    difference: float
    """Rate in B minus rate in A."""
    low: float
    """Newcombe's hybrid score interval of the difference, not corrected for the number of images."""
    high: float
    """Upper end."""
    p_value: float | Skipped
    """Fisher's exact test that both rates are equal, two-sided; Skipped where the runs did not ask with the same."""


class ImageComparison(Record):
    """One image, matched by the SHA-256 of its file."""

    sha256: str
    """SHA-256 of the file's bytes; empty for a file that could not be read, which is compared with nothing and
    listed once where it is at the same path in both runs."""
    change: Change
    """See Change."""
    reason: str
    """The state in words, with its numbers."""
    a: ImageSide | Skipped
    """In run A; Skipped when it is not part of that run."""
    b: ImageSide | Skipped
    """In run B; Skipped when it is not part of that run."""
    rungs: list[RungComparison]
    """Rungs measured in both runs; none where the image cannot be compared."""
    tested_rung: Rung | Skipped
    """The rung with the smallest p-value."""
    p_value: float | Skipped
    """That p-value times the number of rungs tested (Bonferroni), at most 1."""
    q_value: float | Skipped
    """Corrected over the images tested."""
    rates_differ: bool
    """True when q is at or below the level. Without it, a changed verdict is no proof of a changed rate."""

    @property
    def name(self) -> str:
        """The file's name, for people: images are never matched by it."""
        side = self.b if isinstance(self.a, Skipped) else self.a
        return "" if isinstance(side, Skipped) else file_name(side.path)

    @property
    def shown(self) -> RungComparison | None:
        """The rung whose numbers stand where there is room for one: the one with the smallest p-value, or the first."""
        first = self.rungs[0] if self.rungs else None
        return next((one for one in self.rungs if one.rung == self.tested_rung), first)


class RetainedFrom(Record):
    """Images that one rung reproduces in A, by what reproduces them in B."""

    rung: Rung
    """The lowest rung that reproduces them in A."""
    images: int
    """Number of images."""
    in_b: dict[Rung, int]
    """The lowest rung in B to how many; those that are missing are not reproduced there within the budget."""


class Retention(Record):
    """The images that A reproduces and B still does, among those that can be compared."""

    reproduced: int
    """Images that A reproduces."""
    retained: int
    """Number of these that B reproduces as well, by whatever rung."""
    low: float
    """Clopper-Pearson 95 %."""
    high: float
    """Upper end."""
    from_text_before: int
    """Images that a prompt, caption or paraphrase reproduces in A."""
    from_text: int
    """Retained images that a prompt, caption or paraphrase reproduces in B."""
    by_inversion_only: int
    """Retained images that B returns only to what was inverted from the image."""
    by_rung: list[RetainedFrom]
    """The same, rung by rung."""


class Comparison(Record):
    """comparison.json: two runs side by side, from which every other format is rendered."""

    schema_version: int = COMPARISON_VERSION
    """Version of this format."""
    a: ComparedRun
    """The first run."""
    b: ComparedRun
    """The second run."""
    same_model: bool
    """True when both runs are of one model: then no change comes from the model."""
    model_differences: list[str]
    """Differences of the two models' files, in sentences."""
    differences: list[Difference]
    """Differences other than the model, the gravest first."""
    level: float
    """False discovery rate over the images tested."""
    correction: str
    """Method from p-values to q-values."""
    test: str
    """The test in one sentence."""
    total: int
    """Images in A or B: files of A plus files of B minus those that are in both."""
    matched: int
    """Images in both."""
    compared: int
    """Images in a state other than "cannot be compared"."""
    tested: int
    """Images with a rung that both runs asked with the same text, so that their rates were tested."""
    counts: dict[Change, int]
    """Number of images in each state; they add up to `total`."""
    reproduced_but_not_compared: dict[str, int]
    """Images that cannot be compared: how many of them A reproduces ("a") and B does ("b")."""
    retention: Retention | Skipped
    """Images that A reproduces and B still does."""
    images: list[ImageComparison]
    """One per image, changes first."""

    @property
    def comparable(self) -> bool:
        """True when nothing prevents the whole comparison."""
        return not any(one.effect is DifferenceEffect.PREVENTS for one in self.differences)
