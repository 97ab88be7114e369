"""Findings as JUnit XML, the format in which CI services take the results of tests: one test case per file.

Format: the `testsuites` of Apache Ant and Jenkins, https://github.com/testmoapp/junitxml (no standard exists).
"""

from collections.abc import Collection
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from imgaudit.report.wording import WORDING
from imgaudit.schema.findings import AuditResult, Finding, Verdict
from imgaudit.schema.text import printable

UNDECIDED = (Verdict.INCONCLUSIVE, Verdict.SKIPPED)
"""Verdicts whose test case is skipped where they are no failure: a pass would claim what was not shown."""


def render_junit(result: AuditResult, failing: Collection[Verdict]) -> str:
    """Return one suite with a case per file.

    failing:  verdicts whose cases fail
    """
    failed = sum(finding.verdict in failing for finding in result.findings)
    left = sum(finding.verdict in UNDECIDED and finding.verdict not in failing for finding in result.findings)
    counts = {
        "tests": str(len(result.findings)),
        "failures": str(failed),
        "errors": "0",
        "skipped": str(left),
        "time": f"{sum(finding.seconds for finding in result.findings):.3f}",
    }
    model = printable(str((result.run.get("model") or {}).get("name", "")))
    root = Element("testsuites", {"name": "imgaudit", **counts})
    suite = SubElement(root, "testsuite", {"name": f"audit against {model}", **counts})
    for finding in result.findings:
        _add_case(suite, finding, failing)
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _add_case(suite: Element, finding: Finding, failing: Collection[Verdict]) -> None:
    # Control characters, which XML cannot hold, become escapes.
    named = {"classname": "imgaudit", "name": printable(finding.path), "time": f"{finding.seconds:.3f}"}
    case = SubElement(suite, "testcase", named)
    message = {"message": printable(f"{WORDING[finding.verdict].label}: {finding.reason}")}
    if finding.verdict in failing:
        SubElement(case, "failure", {**message, "type": finding.verdict.value})
    elif finding.verdict in UNDECIDED:
        SubElement(case, "skipped", message)
