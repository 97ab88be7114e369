"""Edits of report.json: what was concluded, and what it says about the run."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from imgaudit.benchmark.robustness.tampering.edit import Edit, EditedRun
from imgaudit.schema.findings import Verdict

NAME = "report.json"


def _with(change: Callable[[Any], None]) -> Callable[[EditedRun], None]:
    return lambda run: run.change(NAME, change)


def _finding(change: Callable[[dict[str, Any]], None], verdict: Verdict) -> Callable[[EditedRun], None]:
    """Make an edit of the first finding with a verdict."""

    def make(run: EditedRun) -> None:
        chosen = run.verdicts(verdict)[0]
        run.change(NAME, lambda result: change(next(one for one in result["findings"] if one["id"] == chosen)))

    return make


def _set(*keys: str, value: Any) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


def _verdict(finding: dict[str, Any]) -> None:
    finding |= {"verdict": "replicated", "rung": "caption"}


def _hits(finding: dict[str, Any]) -> None:
    for one in finding["replication"]:
        one["hits"] = 0


def _drop_finding(result: Any) -> None:
    del result["findings"][0]


def _second_finding(result: Any) -> None:
    result["findings"].append(deepcopy(result["findings"][0]))


def _add_finding(result: Any) -> None:
    added = deepcopy(result["findings"][0])
    result["findings"].append(added | {"id": "f" * 16, "sha256": "f" * 64, "path": "added.png"})


def _exchange_paths(result: Any) -> None:
    first, second = result["findings"][:2]
    first["path"], second["path"] = second["path"], first["path"]


def _counts(result: Any) -> None:
    counts = result["summary"]["counts"]
    counts |= {"replicated": 0, "not_reproduced": sum(counts.values())}


def _exchange_replica(finding: dict[str, Any]) -> None:
    best = finding["best_replica"]
    best["path"] = best["path"][:-5] + ("1.png" if best["path"].endswith("0.png") else "0.png")


EDITS = (
    Edit("report.json: a verdict", _finding(_verdict, Verdict.NOT_REPRODUCED)),
    Edit("report.json: a p-value", _finding(_set("p_value", value=0.001), Verdict.NOT_REPRODUCED)),
    Edit("report.json: a score", _finding(_set("score", value=9.0), Verdict.NOT_REPRODUCED)),
    Edit("report.json: copies counted", _finding(_hits, Verdict.REPLICATED)),
    Edit(
        "report.json: a similarity",
        _finding(_set("best_replica", "similarity", "pixel", value=0.1), Verdict.REPLICATED),
    ),
    Edit("report.json: the replica that is shown", _finding(_exchange_replica, Verdict.REPLICATED)),
    Edit("report.json: the reason in words", _finding(_set("reason", value="A copy."), Verdict.NOT_REPRODUCED)),
    Edit("report.json: a finding left out", _with(_drop_finding)),
    Edit("report.json: a finding twice", _with(_second_finding)),
    Edit("report.json: a finding added", _with(_add_finding)),
    Edit("report.json: paths of two findings exchanged", _with(_exchange_paths)),
    Edit("report.json: the counts", _with(_counts)),
    Edit("report.json: the number of controls", _with(_set("summary", "controls", value=2000))),
    Edit("report.json: another model's name", _with(_set("run", "model", "name", value="other-model"))),
    Edit("report.json: another fingerprint", _with(_set("run", "model", "fingerprint", value="0" * 64))),
    Edit("report.json: another operator", _with(_set("run", "operator", value="Somebody Else"))),
    Edit("report.json: another date", _with(_set("run", "started", value="2020-01-01T00:00:00+00:00"))),
    Edit("report.json: another command", _with(_set("run", "command", value=["imgaudit", "audit", "x"]))),
    Edit("report.json: another seed", _with(_set("run", "seed", value=12345))),
    Edit("report.json: another level", _with(_set("policy", "level", value=0.4))),
    Edit("report.json: another protocol", _with(_set("protocol", "inversion", "steps", value=1000))),
)
"""Edits of conclusions."""
