"""Validation errors in one line: the field, what was expected, what came; long names and values are cut."""

import pytest
from pydantic import ValidationError

from imgaudit.schema.policy import Policy
from imgaudit.schema.problems import describe_problem, describe_problems
from imgaudit.schema.protocol import GenerationConfig, Protocol


def problem(kind: type[Policy] | type[Protocol] | type[GenerationConfig], values: object) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(values)
    return caught.value


def test_fields_are_named_with_what_came() -> None:
    error = problem(Policy, {"level": 7, "bins": 0})
    assert describe_problem(error) == "level: Input should be less than 0.5, but got 7"
    assert describe_problems(error).endswith("; bins: Input should be greater than or equal to 1, but got 0")
    assert describe_problem(problem(Protocol, {"inversion": {"steps": "x" * 500}})).startswith("inversion.steps: ")


def test_a_rule_over_several_fields_is_told_alone() -> None:
    message = describe_problem(problem(GenerationConfig, {"guidance_scales": (1.0, 3.0)}))
    assert message == "several guidance scales need selection_seeds between 1 and seeds - 1"


def test_strangers_names_and_values_are_cut() -> None:
    assert len(describe_problem(problem(Policy, {"y" * 5000: "z" * 5000}))) < 300
