"""Sum up a run: how many images have each verdict, and what the controls allow to be said of them."""

import math
from array import array
from collections import Counter
from collections.abc import Iterable

import numpy as np

from imgaudit.decision.controls_needed import ComparedWorks
from imgaudit.decision.folder import FolderDecision
from imgaudit.decision.replication import NO_CONTROLS
from imgaudit.schema.error_checks import TOO_FEW_TO_FIRE, RateInterval
from imgaudit.schema.findings import Finding, Summary, Verdict
from imgaudit.schema.records import Skipped
from imgaudit.statistics import false_positive_interval


class FindingCounts:
    """What a summary counts, one finding at a time: those of a large run are never all in memory."""

    def __init__(self, level: float) -> None:
        """Begin without any.

        level:  false discovery rate over the targets
        """
        self._verdicts = Counter[Verdict]()
        self._works = ComparedWorks(level)
        self._seconds, self._evaluations = array("d"), 0

    def add(self, finding: Finding) -> None:
        """Take note of a finding."""
        self._verdicts[finding.verdict] += 1
        self._works.add(finding)
        self._seconds.append(finding.seconds)
        self._evaluations += finding.network_evaluations

    def summarise(self, decision: FolderDecision, files_given: int) -> Summary:
        """Sum up the findings of a decided folder.

        files_given:  files that an interrupted run never reached are counted as skipped by the report's banner
        """
        level = decision.policy.level
        controls = len(decision.bank.controls) if decision.bank else 0
        return Summary(
            targets=files_given,
            counts={verdict: self._verdicts[verdict] for verdict in Verdict},
            controls=controls,
            control_files=decision.works_bank.files if decision.works_bank else None,
            control_works=decision.works_bank.works if decision.works_bank else None,
            level=level,
            planner=self._works.describe(controls),
            false_positive=_false_positive_rate(controls, level),
            blind_comparison=decision.blind_comparison,
            set_level=decision.set_level,
            forcing=decision.forcing,
            hypotheses=decision.hypotheses,
            alarms=decision.alarms,
            scored_only=sum(map(bool, decision.not_asked.values())),
            # Exact before it is rounded: Python 3.12 sums otherwise than 3.11, and verifying compares the digits.
            seconds=math.fsum(self._seconds),
            network_evaluations=self._evaluations,
        )


def summarise(findings: Iterable[Finding], decision: FolderDecision, files_given: int) -> Summary:
    """Sum up findings that are all there, as `FindingCounts.summarise` does."""
    counts = FindingCounts(decision.policy.level)
    for finding in findings:
        counts.add(finding)
    return counts.summarise(decision, files_given)


def _false_positive_rate(controls: int, level: float) -> RateInterval | Skipped:
    """Return the interval of the rate at which images like the controls get p <= level, if any p-value can do so."""
    allowed = int(np.floor(level * (controls + 1) + 1e-9)) - 1
    if controls == 0:
        return Skipped(skipped=NO_CONTROLS)
    if allowed < 0:
        return TOO_FEW_TO_FIRE
    interval = false_positive_interval(allowed, controls)
    return RateInterval(low=interval.low, high=interval.high)
