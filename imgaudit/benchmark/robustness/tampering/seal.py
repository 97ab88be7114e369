"""Edits of seal.json: what was fixed before the audit began."""

from collections.abc import Callable
from typing import Any

from imgaudit.benchmark.robustness.tampering.edit import Attacker, Edit, EditedRun
from imgaudit.schema.seal import canonical_json

NAME = "seal.json"

EVERYBODY = tuple(Attacker)


def _with(change: Callable[[Any], None]) -> Callable[[EditedRun], None]:
    """Make an edit of the sealed audit, written in the form that seals have."""

    def make(run: EditedRun) -> None:
        seal = run.read(NAME)
        change(seal["audit"])
        (run.path / NAME).write_bytes(canonical_json(seal))

    return make


def _level(audit: Any) -> None:
    audit["policy"]["level"] = 0.4


def _drop_target(audit: Any) -> None:
    audit["targets"].pop(0)


def _seed(audit: Any) -> None:
    audit["seed"] = 12345


def _date(audit: Any) -> None:
    audit["started"] = "2020-01-01T00:00:00+00:00"


def _reformat(run: EditedRun) -> None:
    """Write the same statement with other spaces: its digest, which names the seal, changes."""
    run.write(NAME, run.read(NAME))


def _delete(run: EditedRun) -> None:
    (run.path / NAME).unlink()
    run.name(NAME)


EDITS = (
    Edit("seal: another level", _with(_level), EVERYBODY),
    Edit("seal: a target left out", _with(_drop_target), EVERYBODY),
    Edit("seal: another seed", _with(_seed), by_head=(Attacker.DECIDES,)),
    # Only a timestamp over the seal shows when it was made.
    Edit("seal: another date", _with(_date), by_head=(Attacker.DECIDES,)),
    Edit("seal: written in another form", _reformat),
    Edit("seal: deleted", _delete, by_head=(Attacker.DECIDES,)),
)
"""Edits of the seal."""
