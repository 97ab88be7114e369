"""Recipes of labs."""

from pathlib import Path

import pytest

from imgaudit.exceptions import ConfigError
from imgaudit.lab.recipe import LabRecipe


def test_a_recipe_names_its_mistakes(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('name = "x"\nsteps = 0\nlerning_rate = 1\n')
    with pytest.raises(ConfigError, match=r"lerning_rate.*|steps.*"):
        LabRecipe.read(tmp_path / "r.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        LabRecipe.read(tmp_path / "none.toml")
