"""The labs in examples/labs: small, free of pickles, of this package's making, and kept apart from each other."""

from pathlib import Path

import pytest

from imgaudit.benchmark.harness.cases import CaseCounts, Group, choose_cases, group_of
from imgaudit.benchmark.harness.score_table import ScoreTable
from imgaudit.benchmark.layout_settings import LegSettings
from imgaudit.benchmark.verdicts.legs_audit import choose_images
from imgaudit.lab.description import LabDescription
from imgaudit.lab.recipe import LabRecipe
from imgaudit.models.loading import hash_model_files, model_fingerprint

ROOT = Path(__file__).parent.parent.parent / "examples"
LABS = sorted(path.parent for path in (ROOT / "labs").glob("*/lab.json"))


def weight_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.name)
def test_a_shipped_lab_is_small_and_follows_its_recipe(lab: Path) -> None:
    description = LabDescription.read(lab / "lab.json")
    # A distilled lab follows its teacher's recipe, but for the name.
    recipe = description.distillation.teacher if description.distillation else lab.name
    trained = LabRecipe.read(ROOT / "recipes" / f"{recipe}.toml")
    assert description.recipe == trained.model_copy(update={"name": lab.name})
    assert weight_of(lab / "model") < (10_000_000 if trained.resolution < 128 else 15_000_000)
    assert not [path.name for path in lab.rglob("*") if path.suffix in (".bin", ".pt", ".ckpt", ".npz")]
    if description.with_role("template"):
        chosen = choose_images(description, LegSettings())
        assert len(chosen.controls) + chosen.control_layouts == 180
        parts = [{one.sha256 for one in part} for part in (chosen.controls, chosen.audited, chosen.for_layouts)]
        assert len(set.union(*parts)) == sum(map(len, parts)) and len(parts[2]) >= 2 * (chosen.control_layouts + 48)
        return
    cases = choose_cases(description, CaseCounts())
    assert len(cases.bank) == 240
    assert not {image.sha256 for image in cases.controls} & {image.sha256 for image in cases.measured}


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.name)
def test_a_shipped_lab_names_no_place_on_the_machine_that_trained_it(lab: Path) -> None:
    for path in (lab / "model").rglob("*.json"):
        assert "_name_or_path" not in path.read_text(encoding="utf-8"), path.relative_to(lab)


def test_the_shipped_labs_together_are_small() -> None:
    assert sum(weight_of(lab / "model") for lab in LABS) < 120_000_000


def test_the_lab_that_chose_the_defaults_has_another_split_than_those_that_report() -> None:
    fit = LabDescription.read(ROOT / "labs" / "fit" / "lab.json")
    report = LabDescription.read(ROOT / "labs" / "report-a" / "lab.json")
    memorised = [{i.sha256 for i in lab.images if group_of(i) is Group.MEMORISED} for lab in (fit, report)]
    assert fit.recipe.own_split_seed != report.recipe.own_split_seed
    # Two random splits of one corpus share a few images; the weights that memorised them share nothing.
    assert len(memorised[1]) >= 40 and len(memorised[0] & memorised[1]) <= 0.05 * len(memorised[1])


@pytest.mark.parametrize("table", sorted(ROOT.glob("labs/*/detection.json")), ids=lambda path: path.parent.name)
def test_a_score_table_belongs_to_the_lab_it_lies_beside(table: Path) -> None:
    scores = ScoreTable.read(table)
    description = LabDescription.read(table.parent / "lab.json")
    known = {image.sha256: image for image in description.images}
    assert scores.lab == description.recipe.name
    assert all(group_of(known[row.sha256]) is row.group for row in scores.rows)
    if (table.parent / "model").is_dir():
        assert scores.model_fingerprint == model_fingerprint(hash_model_files(table.parent / "model"))
