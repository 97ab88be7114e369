"""Findings as SARIF 2.1.0, the format in which CI services take the results of checkers.

Format: OASIS Standard "Static Analysis Results Interchange Format (SARIF) Version 2.1.0", 2020.
"""

import json
from collections.abc import Collection
from typing import Any
from urllib.parse import quote

from imgaudit.decision.deciding_number import find_deciding_number
from imgaudit.io.provenance import find_versions
from imgaudit.report.wording import WORDING
from imgaudit.schema.findings import AuditResult, Finding, Verdict
from imgaudit.schema.records import Skipped

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

KINDS = {Verdict.NOT_REPRODUCED: "pass", Verdict.INCONCLUSIVE: "open", Verdict.SKIPPED: "open"}
"""The kind of verdicts that are no failure; `pass` says that the check found nothing, `open` that it could not tell."""


def render_sarif(result: AuditResult, failing: Collection[Verdict]) -> str:
    """Return one SARIF run: a rule per verdict and a result per file, the worst level for what was reproduced.

    failing:  verdicts of level `error`; `atypical` is a `warning` where it is none of them
    """
    versions = find_versions(("imgaudit",))
    rules = [
        {
            "id": verdict.value,
            "name": verdict.value.title().replace("_", ""),
            "shortDescription": {"text": WORDING[verdict].label},
            "fullDescription": {"text": f"{WORDING[verdict].meaning} {WORDING[verdict].limit}"},
        }
        for verdict in Verdict
    ]
    driver = {"name": "imgaudit", "rules": rules}
    if "imgaudit" in versions:
        driver["semanticVersion"] = versions["imgaudit"]
    model = result.run.get("model") or {}
    run = {
        "tool": {"driver": driver},
        "artifacts": [_artifact(finding) for finding in result.findings],
        "results": [_result(finding, number, result, failing) for number, finding in enumerate(result.findings)],
        "properties": {
            "model": model.get("name", ""),
            "modelFingerprint": model.get("fingerprint", ""),
            "protocol": result.protocol.hash,
            "level": result.policy.level,
        },
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _artifact(finding: Finding) -> dict[str, Any]:
    known = {"hashes": {"sha-256": finding.sha256}} if finding.sha256 else {}
    return {"location": {"uri": _uri(finding.path)}, **known}


def _uri(path: str) -> str:
    """Return a path as a URI reference: relative ones stay relative, and a drive is no scheme."""
    slashes = path.replace("\\", "/")
    return ("file:///" if slashes[1:2] == ":" else "file://" if slashes.startswith("/") else "") + quote(slashes)


def _result(finding: Finding, number: int, result: AuditResult, failing: Collection[Verdict]) -> dict[str, Any]:
    verdict = finding.verdict
    if verdict in failing:
        kind, level = "fail", "error"
    elif verdict in KINDS:
        kind, level = KINDS[verdict], "none"
    else:
        kind, level = "fail", "warning"
    decided = find_deciding_number(finding, result.policy.level).value
    return {
        "ruleId": verdict.value,
        "ruleIndex": list(Verdict).index(verdict),
        "kind": kind,
        "level": level,
        "message": {"text": f"{WORDING[verdict].label}: {finding.reason}"},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": _uri(finding.path), "index": number}}}],
        "partialFingerprints": {"imageId/v1": finding.id},
        "properties": {} if isinstance(decided, Skipped) else {"correctedPValue": decided},
    }
