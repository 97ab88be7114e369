"""The alarm of a model that does not work as it is configured: that it returns no copy says nothing then."""

from collections.abc import Sequence

from imgaudit.schema.findings import Alarm, AlarmCode, AlarmEffect
from imgaudit.schema.model_checks import ModelCheck


def find_model_alarms(checks: Sequence[ModelCheck]) -> list[Alarm]:
    """Warn of a model that failed a check before the audit, and name every number that is out of its band.

    checks:  of the model, from its run; none for runs made before models were checked
    """
    failed = [check for check in checks if not check.passed]
    if not failed:
        return []
    told = "; ".join(f"{check.sentence} (accepted: {check.band})" for check in failed)
    message = (
        f"the model failed {len(failed)} of {len(checks)} checks before the audit, so it may not work as it should: "
    )
    return [Alarm(code=AlarmCode.MODEL_CHECK, effect=AlarmEffect.WEAKENS_NEGATIVES, message=message + told)]
