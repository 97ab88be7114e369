"""Check the decisions of reviewers: every line follows the one before, and every decision is on an image of the run."""

from collections.abc import Iterator

from imgaudit.exceptions import RunFolderError
from imgaudit.io.chain import ChainedFile
from imgaudit.report.review.decision import ReviewDecision
from imgaudit.report.review.ledger import DecisionLedger
from imgaudit.report.review.reviewed_run import ReviewedRun, read_reviewed_run
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.verification import Check

LEDGER = "'review/decisions.jsonl'"

NAMED = 50
"""Lines that are named one by one; more are counted."""


def check_ledger(run: RunFolder) -> Check:
    """Check every line of review/decisions.jsonl: its link to the line before, and the image that it is about.

    Lines that were removed, edited, moved or put in are found. Lines that were cut off at the end are not: only the
    length and digest in evidence.json, or a signature over them, show that.
    Raises RunFolderError when the folder is no finished run.
    """
    reviewed = read_reviewed_run(run.path)
    ledger = DecisionLedger(run, reviewed.run_id)
    try:
        chained = ledger.read_lines()
    except RunFolderError as error:
        return Check(name="decisions", problems=(str(error),))
    if not chained.lines:
        return Check(name="decisions")
    others = {str(record.get("run_id")) for record in chained.records} - {reviewed.run_id}
    if others and len({str(record.get("run_id")) for record in chained.records}) == 1:
        # Every line would be named, though it is the manifest that changed, or the whole file that does not belong.
        return Check(name="decisions", problems=(_of_other_run(next(iter(others)), reviewed.run_id),))
    problems = [
        *(f"{LEDGER}: {problem}" for problem in chained.problems()),
        *_wrong_decisions(reviewed, ledger, chained),
    ]
    if len(problems) > NAMED:
        problems[NAMED:] = [f"{LEDGER}: {len(problems) - NAMED} more problems"]
    done = (
        f"{len(chained.records)} decisions of reviewers were checked: each line of {LEDGER} follows the one before, "
        "and each decision is on an image of this run"
    )
    return Check(name="decisions", done=done, not_done=tuple(_not_done(chained)), problems=tuple(problems))


def _of_other_run(given: str, own: str) -> str:
    return (
        f"{LEDGER}: every decision is on run {given:.40}, and 'manifest.json' makes this run {own}: one of the two "
        "files was changed, or is of another run"
    )


def _wrong_decisions(reviewed: ReviewedRun, ledger: DecisionLedger, chained: ChainedFile) -> Iterator[str]:
    """Yield decisions that no page of this run can have given."""
    for line in chained.lines:
        if line.record is None:
            continue
        decision = ledger.decision(line)
        what = decision if isinstance(decision, str) else _wrong_decision(reviewed, decision)
        if what:
            yield f"{LEDGER}: line {line.number} {what}"


def _wrong_decision(reviewed: ReviewedRun, decision: ReviewDecision) -> str:
    finding = reviewed.images.get(decision.image_id)
    if finding is None or finding.sha256 != decision.sha256:
        return f"is about {decision.image_id}, which is no image of this run"
    if decision.result_sha256 == reviewed.result_sha256 and decision.machine_verdict is not finding.verdict:
        return f"says that the verdict was {decision.machine_verdict.value}, but it is {finding.verdict.value}"
    return ""


def _not_done(chained: ChainedFile) -> Iterator[str]:
    if chained.without_link:
        yield (
            f"{chained.without_link} decisions at the beginning of {LEDGER} were saved by a version without links: "
            "nothing shows whether others were removed there"
        )
    for line in chained.cut[:NAMED]:
        yield f"line {line.number} of {LEDGER} {line.problem}"
    yield (
        f"decisions that were cut off at the end of {LEDGER} after evidence.json was written are not found; nor does "
        "anything prove that a reviewer is who the name says"
    )
