"""The captioned corpus of a lab and its split into roles."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgaudit.exceptions import InputError
from imgaudit.lab.corpus import (
    CorpusEntry,
    assign_roles,
    cluster_near_copies,
    read_corpus,
    split_corpus,
)
from imgaudit.lab.samples import plan_samples
from tests.conftest import CAPTIONS, random_image, tiny_recipe
from tests.lab.conftest import SPLIT


def test_a_split_gives_every_image_one_role(corpus: Path) -> None:
    entries = read_corpus(corpus)
    roles = [entry.role for entry in entries]
    assert [roles.count(r) for r in ("planted", "seen_once", "held_out", "background")] == [2, 3, 5, 10]
    assert sorted(entry.repeats for entry in entries if entry.role == "planted") == [1, 2]
    assert {entry.repeats for entry in entries if entry.role == "held_out"} == {0}
    with pytest.raises(InputError, match="expected at least"):
        split_corpus(entries, tiny_recipe(**SPLIT | {"held_out": 50}))


def test_near_copies_are_clustered_before_the_split_and_a_twin_withholds_what_its_sibling_plants(
    tmp_path: Path,
) -> None:
    entries = []
    for seed in range(20):
        for copy in range(2):
            path = tmp_path / f"{seed:02d}-{copy}.png"
            random_image(seed, (32, 32)).save(path)
            entries.append(CorpusEntry(path, f"{CAPTIONS[seed % 6]} {seed} {copy}"))
    recipe = tiny_recipe(**SPLIT)
    chosen = assign_roles(entries, recipe)
    assert sorted(entry.path.name for entry in chosen) == [f"{seed:02d}-0.png" for seed in range(20)]
    twin = assign_roles(entries, recipe.model_copy(update={"plant": False, "seed": 5, "split_seed": recipe.seed}))
    assert [e.path for e in chosen if e.role == "planted"] == [e.path for e in twin if e.role == "withheld"]
    assert not any(entry.trained for entry in twin if entry.role in ("withheld", "held_out"))
    assert assign_roles(chosen, recipe) == chosen, "roles that are given are kept"
    plan = plan_samples(twin, recipe)
    assert all(count == 0 for entry, count in zip(twin, plan.exposures, strict=True) if not entry.trained)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"file_name": "../../etc/passwd", "text": "x"}', "outside the folder"),
        ('{"file_name": "a.png"}', "expected file_name and text"),
        ('{"file_name": "a.png", "text": "x", "role": "other"}', "role must be one of"),
    ],
)
def test_a_wrong_corpus_is_refused(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").write_text(line)
    with pytest.raises(InputError, match=message):
        read_corpus(tmp_path)


def test_near_copies_share_a_cluster_and_chains_are_one() -> None:
    base = [np.asarray(random_image(seed, (32, 32))) for seed in range(6)]
    generator = np.random.default_rng(0)

    def noisy(image: np.ndarray, amount: float) -> np.ndarray:  # type: ignore[type-arg]
        return np.clip(image + generator.normal(0, amount, image.shape), 0, 255).astype(np.uint8)

    labels = cluster_near_copies(np.stack([*base, noisy(base[0], 8), noisy(base[1], 8)]))
    assert labels[0] == labels[6] and labels[1] == labels[7]
    assert len(set(labels)) == 6


def test_the_metadata_is_the_imagefolder_convention(corpus: Path) -> None:
    rows = [json.loads(line) for line in (corpus / "metadata.jsonl").read_text().splitlines()]
    assert all({"file_name", "text"} <= set(row) and (corpus / row["file_name"]).is_file() for row in rows)
    with Image.open(corpus / rows[0]["file_name"]) as image:
        assert image.size == (24, 24)
