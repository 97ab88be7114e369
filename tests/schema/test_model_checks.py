"""The checks of a model as JSON: a number that could not be measured is written, and read again."""

import json
from math import inf, nan

import pytest

from imgaudit.schema.model_checks import ModelCheck


@pytest.mark.parametrize("value", [nan, inf, -inf, 0.25])
def test_a_number_that_is_not_finite_survives_json(value: float) -> None:
    check = ModelCheck(name="error", value=value, passed=False, sentence="the error could not be measured")
    text = json.dumps(check.model_dump(mode="json"), allow_nan=False)
    assert repr(ModelCheck.model_validate(json.loads(text)).value) == repr(value)
