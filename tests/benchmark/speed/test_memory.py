"""Memory counted without data: the same as with data, and the sizes that were published."""

from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from imgaudit.benchmark.speed import memory
from imgaudit.benchmark.speed.memory import CHECKPOINTED, MemoryReport, ModelMemory, count_model, count_models
from imgaudit.cli import app
from imgaudit.diffusion.passes import Passes
from imgaudit.exceptions import InputError
from imgaudit.io.writing import read_json
from imgaudit.models import load_model
from imgaudit.models.families.latent import LatentDenoiser
from imgaudit.models.families.registry import FAMILIES as BY_CLASS
from imgaudit.models.meta_model import build_meta_model
from imgaudit.models.published import (
    PublishedComponent,
    PublishedModel,
    StatedSize,
    choose_models,
    read_published_models,
)
from imgaudit.runs.cost import Memory, measure_memory
from tests.diffusion.test_memory import FAMILIES

pytestmark = [
    # Raised inside diffusers' solvers; nothing of ours can avoid it.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning"),
    # Raised where Z-Image of diffusers takes tensors without data apart; no gradient of ours is read.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
]

TABLE = Path(__file__).parent.parent.parent.parent / "examples" / "memory.json"


def described(denoiser: LatentDenoiser) -> PublishedModel:
    """A model as the published ones are written down."""
    pipeline: Any = denoiser.pipeline
    components = {}
    for name, component in BY_CLASS[type(pipeline).__name__].components.items():
        part = getattr(pipeline, name)
        if component.role != "tokenizer" and part is not None:
            config = part.config.to_dict() if hasattr(part.config, "to_dict") else dict(part.config)
            components[name] = PublishedComponent(class_name=type(part).__name__, config=config)
    start = denoiser.start_condition()
    return PublishedModel(
        name="own",
        repository="nobody/own",
        pipeline_class=type(pipeline).__name__,
        components=components,
        streams={name: tuple(stream.shape[1:]) for name, stream in start.streams.items()},
        extras={name: tuple(extra.shape[1:]) for name, extra in start.extras.items() if "mask" not in name},
        # Rows that an inversion starts from and that no mask hides.
        masks={name: int(extra.sum()) for name, extra in start.extras.items() if name in {"mask", "mask_2"}},
        masked_streams={name: "t5" for name in start.extras if name == "mask_2"},
        blank_masks={name: extra.shape[1] for name, extra in start.extras.items() if name.endswith("_mask")},
        stated=[],
    )


def assert_same_counts(denoiser: LatentDenoiser) -> None:
    outline, own = build_meta_model(described(denoiser), torch.float32), Passes(denoiser)
    if hasattr(denoiser.pipeline, "default_sample_size"):
        outline.pipeline.default_sample_size = denoiser.pipeline.default_sample_size
    without = Passes(outline)
    for _ in range(2):
        assert measure_memory(without) == measure_memory(own)
        assert outline.spare_memory() == denoiser.spare_memory()


# Which experts a token goes to, as HiDream's, is in the data.
@pytest.mark.parametrize("name", [name for name in FAMILIES if "hidream" not in name])
def test_without_data_as_many_bytes_are_counted_as_with_data(name: str) -> None:
    assert_same_counts(FAMILIES[name]())


@pytest.mark.parametrize("lab", ["demo", "examples/labs/sdxl/model", "examples/labs/flow/model"])
def test_the_labs_take_what_is_counted_without_their_weights(lab: str) -> None:
    folder = TABLE.parent.parent / lab
    assert_same_counts(load_model(lab if lab == "demo" else str(folder), "cpu").denoiser)  # type: ignore[arg-type]


def test_sizes_of_weights_are_those_that_are_loaded() -> None:
    denoiser = FAMILIES["flux dev"]()
    counted = count_model(described(denoiser), torch.bfloat16)
    for name, size in counted.networks.items():
        network = getattr(denoiser.pipeline, name).to(torch.bfloat16)
        weights = {id(weight): weight for weight in network.state_dict(keep_vars=True).values()}
        assert size.parameters == sum(weight.numel() for weight in weights.values())
        held = {*network.parameters(), *network.buffers()}
        assert size.bytes == sum(weight.numel() * weight.element_size() for weight in held)
    assert counted.denoises == "transformer"


def test_what_t5_keeps_in_float32_is_counted_in_it() -> None:
    model = described(FAMILIES["pixart"]())
    half, brain = (count_model(model, dtype).networks["text_encoder"] for dtype in (torch.float16, torch.bfloat16))
    assert half.parameters == brain.parameters and half.bytes > brain.bytes


def test_needs_add_up() -> None:
    model = count_model(described(FAMILIES["sdxl"]()), torch.float32)
    stages = {stage: size.one for stage, size in model.stages.items()}
    assert stages[CHECKPOINTED] < stages["backward"]
    assert model.needed(checkpointed=False) == model.weights + max(stages.values())
    assert model.weights < model.needed(checkpointed=True) <= model.needed(checkpointed=False)
    assert model.offloaded < model.needed(checkpointed=True)
    assert model.offloaded >= model.networks["unet"].bytes + stages[CHECKPOINTED]
    # Where gradients cannot be checkpointed, what the pass back takes without is needed.
    never = model.model_copy(
        update={"stages": {name: one for name, one in model.stages.items() if name != CHECKPOINTED}}
    )
    assert never.needed(checkpointed=True) == model.needed(checkpointed=False)
    assert never.offloaded >= model.networks["unet"].bytes + stages["backward"]


@pytest.mark.parametrize(
    ("printed", "inside", "outside"),
    [
        ("860M", (859_520_964, 860_400_000), (859_400_000, 861_000_000)),
        ("2.6B", (2_567_463_684, 2_690_000_000), (2_540_000_000, 2_700_000_000)),
        ("12B", (11_901_408_320,), (11_400_000_000, 13_000_000_000)),
    ],
)
def test_a_printed_number_stands_for_what_is_rounded_or_cut_to_it(
    printed: str, inside: tuple[int, ...], outside: tuple[int, ...]
) -> None:
    least, most = StatedSize(networks=["unet"], parameters=printed, source="").range
    assert all(least <= number < most for number in inside) and not any(least <= number < most for number in outside)


def test_a_configuration_of_another_size_disagrees_with_what_was_published(monkeypatch: pytest.MonkeyPatch) -> None:
    # Parameters alone are compared, so no stage has to be run.
    sizes = dict.fromkeys(("backward", "forward", "decode", "encode"), 1)
    monkeypatch.setattr(memory, "measure_memory", lambda passes: Memory(one=sizes, more=sizes))
    [model] = choose_models(["PixArt-Sigma XL 2 1024"])
    # One large text encoder less to build.
    changed = model.components | {
        "transformer": PublishedComponent(
            class_name=model.components["transformer"].class_name,
            config=model.components["transformer"].config | {"num_layers": 14},
        ),
    }
    report = count_models([model.model_copy(update={"components": changed})])
    [line] = report.disagreements
    assert line.startswith(model.name) and line.endswith("counted in transformer, but 0.6B published")


@pytest.fixture(scope="module")
def committed() -> MemoryReport:
    return MemoryReport.model_validate(read_json(TABLE))


def test_the_committed_table_has_every_published_model_and_agrees(committed: MemoryReport) -> None:
    names = [model.name for model in read_published_models()]
    assert [model.name for model in committed.models[::2]] == names == [model.name for model in committed.models[1::2]]
    assert committed.disagreements == [] and all(model.agreements for model in committed.models)
    assert {model.pipeline_class for model in read_published_models()} == set(BY_CLASS)


def find(report: MemoryReport, name: str) -> list[ModelMemory]:
    return [model for model in report.models if model.name == name]


@pytest.mark.slow
def test_counting_again_gives_the_committed_table(committed: MemoryReport, tmp_path: Path) -> None:
    name, saved = "Stable Diffusion 1.5", tmp_path / "memory.json"
    result = CliRunner().invoke(app, ["benchmark", "memory", "--only", name, "--quiet", "--save", str(saved)])
    assert result.exit_code == 0 and "859,520,964" in result.stdout and "DIFFERS" not in result.stdout
    again = MemoryReport.model_validate(read_json(saved))
    assert [model.networks for model in again.models] == [model.networks for model in find(committed, name)]
    if again.versions == committed.versions:
        assert again.models == find(committed, name)


def test_the_guide_says_what_the_table_says(committed: MemoryReport) -> None:
    rows = (TABLE.parent.parent / "docs" / "guides" / "models.md").read_text(encoding="utf-8").splitlines()
    for model in committed.models[::2]:
        sizes = (model.needed(checkpointed=True), model.offloaded)
        [row] = [row for row in rows if row.startswith(f"| {model.name} |") and row.count("|") == 4]
        assert row == f"| {model.name} | {' | '.join(f'{size / 2**30:.1f}' for size in sizes)} |"


def test_a_model_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(InputError, match=r"no published model is called 'FLUX.2'; expected one of AuraFlow, "):
        choose_models(["FLUX.2"])
