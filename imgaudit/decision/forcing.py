"""The rule of an audit tried on controls that it does not know: its error rate at this budget on this model."""

from collections.abc import Mapping

from imgaudit.decision.joint_test import JointTest
from imgaudit.decision.null_bank import NullBank
from imgaudit.decision.pair_nulls import find_closest, fit_leg_thresholds, leg_p_value
from imgaudit.decision.replication import NO_CONTROLS
from imgaudit.schema.error_checks import NOT_IN_PARTS, ForcingCheck
from imgaudit.schema.policy import Policy
from imgaudit.schema.records import Rung, Skipped, is_at_most
from imgaudit.statistics import clopper_pearson


def check_forcing(bank: NullBank, policy: Policy) -> ForcingCheck | Skipped:
    """Apply the whole rule to the controls kept out of the bank, with p in place of q.

    Neither copy thresholds nor p-values depend on these controls. The line of score on complexity was fitted on them,
    with two parameters, which centres their p-values very slightly too well.
    """
    if not bank.kept_out:
        return Skipped(skipped="fewer than 80 controls: none was kept out of the bank to check the rule")
    thresholds = bank.thresholds(policy.copy_level)
    if thresholds is None:
        return Skipped(skipped=NO_CONTROLS)
    thresholds = thresholds.choose_legs(policy)
    control_rate = bank.control_rate(Rung.EMBEDDING, thresholds)
    test = JointTest(bank, policy)
    p_values = {control.sha256: test.p_value(control) for control in bank.kept_out}
    copies = significant = called = 0
    for control in bank.kept_out:
        seeds = control.rungs.get(Rung.EMBEDDING, [])
        hits = sum(thresholds.is_copy(one.similarity, one.distance, one.copy_similarity) for one in seeds)
        small = is_at_most(p_values[control.sha256], policy.level)
        copies += hits > 0
        significant += small
        called += small and hits > 0 and clopper_pearson(hits, len(seeds)).low > control_rate
    parts = _forced_parts(bank, policy, p_values)
    return ForcingCheck(n=len(bank.kept_out), copies=copies, significant=significant, called=called, parts=parts)


def _forced_parts(bank: NullBank, policy: Policy, p_values: Mapping[str, float | Skipped]) -> int | Skipped:
    """Count the controls kept out of the bank that the rule for parts would call partly replicated."""
    rung = Rung.EMBEDDING
    nulls = bank.part_nulls(rung)
    thresholds = fit_leg_thresholds(nulls, policy.copy_level, "controls")
    if not nulls or isinstance(thresholds, Skipped):
        return NOT_IN_PARTS
    control_rate = bank.part_rate(rung, thresholds)
    called = 0
    for control in bank.kept_out:
        compared = [seed.legs for seed in control.rungs.get(rung, []) if seed.legs]
        best = find_closest(compared)
        if best is None or not is_at_most(p_values[control.sha256], policy.level):
            continue
        hits = sum(thresholds.exceeded_by(legs) for legs in compared)
        called += (
            hits > 0
            and leg_p_value(best, nulls) <= policy.level
            and clopper_pearson(hits, len(compared)).low > control_rate
        )
    return called
