"""Check a run that somebody else made. Nothing in it is executed, followed or trusted, and what is read is bounded."""

from collections.abc import Callable
from functools import partial

from imgaudit.exceptions import CalibrationError, RunFolderError, VerificationError
from imgaudit.runs.evidence import EVIDENCE, read_evidence
from imgaudit.runs.finished import read_result
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.inventory import list_run
from imgaudit.runs.manifest import read_manifest
from imgaudit.runs.verification.agreement import check_agreement
from imgaudit.runs.verification.files import check_files
from imgaudit.runs.verification.limits import require_small_contents, require_small_files
from imgaudit.runs.verification.pictures import check_pictures
from imgaudit.runs.verification.records import check_records
from imgaudit.runs.verification.verdicts import check_verdicts
from imgaudit.schema.verification import Check, Verification


def verify_run(run: RunFolder, head: str = "") -> Verification:
    """Compare a finished run with its evidence and with itself, measure its pictures again, and decide it again.

    head:  the chain's head as it was noted elsewhere, or its first digits
    Raises RunFolderError for a folder that is no finished run; VerificationError for one that holds links, FIFOs, files
    that are too large and the like, before any of them is read.
    """
    inventory = list_run(run.path)
    if inventory.refused:
        raise VerificationError(
            f"{str(run.path)!r} was not opened, as no run that imgaudit wrote is like this: "
            + "; ".join(inventory.refused)
        )
    require_small_files(inventory)
    try:
        listed = read_evidence(run)
    except RunFolderError as error:
        if {EVIDENCE, run.report_path.name}.isdisjoint(inventory.files):
            raise
        # The result is there, so the list of files was removed or changed, or the audit was stopped just before it.
        raise VerificationError(str(error)) from error
    checks, whole_head = [check_files(run, inventory, listed, head)], listed.head
    # One entry a file, as of the inventory below: memory that later checks need.
    del listed
    try:
        manifest, result = read_manifest(run), read_result(run)
    except RunFolderError as error:
        if checks[0].problems:
            raise VerificationError("; ".join((*checks[0].problems[:5], str(error)))) from error
        raise
    require_small_contents(run, inventory, manifest.model.resolution)
    files = len(inventory.files) - (EVIDENCE in inventory.files)
    checks.append(_attempt("records", partial(check_records, run, manifest, inventory)))
    del inventory
    checks += [
        _attempt("agreement", partial(check_agreement, run, manifest, result)),
        _attempt("pictures", partial(check_pictures, run, manifest)),
        _attempt("verdicts", partial(check_verdicts, run, result)),
    ]
    return Verification(head=whole_head, files=files, findings=len(result.findings), checks=checks)


def _attempt(name: str, check: Callable[[], Check]) -> Check:
    """Return what a check found; a run that is too damaged for it is a problem, and the other checks go on."""
    try:
        return check()
    except (RunFolderError, CalibrationError) as error:
        return Check(name=name, problems=(str(error),))
