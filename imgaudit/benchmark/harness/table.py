"""Tables of benchmarks: what was measured, small enough to commit, enough to redo every statistic without a model."""

import json
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import ValidationError, model_validator

from imgaudit.exceptions import InputError
from imgaudit.io.writing import read_json, write_atomically, write_json
from imgaudit.schema.problems import describe_problem
from imgaudit.schema.records import Record


class LabRecord(Record):
    """What every table and report of a lab begins with."""

    lab: str
    """Lab model."""
    seed: int
    """Run seed."""
    hardware: str
    """Machine, device and threads."""


class Table(Record):
    """Base of the records that benchmarks save."""

    long_lists: ClassVar[tuple[str, ...]] = ()
    """Fields whose elements are written one to a line, so that changes can be read; without any, the file is indented
    throughout."""

    @model_validator(mode="before")
    @classmethod
    def _leave_out_old_goals(cls, values: Any) -> Any:
        """Ignore the goals in tables of versions that saved them: they are judged again from the figures."""
        if isinstance(values, dict) and "targets" not in cls.model_fields:
            return {name: value for name, value in values.items() if name != "targets"}
        return values

    def write(self, path: Path) -> None:
        """Write as JSON."""
        values = self.model_dump(mode="json")
        if not self.long_lists:
            write_json(path, values)
            return
        fields = []
        for name, value in values.items():
            text = json.dumps(value, ensure_ascii=False, allow_nan=False)
            if name in self.long_lists and value:
                rows = (json.dumps(one, ensure_ascii=False, allow_nan=False) for one in value)
                text = "[\n" + ",\n".join(rows) + "\n]"
            fields.append(f"{json.dumps(name)}: {text}")
        write_atomically(path, "{\n" + ",\n".join(fields) + "\n}\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a table that `write` wrote. Raises InputError for another file."""
        try:
            return cls.model_validate(read_json(path))
        except ValidationError as error:
            raise InputError(
                f"{str(path)!r} is not a {cls.__name__} of this version: {describe_problem(error)}; measure it again"
            ) from error
