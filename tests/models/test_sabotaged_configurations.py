"""One changed number in the bundled model's configuration: which check fails, and what an image's verdict becomes."""

from pathlib import Path

import pytest

from imgaudit.decision.replication import Evidence
from imgaudit.decision.verdict import decide
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.model_checks import CheckImages, CheckPlan, check_model
from imgaudit.models import load_model
from imgaudit.models.architecture import check_architecture
from imgaudit.schema.findings import Verdict
from imgaudit.schema.model_checks import ModelCheck
from imgaudit.schema.policy import Policy
from tests.support.records import PROTOCOL, bank, measurement
from tests.support.sabotage import SABOTAGED, demo_images, sabotage_demo


def checked(model: str, images: CheckImages | None = None) -> list[ModelCheck]:
    denoiser = load_model(model, "cpu").denoiser
    found = check_architecture(denoiser)
    plan = CheckPlan(20, 0, found.other_sides, found.few_steps)
    return [*found.checks, *check_model(denoiser, images or demo_images(), plan, Executor(64))]


@pytest.mark.parametrize("name", SABOTAGED)
def test_a_sabotaged_configuration_fails_its_check_and_leaves_no_negative(name: str, tmp_path: Path) -> None:
    checks = checked(str(sabotage_demo(tmp_path / "model", name)))
    assert SABOTAGED[name][1] in {check.name for check in checks if not check.passed}
    missed = measurement("missed", 0.1, [(0.4, 0.4)] * 8)
    [finding] = decide([missed], Evidence(bank(199), PROTOCOL, Policy(), model_checks=checks))
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert next(check.sentence for check in checks if not check.passed) in finding.reason


@pytest.mark.parametrize("folder", ["controls", "portfolio"])
def test_the_bundled_model_passes(folder: str) -> None:
    assert [check for check in checked("demo", demo_images(folder)) if not check.passed] == []


@pytest.mark.parametrize("lab", ["v", "flow"])
def test_labs_that_no_threshold_was_set_on_pass(lab: str) -> None:
    model = Path(__file__).parents[2] / "examples" / "labs" / lab / "model"
    assert [check for check in checked(str(model)) if not check.passed] == []
