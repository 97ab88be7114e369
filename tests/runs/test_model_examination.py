"""What `imgaudit doctor --model` says of a model."""

import json
import shutil
from pathlib import Path

from imgaudit.runs.model_examination import NOTHING, examine_model
from tests.support.commands import Commands


def told(checks: list[dict[str, str]]) -> dict[str, str]:
    return {check["name"]: check["detail"] for check in checks}


def test_the_demo_is_described_in_words() -> None:
    found = told([check.model_dump() for check in examine_model("demo")])
    assert found["family"] == "Stable Diffusion 1.x and 2.x (StableDiffusionPipeline)"
    assert found["inverted"] == "the text encoder's states" and found["refused"] == NOTHING
    assert found["predicts"].startswith("the noise (epsilon)") and "an inversion" in found["predicts"]
    assert found["baseline"].startswith("the null condition") and "two passes a step" in found["guidance"]
    assert found["images"].startswith("32 x 32 pixels") and "DDIMScheduler" in found["sampler"]


def test_a_model_that_cannot_be_audited_ends_in_an_error(
    model_folder: Path, tmp_path: Path, run_imgaudit: Commands
) -> None:
    folder = Path(shutil.copytree(model_folder, tmp_path / "model"))
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "WanPipeline"}), encoding="utf-8")
    done = run_imgaudit("doctor", "--model", str(folder), "--json")
    [check] = json.loads(done.stdout)
    assert done.code == 2 and check["state"] == "failed"
    assert check["name"] == "refused" and "'WanPipeline' is not supported by this version" in check["detail"]


def test_lines_fit_the_terminal(run_imgaudit: Commands) -> None:
    done = run_imgaudit("doctor", "--model", "demo")
    assert done.code == 0 and max(map(len, done.stdout.splitlines())) <= 80
