"""Edits of review/decisions.jsonl: what people decided."""

from collections.abc import Callable

from imgaudit.benchmark.robustness.tampering.edit import Edit, EditedRun, Json

NAME = "review/decisions.jsonl"


def _with(change: Callable[[list[Json]], list[Json]]) -> Callable[[EditedRun], None]:
    return lambda run: run.write_lines(change(run.lines(NAME)), NAME)


def _edited(line: Json) -> Json:
    return {**line, "decision": "accept" if line["decision"] == "dispute" else "dispute"}


def _unknown(line: Json) -> Json:
    return {**{key: value for key, value in line.items() if key != "link"}, "image_id": "f" * 16, "sha256": "f" * 64}


def _delete(run: EditedRun) -> None:
    (run.path / NAME).unlink()
    run.name(NAME)


EDITS = (
    Edit("decisions: the first removed", _with(lambda lines: lines[1:])),
    Edit("decisions: one in the middle removed", _with(lambda lines: [lines[0], *lines[2:]])),
    Edit("decisions: one edited", _with(lambda lines: [lines[0], _edited(lines[1]), *lines[2:]])),
    Edit("decisions: another reviewer's name", _with(lambda lines: [{**lines[0], "reviewer": "X"}, *lines[1:]])),
    Edit("decisions: two exchanged", _with(lambda lines: [lines[1], lines[0], *lines[2:]])),
    Edit("decisions: one repeated", _with(lambda lines: [lines[0], lines[0], *lines[1:]])),
    Edit("decisions: one on no image of the run", _with(lambda lines: [*lines, _unknown(lines[0])])),
    Edit("decisions: all deleted", _delete),
    # The chain of lines does not show where it ends.
    Edit("decisions: the last removed", _with(lambda lines: lines[:-1])),
)
"""Edits of reviews: the pages say how many bytes of decisions they show, so what is cut off there is found too."""
