"""The last step of everything that changes a run: its pages, then the list of all its files."""

from imgaudit.report.formats import write_report
from imgaudit.runs.evidence import write_evidence
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.history import Invocation
from imgaudit.schema.findings import AuditResult


def finish_run(run: RunFolder, result: AuditResult, invocation: Invocation | None = None, processes: int = 1) -> None:
    """Write the pages of a run that the caller holds, and then evidence.json, which covers them.

    result:     content of report.json, which is written already
    invocation:  line of the run's history, which ends before evidence.json is written, so that it is covered
    processes:  as in `imgaudit.report.audit.html.write_html`

    Evidence comes last. After a kill before that, `imgaudit report RUN` does the rest.
    Raises RunFolderError for a run that holds links, FIFOs and the like.
    """
    write_report(run, result, processes)
    if invocation is not None:
        invocation.changes["findings_on_pages"] = len(result.findings)
        invocation.end()
    write_evidence(run)
