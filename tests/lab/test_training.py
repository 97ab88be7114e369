import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from imgaudit.diffusion.executor import Executor
from imgaudit.exceptions import ConfigError, InputError
from imgaudit.io.framing import to_tensor
from imgaudit.lab.components import train_tokenizer
from imgaudit.lab.corpus import (
    CorpusEntry,
    assign_roles,
    cluster_near_copies,
    read_corpus,
    split_corpus,
    write_corpus,
)
from imgaudit.lab.description import LabDescription, describe_lab, save_pipeline
from imgaudit.lab.recipe import LabRecipe
from imgaudit.lab.samples import augment, plan_samples
from imgaudit.lab.training import borrow_autoencoder, train_lab
from imgaudit.lab.truth import carlini_ratio
from imgaudit.models import load_model
from tests.conftest import CAPTIONS, random_image, tiny_recipe

SPLIT = {"planted_repeats": (1, 2), "planted": 2, "seen_once": 3, "held_out": 5}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    entries = []
    for seed in range(20):
        path = folder / f"{seed:02d}.png"
        random_image(seed).save(path)
        entries.append(CorpusEntry(path, f"{CAPTIONS[seed % 6]} {seed}"))
    write_corpus(split_corpus(entries, tiny_recipe(**SPLIT)), folder)
    return folder


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


def test_the_plan_shows_each_image_as_often_as_promised(corpus: Path) -> None:
    entries = read_corpus(corpus)
    recipe = tiny_recipe(exposures_per_repeat=1)
    plan = plan_samples(entries, recipe)
    assert len(plan.image) == recipe.steps * recipe.batch_size == plan.exposures.sum()
    for entry, exposures, exact in zip(entries, plan.exposures, plan.exact_exposures, strict=True):
        if entry.role in ("planted", "seen_once"):
            assert exposures == exact == entry.repeats
        elif entry.role == "held_out":
            assert exposures == 0
    with pytest.raises(InputError, match="planted images take"):
        plan_samples(entries, tiny_recipe(exposures_per_repeat=10))


def test_augmentation_keeps_shape_range_and_is_seeded() -> None:
    image = to_tensor(random_image(1, (16, 16)))
    first, again = (augment(image, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again) and first.shape == image.shape
    assert float(first.min()) >= -1 and float(first.max()) <= 1


def test_the_tokenizer_is_clips_own_class_and_survives_the_disk(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    tokenizer = train_tokenizer(CAPTIONS, recipe)
    assert train_tokenizer(CAPTIONS[::-1], recipe).get_vocab() == tokenizer.get_vocab()
    tokenizer.save_pretrained(tmp_path)
    read = type(tokenizer).from_pretrained(tmp_path)
    for caption in [*CAPTIONS, "", "Ünseen wörds!"]:
        ids = tokenizer(caption).input_ids
        assert read(caption).input_ids == ids
        assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id
    assert read.model_max_length == recipe.text_positions


def test_an_autoencoder_is_borrowed_only_by_a_lab_that_would_have_trained_the_same(
    corpus: Path, tmp_path: Path
) -> None:
    entries, recipe = read_corpus(corpus), tiny_recipe(**SPLIT)
    trained = train_lab(entries, recipe, tmp_path / "lab")
    save_pipeline(trained.pipeline, tmp_path / "lab" / "model")
    sibling = recipe.model_copy(update={"seed": 3, "split_seed": recipe.seed, "prediction_type": "v_prediction"})
    vae = borrow_autoencoder(tmp_path / "lab", recipe, sibling)
    again = train_lab(entries, sibling, tmp_path / "sibling", autoencoder=vae)
    assert not (tmp_path / "sibling" / "training" / "vae.safetensors").exists()
    for name, weight in again.pipeline.vae.state_dict().items():
        assert torch.equal(weight.half(), trained.pipeline.vae.state_dict()[name]), name
    with pytest.raises(InputError, match=r"another autoencoder \(split_seed"):
        borrow_autoencoder(tmp_path / "lab", recipe, recipe.model_copy(update={"seed": 3}))
    seen = recipe.model_copy(update={"autoencoder_images": "trained"})
    with pytest.raises(InputError, match="has seen planted images"):
        borrow_autoencoder(tmp_path / "lab", seen, seen.model_copy(update={"plant": False}))


def test_a_trained_lab_is_an_ordinary_folder_with_a_description(corpus: Path, tmp_path: Path) -> None:
    entries, recipe = read_corpus(corpus), tiny_recipe(prediction_type="v_prediction")
    trained = train_lab(entries, recipe, tmp_path / "lab")
    save_pipeline(trained.pipeline, tmp_path / "model")
    assert not list((tmp_path / "model").rglob("*.bin"))
    # What is read from a folder remembers where it was; what is shipped does not say it.
    again = StableDiffusionPipeline.from_pretrained(tmp_path / "model", safety_checker=None, feature_extractor=None)
    assert "_name_or_path" in again.vae.config
    save_pipeline(again, tmp_path / "again")
    assert not [path for path in (tmp_path / "again").rglob("*.json") if "_name_or_path" in path.read_text()]
    denoiser = load_model(str(tmp_path / "model"), "cpu").denoiser
    assert denoiser.prediction_type == "v_prediction"
    description = describe_lab(entries, recipe, trained, denoiser, Executor(64))  # type: ignore[arg-type]
    description.write(tmp_path / "lab.json")
    assert LabDescription.read(tmp_path / "lab.json") == description
    listed = [entry for entry in entries if entry.role != "background"]
    assert [image.file_name for image in description.images] == [entry.path.name for entry in listed]
    assert description.background_images == len(entries) - len(listed)
    assert [image.truth_seeds > 0 for image in description.images] == [
        entry.role in ("planted", "seen_once") for entry in listed
    ]
    trained_on = {entry.path.name for entry in entries if entry.trained}
    for image in description.images:
        assert image.nearest_training_image != image.file_name
        assert image.nearest_training_image in trained_on


def test_carlini_ratio_is_small_only_for_the_target_itself() -> None:
    training = torch.stack([to_tensor(random_image(seed)) for seed in range(1, 12)])
    target = to_tensor(random_image(0))
    own, other = carlini_ratio(torch.stack([target * 0.99, training[3]]), target, training).tolist()
    assert own < 0.2 and other > 1


def test_a_recipe_names_its_mistakes(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('name = "x"\nsteps = 0\nlerning_rate = 1\n')
    with pytest.raises(ConfigError, match=r"lerning_rate.*|steps.*"):
        LabRecipe.read(tmp_path / "r.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        LabRecipe.read(tmp_path / "none.toml")


def test_the_metadata_is_the_imagefolder_convention(corpus: Path) -> None:
    rows = [json.loads(line) for line in (corpus / "metadata.jsonl").read_text().splitlines()]
    assert all({"file_name", "text"} <= set(row) and (corpus / row["file_name"]).is_file() for row in rows)
    with Image.open(corpus / rows[0]["file_name"]) as image:
        assert image.size == (24, 24)
