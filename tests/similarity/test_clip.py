"""CLIP as a judge: a small one trained and read back, against plain loops; what is refused; an aesthetic head."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from imgaudit.exceptions import InputError, ModelRefusedError
from imgaudit.io.framing import to_batch, to_image
from imgaudit.lab.clip_training import ClipRecipe, train_clip
from imgaudit.lab.corpus import CorpusEntry
from imgaudit.schema.protocol import Framing
from imgaudit.similarity.clip import ClipScorer, load_aesthetic_head, load_clip, retrieves_own_caption
from tests.conftest import tiny_recipe

COLOURS = {"red": (220, 20, 20), "green": (20, 200, 40), "blue": (20, 40, 220), "grey": (128, 128, 128)}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[CorpusEntry]:
    folder = tmp_path_factory.mktemp("colours")
    entries = []
    for name, colour in COLOURS.items():
        for number in range(3):
            path = folder / f"{name}-{number}.png"
            image = Image.new("RGB", (16, 16), colour)
            image.paste((255, 255, 255), (4 * number, 0, 4 * number + 4, 4))
            image.save(path)
            entries.append(CorpusEntry(path, f"a {name} field", "background"))
    return entries


@pytest.fixture(scope="module")
def folder(corpus: list[CorpusEntry], tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = ClipRecipe(steps=80, batch_size=4, learning_rate=3e-3)
    return train_clip(corpus, tiny_recipe(augment=False), recipe, tmp_path_factory.mktemp("clip") / "model")


@pytest.fixture(scope="module")
def clip(folder: Path) -> ClipScorer:
    return load_clip(folder)


def test_a_trained_clip_tells_its_own_colours_apart(corpus: list[CorpusEntry], clip: ClipScorer) -> None:
    images = to_batch([Image.open(entry.path).convert("RGB") for entry in corpus], 16, Framing.PAD)
    pictures = clip.describe_images(images)
    texts = clip.describe_texts([f"a {name} field" for name in COLOURS])
    torch.testing.assert_close(pictures.norm(dim=1), torch.ones(len(pictures)))
    nearest = (pictures @ texts.T).argmax(dim=1)
    assert (nearest == torch.arange(4).repeat_interleave(3)).float().mean() >= 0.75
    others = torch.stack([torch.cat([texts[:row], texts[row + 1 :]]) for row in range(4)]).repeat_interleave(3, dim=0)
    own = texts.repeat_interleave(3, dim=0)
    assert (
        retrieves_own_caption(pictures, own, others).tolist()
        == (nearest == torch.arange(4).repeat_interleave(3)).tolist()
    )


def test_batches_give_what_the_network_gives_one_by_one(clip: ClipScorer) -> None:
    images = torch.rand(35, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    together = clip.describe_images(images)
    for row in (0, 31, 34):
        pixels = clip.processor([to_image(images[row])], return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            states = clip.network.vision_model(pixel_values=pixels).pooler_output
            alone = clip.network.visual_projection(states)[0]
        torch.testing.assert_close(together[row], alone / alone.norm(), rtol=1e-4, atol=1e-5)
    texts = [f"a {name} field" for name in COLOURS] * 9
    torch.testing.assert_close(clip.describe_texts(texts)[33], clip.describe_texts(texts[33:34])[0])


def test_the_same_recipe_trains_the_same_clip(corpus: list[CorpusEntry], tmp_path: Path) -> None:
    recipe = ClipRecipe(steps=3, batch_size=4, seed=2)
    first, second = (train_clip(corpus, tiny_recipe(), recipe, tmp_path / name) for name in ("a", "b"))
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match="expected 5 different captions"):
        train_clip(corpus, tiny_recipe(), ClipRecipe(batch_size=5), tmp_path / "c")


def test_folders_that_hold_no_clip_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelRefusedError, match=r"no model\.safetensors"):
        load_clip(tmp_path)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"\x80\x04 not tensors")
    with pytest.raises(ModelRefusedError, match="cannot be loaded as CLIP"):
        load_clip(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["num_hidden_layers"] = 10**6
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelRefusedError, match="absurd"):
        load_clip(tmp_path)
    config["vision_config"]["num_hidden_layers"] = 9
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelRefusedError, match="lacks"):
        load_clip(tmp_path)


def test_an_aesthetic_head_is_its_linear_layers_and_nothing_else(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    layers = {
        "layers.10.weight": torch.randn(1, 5, generator=generator), "layers.10.bias": torch.tensor([0.5]),
        "layers.2.weight": torch.randn(5, 6, generator=generator), "layers.2.bias": torch.randn(5, generator=generator),
    }  # fmt: skip
    save_file(layers, tmp_path / "head.safetensors")
    vectors = torch.randn(3, 6, generator=generator)
    first, last = layers["layers.2.weight"], layers["layers.10.weight"][0]
    expected = []
    for row in vectors:
        hidden = [sum(float(first[j, i]) * float(row[i]) for i in range(6)) for j in range(5)]
        hidden = [value + float(layers["layers.2.bias"][j]) for j, value in enumerate(hidden)]
        expected.append(0.5 + sum(float(last[j]) * value for j, value in enumerate(hidden)))
    head = load_aesthetic_head(tmp_path / "head.safetensors", 6)
    assert head.score(vectors).tolist() == pytest.approx(expected, rel=1e-4)
    with pytest.raises(ModelRefusedError, match="from the 7 numbers of this CLIP to 1"):
        load_aesthetic_head(tmp_path / "head.safetensors", 7)
    (tmp_path / "pickle.pth").write_bytes(b"\x80\x04.")
    with pytest.raises(ModelRefusedError, match="cannot be read as linear layers"):
        load_aesthetic_head(tmp_path / "pickle.pth", 6)
    with pytest.raises(ModelRefusedError, match="no safetensors file"):
        load_aesthetic_head(tmp_path / "nothing", 6)
