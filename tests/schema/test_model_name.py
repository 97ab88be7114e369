"""A name that no model can have is refused before anything is loaded."""

from pathlib import Path

import pytest

from imgaudit.exceptions import ModelRefusedError
from imgaudit.schema.model_name import BUNDLED, is_hub_id, require_named


def test_what_is_there_or_may_be_on_the_hub_is_a_name(tmp_path: Path) -> None:
    for name in (*BUNDLED, str(tmp_path), "owner/name", "owner/name@main"):
        require_named(name)


@pytest.mark.parametrize("name", ["none", "./none", "/none/model", "a/b/c", "owner/name.safetensors", "x" * 5000])
def test_other_names_are_refused_with_what_was_expected(name: str) -> None:
    with pytest.raises(ModelRefusedError, match=r"expected a model folder|cannot be opened"):
        require_named(name)


def test_names_on_the_hub_have_an_owner() -> None:
    assert is_hub_id("owner/name") and not is_hub_id("name") and not is_hub_id("~/name") and not is_hub_id("../name")
