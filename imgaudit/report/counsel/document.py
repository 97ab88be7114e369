"""The file for counsel: one HTML page that holds everything, opens without a network, and prints to a clean PDF."""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence

from imgaudit.report.alarm_wording import sort_alarms
from imgaudit.report.complaint.blocks import Block, Facts, Paragraph, Section, Statement, Table, list_texts
from imgaudit.report.complaint.error_rates import alarm_text, describe_errors
from imgaudit.report.complaint.package import HEAD, collect_digests, find_image, list_folders
from imgaudit.report.copy_counts import copies_text
from imgaudit.report.counsel.examiner import NOT_NAMED, describe_checking, describe_examiner, list_history
from imgaudit.report.counsel.exhibit import make_exhibit
from imgaudit.report.counsel.method import describe_method, describe_untested
from imgaudit.report.glossary import find_words
from imgaudit.report.pages import page_environment, read_asset
from imgaudit.report.print_foot import style_print_foot
from imgaudit.report.redaction import without_folders
from imgaudit.report.wording import WORDING
from imgaudit.runs.finished import FinishedRun
from imgaudit.schema.comparison import REPRODUCED
from imgaudit.schema.findings import Finding, Verdict
from imgaudit.schema.text import file_name

EXHIBITS = 100
"""Images that are shown with their pictures; those that count as reproduced come first, and the rest is in the run."""

LISTED = 500
"""Other images that are listed; the rest is counted."""

STYLES = ("complaint.css", "counsel.css")


def render_counsel(run: FinishedRun, images: Sequence[str] = ()) -> str:
    """Return the file as HTML; the same run and images give the same bytes.

    images:  ids, SHA-256 or file names of the images to show; all that count as reproduced where none is named
    Raises InputError for a name that fits none or several.
    """
    style = "\n".join([*((read_asset(name) or b"").decode("utf-8") for name in STYLES), *_style_feet(run, images)])
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    template = page_environment().get_template("counsel.html.jinja")
    return template.render(statement=make_document(run, images), style=style, style_digest=digest)


def _style_feet(run: FinishedRun, images: Sequence[str]) -> Iterator[str]:
    """Yield the rules that print the model's digest on every page, and on those of an exhibit the image's."""
    fingerprint = run.manifest.model.fingerprint
    yield style_print_foot(fingerprint)
    # The answer is the first section; exhibits follow it.
    for place, finding in enumerate(_choose_exhibits(run, images), start=2):
        yield f"section:nth-of-type({place}) {{ page: exhibit{place}; }}"
        yield style_print_foot(fingerprint, finding.sha256, f"exhibit{place}")


def _choose_exhibits(run: FinishedRun, images: Sequence[str]) -> list[Finding]:
    """Return the images that are shown with their pictures: those that are named, or all that are reproduced."""
    chosen = [find_image(run, name) for name in images] or [one for one in _sort(run) if one.verdict in REPRODUCED]
    return list({one.id: one for one in chosen}.values())[:EXHIBITS]


def _sort(run: FinishedRun) -> list[Finding]:
    order = list(Verdict)
    return sorted(run.result.findings, key=lambda one: (order.index(one.verdict), file_name(one.path), one.id))


def make_document(run: FinishedRun, images: Sequence[str] = ()) -> Statement:
    """Write the document, in the order of a reader's questions."""
    folders, digests = list_folders(run), collect_digests(run)
    shown = _choose_exhibits(run, images)
    rest = [one for one in _sort(run) if one.id not in {finding.id for finding in shown}]
    model = without_folders(run.manifest.model.name, folders)
    sections = [
        Section("The answer", [*_answer(run, str(model), folders), *_list_exhibits(shown), *_identify(run, digests)]),
        *(make_exhibit(run, one, number, folders) for number, one in enumerate(shown, start=1)),
        *_list_rest(rest, whole=not shown),
        Section("How often the method errs", list(describe_errors(run, folders))),
        Section("What was not tested, and what this does not say", list(describe_untested(run, folders))),
        Section("Examiner, machine and model", list(describe_examiner(run, folders, digests))),
        Section("History of the run", list(list_history(run, folders))),
        Section("How to check this", list(describe_checking(run, digests))),
        Section("Appendix: the method", list(describe_method(run))),
    ]
    words = find_words(" ".join(text for section in sections for text in list_texts(section)))
    sections.append(Section("Appendix: words used here", [Facts(words)]))
    return Statement(f"Report on {run.result.summary.targets:,} images and the model “{model}”", sections)


def _answer(run: FinishedRun, model: str, folders: Sequence[str]) -> Iterator[Block]:
    summary = run.result.summary
    returned = sum(summary.counts.get(verdict, 0) for verdict in REPRODUCED)
    asked = summary.counts.get(Verdict.REPLICATED, 0)
    text = f"Of {summary.targets:,} images examined, the model “{model}” reproduces {returned:,}"
    if returned and asked == returned:
        text += ", each of them when it is asked in words alone, without being given any part of the image"
    elif asked:
        text += f", {asked:,} of them when it is asked in words alone, without being given any part of the image"
    yield Paragraph(f"{text}.", "Answer")
    rows = [
        (WORDING[verdict].label, f"{count:,}", WORDING[verdict].meaning, WORDING[verdict].limit)
        for verdict, count in summary.counts.items()
        if count
    ]
    yield Table(("Verdict", "Images", "Meaning", "Limit"), rows)
    for change in run.result.redecided:
        yield Paragraph(f"Decided again, not by the rules that the run began with: {change}", "Note")
    for alarm in sort_alarms(summary.alarms):
        yield Paragraph(alarm_text(alarm, folders), "Alarm")
    if not returned:
        yield Paragraph("“Not reproduced” means: not within this budget. It never means that an image is safe.")


def _list_exhibits(shown: Sequence[Finding]) -> Iterator[Block]:
    if shown:
        rows = [
            (str(number), file_name(one.path), WORDING[one.verdict].label, _copies(one))
            for number, one in enumerate(shown, start=1)
        ]
        yield Table(("Exhibit", "File", "Verdict", "Copies among generated images"), rows)


def _identify(run: FinishedRun, digests: Mapping[str, str]) -> Iterator[Block]:
    """Yield which audit this is, on the first page; the section on the examiner has the rest."""
    rows = [
        ("Examiner", run.manifest.operator or NOT_NAMED),
        ("Audit begun", run.manifest.started),
        ("Model fingerprint", run.manifest.model.fingerprint),
        ("Head of the evidence", digests.get(HEAD, "none: the run has no evidence.json")),
    ]
    yield Facts(rows)


def _list_rest(rest: Sequence[Finding], *, whole: bool) -> Iterator[Section]:
    """Yield the table of the images that are not shown with pictures, and what it leaves out."""
    if not rest:
        return
    rows = [(file_name(one.path), WORDING[one.verdict].label, _copies(one)) for one in rest[:LISTED]]
    blocks: list[Block] = [Table(("File", "Verdict", "Copies among generated images"), rows)]
    if len(rest) > LISTED:
        left = rest[LISTED:]
        counts = [
            f"{WORDING[verdict].label}: {count:,}"
            for verdict in Verdict
            if (count := sum(one.verdict is verdict for one in left))
        ]
        blocks.append(Paragraph(f"Not listed here: {len(left):,} more images ({'; '.join(counts)}). The run has them."))
    if any(one.verdict in REPRODUCED for one in rest):
        blocks.append(Paragraph(
            "Some images in this table count as reproduced. This file does not show their pictures; the pages of the "
            "run do."
        ))  # fmt: skip
    yield Section("The images" if whole else "The other images", blocks)


def _copies(finding: Finding) -> str:
    return copies_text(finding, intervals=False) or "not measured"
