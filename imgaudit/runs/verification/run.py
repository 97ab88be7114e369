"""Check a run that somebody else made. Nothing in it is executed, followed or trusted."""

from imgaudit.exceptions import VerificationError
from imgaudit.runs.evidence import read_evidence
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.inventory import list_run
from imgaudit.runs.verification.files import check_files
from imgaudit.runs.verification.verdicts import check_verdicts
from imgaudit.schema.verification import Verification


def verify_run(run: RunFolder, head: str = "") -> Verification:
    """Compare a finished run with its evidence, and decide it again.

    head:  the chain's head as it was noted elsewhere, or its first digits
    Raises RunFolderError for a folder without evidence, or one that is too damaged to be decided; VerificationError for
    one that holds links, FIFOs and the like, before any file is opened.
    """
    inventory = list_run(run.path)
    if inventory.refused:
        raise VerificationError(
            f"{str(run.path)!r} was not opened, as no run that imgaudit wrote is like this: "
            + "; ".join(inventory.refused)
        )
    listed = read_evidence(run)
    files = check_files(run, inventory, listed, head)
    findings, verdicts = check_verdicts(run)
    return Verification(head=listed.head, files=len(inventory.files) - 1, findings=findings, checks=[files, verdicts])
