"""What is wrong with a value that does not fit a record or a configuration, in one line for a person."""

from typing import TYPE_CHECKING

from pydantic import ValidationError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


def describe_problem(error: ValidationError) -> str:
    """Name the first field that is wrong, with what was expected and what came.

    Names and values are cut to 80 characters: the file may be untrusted.

    >>> from imgaudit.schema.policy import Policy
    >>> try:
    ...     Policy.model_validate({"bins": 0})
    ... except ValidationError as error:
    ...     print(describe_problem(error))
    bins: Input should be greater than or equal to 1, but got 0
    """
    return _describe(error.errors()[0])


def describe_problems(error: ValidationError) -> str:
    """Name every field that is wrong, as `describe_problem` does, separated by semicolons."""
    return "; ".join(_describe(item) for item in error.errors())


def _describe(item: "ErrorDetails") -> str:
    message = item["msg"].removeprefix("Value error, ")
    if not item["loc"]:
        # The rule joins several fields, so no single value came instead.
        return message
    where = ".".join(map(str, item["loc"]))
    came = "" if item["type"] == "missing" else f", but got {item['input']!r:.80}"
    return f"{where:.80}: {message}{came}"
