"""What stands in the cells of tables that are handed on: no folder, and nothing that a spreadsheet would run."""

from imgaudit.schema.records import Skipped
from imgaudit.schema.text import printable

FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What makes a spreadsheet run a cell; the wide forms do so where Chinese, Japanese or Korean is typed."""


def csv_cell(value: object) -> str:
    """A CSV cell that a spreadsheet will not run: text that looks like a formula gets a quote before it."""
    if isinstance(value, Skipped):
        return f"skipped: {value.skipped}"
    text = format(value, ".6g") if isinstance(value, float) else printable(str(value))
    return "'" + text if isinstance(value, str) and text.lstrip().startswith(FORMULA_STARTS) else text
