import pytest
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.cli.options import ConfigOptions
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.protocol import Search


def test_every_key_of_the_configuration_is_an_option() -> None:
    assert set(ConfigOptions.__dataclass_fields__) == set(AuditConfig.model_fields)


def test_what_was_given_overrules_also_when_it_is_nothing() -> None:
    assert ConfigOptions().config_values() == {}
    assert ConfigOptions(seed=0, rungs=[]).config_values() == {"seed": 0}
    config, sources = ConfigOptions(guidance_scales=[1.0, 3.0], offline=True).resolve()
    assert config.guidance_scales == (1.0, 3.0) and config.offline
    assert sources["offline"] == "command line" and sources["seed"] == "default"


@pytest.mark.usefixtures("any_path")
def test_the_search_behind_a_score_is_an_option() -> None:
    assert ConfigOptions().resolve()[0].protocol.span is not None
    config, sources = ConfigOptions(search=Search.INVERSION).resolve()
    assert config.protocol.span is None and sources["search"] == "command line"
    refused = CliRunner().invoke(app, ["audit", "nowhere", "--model", "nowhere", "--search", "words"])
    assert refused.exit_code == 2 and "texts" in refused.output and "inversion" in refused.output


@pytest.mark.usefixtures("any_path")
@pytest.mark.parametrize(
    "command",
    [["detect", "p.txt"], ["triggers"], ["mitigate", "locate", "p.txt"], ["dial", "run"]],
)
def test_a_batch_holds_at_least_one(command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--model", "nowhere", "--batch-size", "0"])
    assert result.exit_code == 2 and ("--batch-size" in result.output)
