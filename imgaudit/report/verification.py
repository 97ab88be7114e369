"""Everything that `imgaudit verify` checks, in one call: the run, its pages and decisions, its seal and signatures."""

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path

from imgaudit.exceptions import InputError
from imgaudit.report.audit.checking import check_pages
from imgaudit.report.review.checking import check_ledger
from imgaudit.runs.attestation.bag_check import PAYLOAD, check_bag, is_bag
from imgaudit.runs.attestation.signatures import check_file_signatures, check_signatures
from imgaudit.runs.attestation.timestamps import check_file_timestamps, check_timestamps
from imgaudit.runs.finished import read_finished_run
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.history_check import check_history
from imgaudit.runs.replay.request import ReplayRequest
from imgaudit.runs.seal import check_seal, read_seal_bytes
from imgaudit.runs.verification import verify_run
from imgaudit.runs.verification.agreement import CONSISTENT
from imgaudit.runs.verification.files import REWRITTEN
from imgaudit.schema.verification import Check, Verification

AnyPath = str | PathLike[str]

NOT_ASKED = Check(
    name="replay",
    not_done=("no picture was generated again: imgaudit verify RUN --replay 8 --model MODEL does that",),
)
"""The check of a run that was verified without a model."""


def verify(
    run: AnyPath,
    head: str = "",
    *,
    public_keys: Sequence[AnyPath] = (),
    tsa_roots: Sequence[AnyPath] = (),
    sealed: AnyPath | None = None,
    replay: ReplayRequest | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Verification:
    """Compare every file of a run with its digest, and decide it again from its measurements. Needs no model.

    run:          folder of the run, or of a bag that holds one
    head:         head of the evidence as it was noted elsewhere, or its first 12 hexadecimal digits or more
    public_keys:  files of public keys that must have signed the run; without any, signatures are listed, not checked
    tsa_roots:    files of root certificates of timestamp authorities; without any, timestamps are listed, not checked
    sealed:       the copy of the run's seal that you hold, which must be the one in the run
    replay:       pictures to generate again, and the model to do it with; without it, no model is needed
    on_progress:  called with the number of pictures generated again and the number of all
    Returns what was checked, with every problem in words; `matches` tells whether there is none.
    Raises RunFolderError for a folder without evidence, InputError for a head that is too short, VerificationError for
    a replay with another model than the run's.
    """
    if head and (len(head) < 12 or any(letter not in "0123456789abcdef" for letter in head.lower())):
        raise InputError(f"the head must be at least 12 hexadecimal digits, but got {head!r:.80}")
    path = Path(run)
    # A bag is looked at before anything in it is opened.
    bag = [check_bag(path)] if is_bag(path) else []
    folder = RunFolder(path / PAYLOAD if bag else path)
    verification = verify_run(folder, head)
    other = read_seal_bytes(Path(sealed)) if sealed is not None else None
    signatures = check_signatures(folder, [Path(key) for key in public_keys])
    if signatures.done and not signatures.problems:
        # A signature answers what is open as long as nobody gave the head.
        verification = verification.without(REWRITTEN).without(CONSISTENT)
    verification = verification.with_checks(
        *bag,
        check_pages(folder),
        check_ledger(folder),
        check_seal(folder, other),
        check_history(folder),
        signatures,
        check_timestamps(folder, [Path(root) for root in tsa_roots]),
    )
    if replay is None:
        return verification.with_checks(NOT_ASKED)
    # The libraries of models take as much memory as the run: only a replay pays for them.
    from imgaudit.runs.replay.replay import replay_run

    replayed, check = replay_run(read_finished_run(folder.path), replay, on_progress)
    return verification.with_checks(check).model_copy(update={"replay": replayed})


def verify_file(
    file: AnyPath, *, public_keys: Sequence[AnyPath] = (), tsa_roots: Sequence[AnyPath] = ()
) -> list[Check]:
    """Check the signatures and timestamps beside a file that belongs to no run, such as a seal.

    public_keys, tsa_roots:  as of `verify`
    Returns what was checked, with every problem in words. Raises InputError for keys and certificates that are none.
    """
    return [
        check_file_signatures(Path(file), [Path(key) for key in public_keys]),
        check_file_timestamps(Path(file), [Path(root) for root in tsa_roots]),
    ]
