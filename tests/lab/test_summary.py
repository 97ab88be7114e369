"""What a lab memorised is counted by kind and by repeats, and layouts apart from whole images."""

from imgaudit.lab.corpus import Role
from imgaudit.lab.description import LabDescription, LabImage
from imgaudit.lab.recipe import LabRecipe
from imgaudit.lab.summary import summarise_memorised
from imgaudit.statistics import clopper_pearson


def make_image(number: int, role: Role, repeats: int, reproduced: int, layouts: int = 0) -> LabImage:
    """An image whose caption gave it, or its layout, back with so many of 64 seeds."""
    return LabImage(
        file_name=f"{number}.png", sha256=f"{number:064x}", text="a drawing", role=role, repeats=repeats,
        exposures=4 * repeats, exact_exposures=repeats, nearest_training_image="other.png", nearest_similarity=0.1,
        reproduced=reproduced, layouts_reproduced=layouts, truth_seeds=0 if role == "held_out" else 64,
    )  # fmt: skip


def test_images_of_equal_repeats_are_counted_by_role() -> None:
    images = [
        make_image(1, "planted", 10, 64), make_image(2, "planted", 10, 31), make_image(3, "planted", 20, 32),
        make_image(4, "template", 10, 0, 64), make_image(5, "template", 10, 16, 31),
        make_image(6, "template", 10, 40, 64), make_image(7, "held_out", 0, 0),
    ]  # fmt: skip
    lab = LabDescription(recipe=LabRecipe(name="lab", seed=1), background_images=9, images=images)
    rows = {(row.kind, row.repeats): row for row in summarise_memorised(lab)}
    assert list(rows) == [("planted", 10), ("template", 10), ("planted", 20), ("layout", 10)]
    assert [(row.memorised, row.images, row.exposures) for row in rows.values()] == [
        (1, 2, 40), (1, 3, 40), (1, 1, 80), (1, 2, 40)
    ]  # fmt: skip
    assert rows["planted", 10].mean_rate == (64 + 31) / 128 and rows["layout", 10].mean_rate == (64 + 31) / 128
    assert (rows["planted", 20].low, rows["planted", 20].high) == clopper_pearson(1, 1)


def test_a_lab_without_layouts_has_no_rows_of_them() -> None:
    lab = LabDescription(
        recipe=LabRecipe(name="lab", seed=1), background_images=9, images=[make_image(1, "planted", 5, 0)]
    )
    assert [row.kind for row in summarise_memorised(lab)] == ["planted"]
