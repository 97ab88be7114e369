"""The match of a lab's images, from end to end on an untrained lab, and its figures from a made-up table."""

from pathlib import Path
from typing import Any

import pytest

from imgaudit.benchmark.copies.hosted import (
    Asked,
    HostedImage,
    HostedTable,
    HostedTarget,
    format_hosted,
    measure_hosted,
    report_hosted,
)
from imgaudit.benchmark.harness.procedure import ignore_stage
from imgaudit.benchmark.layout_settings import HostedSettings
from imgaudit.diffusion.executor import Executor
from imgaudit.exceptions import InputError
from imgaudit.lab.corpus import write_corpus
from imgaudit.lab.description import LabDescription, LabImage
from imgaudit.lab.examination import describe_lab
from imgaudit.lab.layout_corpus import LayoutCounts, build_layout_corpus
from imgaudit.lab.training import save_pipeline, train_lab
from imgaudit.models import load_model
from tests.conftest import tiny_recipe
from tests.lab.test_layout_corpus import make_drawings
from tests.support.wrapping import unwrap

COUNTS = LayoutCounts(
    alike=1, planted=2, planted_repeats=(1,), layouts=1, variations=2, layout_repeats=(1,), seen_once=1, held_out=45
)


def image(number: int, target: str, replica: Any, found: bool) -> HostedImage:
    similarity = 0.9 if found else 0.1
    return HostedImage(
        name=f"{number}.png", target=target, replica=replica, by_parts=found and replica == "layout", by_whole=found,
        by_memorised=found and not target, similarity=similarity,
    )  # fmt: skip


def test_replicas_and_strangers_are_counted_apart() -> None:
    table = HostedTable(
        lab="x", seed=1, hardware="a machine", decoys=100,
        images=[
            image(0, "a", "whole", True), image(1, "a", "whole", False), image(2, "b", "layout", True),
            image(3, "b", "none", False), image(4, "", "none", True), image(5, "", "none", False),
        ],
        targets=[
            HostedTarget(sha256="a", role="planted", replicas=2, seen="copy"),
            HostedTarget(sha256="b", role="template", replicas=1, seen="not seen"),
            HostedTarget(sha256="c", role="planted", replicas=0, seen="not seen"),
            HostedTarget(sha256="d", role="held_out", replicas=0, seen="partial"),
        ],
    )  # fmt: skip
    report = report_hosted(table)
    counted = {(one.name, one.group): (one.hits, one.n) for one in report.rates}
    seen = "seen, copy or partial"
    assert counted == {
        ("found", "replicas: whole"): (1, 2), ("in parts", "replicas: whole"): (0, 2),
        ("as a whole", "replicas: whole"): (1, 2), ("found", "replicas: layout"): (1, 1),
        ("in parts", "replicas: layout"): (1, 1), ("as a whole", "replicas: layout"): (1, 1),
        ("found", "strangers, held-out targets"): (1, 2), ("in parts", "strangers, held-out targets"): (0, 2),
        ("as a whole", "strangers, held-out targets"): (1, 2), ("found", "strangers, memorised targets"): (1, 2),
        (seen, "targets with replicas"): (1, 2),
        (seen, "held-out targets"): (1, 1),
    }  # fmt: skip
    lines = list(format_hosted(report))
    assert "500 (13 to 987)" in unwrap(" ".join(lines)) and all(len(line) <= 80 for line in lines)
    assert [goal.met for goal in report.goals] == [False, False]


def settings(lab: Path, corpus: Path, work: Path) -> HostedSettings:
    return HostedSettings(
        model=str(lab), images=corpus, out=work, device="cpu", each=1, strangers=2, held_out=2, decoys=39
    )


def test_a_lab_stands_for_a_hosted_model(tmp_path: Path) -> None:
    corpus, lab = tmp_path / "corpus", tmp_path / "lab"
    entries = build_layout_corpus(make_drawings(tmp_path / "drawings", 104), corpus, 128, 7, COUNTS)
    write_corpus(entries, corpus)
    recipe = tiny_recipe(resolution=128, vae_channels=(8, 8, 8, 8), variants=1)
    trained = train_lab(entries, recipe, lab)
    save_pipeline(trained.pipeline, lab / "model")
    denoiser: Any = load_model(str(lab / "model"), "cpu").denoiser
    description = describe_lab(entries, recipe, trained, denoiser, Executor(64))
    # An untrained lab makes grey images, which are like its grey renderings: the truth is made up.
    for planted in (0, 64):
        truth = {"planted": {"reproduced": planted}}
        images = [
            one.model_copy(update={"reproduced": 0, "layouts_reproduced": 0} | truth.get(one.role, {}))
            for one in description.images
        ]
        description.model_copy(update={"images": images}).write(lab / "lab.json")
        if not planted:
            with pytest.raises(InputError, match="the lab has 0 and 45"):
                measure_hosted(settings(lab, corpus, tmp_path / "work"), ignore_stage)
    table = measure_hosted(settings(lab, corpus, tmp_path / "work"), ignore_stage)
    assert [bool(one.target) for one in table.images].count(True) == 2 and len(table.images) == 4
    assert sorted(one.role for one in table.targets) == ["held_out"] * 2 + ["planted"] * 2
    assert {one.replica for one in table.images if not one.target} == {"none"}
    assert measure_hosted(settings(lab, corpus, tmp_path / "work"), ignore_stage) == table


def test_small_images_are_refused(model_folder: Path, tmp_path: Path) -> None:
    lab = tmp_path / "lab"
    lab.mkdir()
    (lab / "model").symlink_to(model_folder)
    LabDescription(recipe=tiny_recipe(), background_images=0, images=[]).write(lab / "lab.json")
    with pytest.raises(InputError, match="need images of 128 pixels; this lab makes images of 16"):
        measure_hosted(settings(lab, lab, tmp_path / "work"), ignore_stage)


def test_no_image_has_two_parts() -> None:
    def one(number: int, role: Any, reproduced: int = 0) -> LabImage:
        return LabImage(
            file_name=f"{number}.png", sha256=f"{number:064x}", text="a", role=role, repeats=1, exposures=1,
            exact_exposures=1, nearest_training_image="b.png", nearest_similarity=0.1, reproduced=reproduced,
            truth_seeds=64,
        )  # fmt: skip

    images = [one(0, "planted", 64), one(1, "planted"), *(one(number, "held_out") for number in range(2, 60))]
    chosen = Asked.choose(images, HostedSettings(strangers=10, held_out=5, decoys=39))
    parts = [chosen.memorised, chosen.held_out, chosen.decoys, chosen.strangers]
    assert [len(part) for part in parts] == [1, 5, 39, 10]
    assert len({image.sha256 for part in parts for image in part}) == 55
