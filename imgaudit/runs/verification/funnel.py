"""Images that a funnel left out against the rule by which it did: nobody's evidence may be left out by hand."""

from collections.abc import Callable

from imgaudit.decision.funnel import place_funnel
from imgaudit.decision.null_bank import NullBank
from imgaudit.exceptions import CalibrationError
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.manifest import AuditManifest
from imgaudit.schema.records import Measurement, Skipped


def funnel_check(run: RunFolder, manifest: AuditManifest) -> Callable[[Measurement], str]:
    """Return what says how a record contradicts the run's funnel; empty where it does not.

    A null bank that cannot be read is reported where it is compared; no record is judged by it.
    """
    try:
        bank = NullBank.read(run.calibration_path).by_work() if run.calibration_path.is_file() else None
    except CalibrationError:
        return lambda record: ""
    funnel = place_funnel(bank, manifest.protocol)

    def check(record: Measurement) -> str:
        if funnel is not None and funnel.look is not None:
            if record.first_look is None:
                return "has no first look, though the funnel of manifest.json takes one at every image"
            if not funnel.looks_on(record) and not isinstance(record.error, Skipped):
                return "was scored, but by its first look the funnel of manifest.json leaves it out"
        asks = funnel is None or funnel.asks(record)
        if asks and record.not_asked:
            return "was not asked in all ways, but by its score and the funnel of manifest.json it is to be asked"
        if not asks and not record.not_asked:
            return "was asked in all ways, but by its score the funnel of manifest.json leaves it out"
        return ""

    return check
