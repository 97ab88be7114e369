"""Every pipeline of diffusers that makes images of text is audited, or refused with a reason, and the docs list it."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import diffusers
import pytest
import refresh_tables
from diffusers import DiffusionPipeline
from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models import load_model
from imgaudit.models.families.refused import REFUSED
from imgaudit.models.families.registry import FAMILIES, find_family

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "models.md"

NEEDED = {"self", "prompt"}
"""Arguments that a call cannot do without."""

OF_OTHERS = {"num_frames", "audio_length_in_s", "audio_end_in_s", "frame_size", "duration", "video_length", "fps"}
"""Arguments of pipelines that make films, sounds or shapes."""


EDITORS = re.compile(
    "Img2Img|Inpaint|VideoToVideo|Pix2Pix|Depth2Img|DiffEdit|Upscale|SuperResolution|Refiner|Fill|Layered|Prior"
    "|Edit(Plus)?Pipeline"
)
"""In the names of pipelines that change, enlarge or finish something, though a prompt alone may be given."""

OF_OTHER_KINDS = {
    "AceStepPipeline", "CogVideoXFunControlPipeline", "DiffusionGemmaPipeline", "LLaDA2Pipeline",
    "LongCatAudioDiTPipeline", "SanaVideoPipeline",
}  # fmt: skip
"""Pipelines that make music, films, or texts."""


def list_text_to_image() -> Iterator[str]:
    """Names of the pipelines that diffusers exports, whose call takes a prompt and needs nothing else."""
    for name in dir(diffusers):
        pipeline = getattr(diffusers, name, None)
        if not (isinstance(pipeline, type) and issubclass(pipeline, DiffusionPipeline) and name.endswith("Pipeline")):
            continue
        parameters = inspect.signature(pipeline.__call__).parameters
        needed = {key for key, one in parameters.items() if one.default is one.empty and one.kind < 2}
        if "prompt" in parameters and needed <= NEEDED and not OF_OTHERS & parameters.keys():
            yield name


def test_every_pipeline_that_diffusers_chooses_for_text_is_known() -> None:
    chosen = {pipeline.__name__ for pipeline in AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values()}
    assert not FAMILIES.keys() & REFUSED.keys()
    assert chosen <= FAMILIES.keys() | REFUSED.keys(), (
        f"diffusers {diffusers.__version__} has other text-to-image pipelines than 0.42: "
        f"{sorted(chosen - FAMILIES.keys() - REFUSED.keys())}"
    )


def test_every_class_that_is_named_is_one_of_diffusers() -> None:
    assert [name for name in (*FAMILIES, *REFUSED) if not hasattr(diffusers, name)] == []


def test_no_pipeline_for_text_is_forgotten() -> None:
    there = set(list_text_to_image())
    unknown = there - FAMILIES.keys() - REFUSED.keys() - OF_OTHER_KINDS
    assert len(there) > 100 and [name for name in sorted(unknown) if not EDITORS.search(name)] == []


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_gives_its_reason(name: str) -> None:
    with pytest.raises(ModelRefusedError) as raised:
        find_family(name)
    assert str(raised.value) == f"{name!r} is not supported by this version: {REFUSED[name]}"


def test_a_modular_pipeline_is_refused_by_its_name_and_by_its_folder(tmp_path: Path) -> None:
    # FLUX.3 exists in this form alone.
    assert hasattr(diffusers, "Flux3ModularPipeline") and not hasattr(diffusers, "Flux3Pipeline")
    with pytest.raises(ModelRefusedError, match="'Flux3ModularPipeline' is not supported by this version: it is"):
        find_family("Flux3ModularPipeline")
    (tmp_path / "modular_model_index.json").write_text('{"_class_name": "Flux3ModularPipeline"}', encoding="utf-8")
    with pytest.raises(ModelRefusedError, match=r"has no model_index\.json: it is a modular pipeline of diffusers"):
        load_model(str(tmp_path), "cpu")


def test_the_page_lists_every_pipeline() -> None:
    page = refresh_tables.PIPELINES.read_text(encoding="utf-8")
    assert page.endswith(f"| --- | --- |\n{refresh_tables.list_pipelines()}"), "run python examples/refresh_tables.py"
    assert page.count("| `") == len(FAMILIES) + len(REFUSED)


def test_the_guide_says_what_is_inverted() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    for name, family in FAMILIES.items():
        assert f"| `{name}` | {family.inverted} |" in guide
