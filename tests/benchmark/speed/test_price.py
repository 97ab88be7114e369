"""Prices of large audits: in proportion to what is counted and assumed, and as a formula says."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from imgaudit.benchmark.settings import PriceSettings
from imgaudit.benchmark.speed.operations import ModelOperations, OperationTable
from imgaudit.benchmark.speed.price import AuditPrice, format_prices, price_audits
from imgaudit.cli import app
from imgaudit.exceptions import InputError
from imgaudit.schema.protocol import Effort
from tests.support.wrapping import unwrap

TABLE = Path(__file__).parent.parent.parent.parent / "examples" / "price.json"

MODEL = ModelOperations(
    name="own", resolution=512, prediction_type="epsilon", passes_per_step=2, has_words=True, forward=100, backward=250,
    decode=1000, encode=500,
)  # fmt: skip


def price(model: ModelOperations = MODEL, **settings: object) -> list[AuditPrice]:
    given = PriceSettings.model_validate({"images": 10, "controls": 0, "effort": Effort.QUICK, **settings})
    return price_audits(OperationTable(versions={}, models=[model]), given).prices


def test_operations_are_those_of_the_protocol_times_those_of_a_pass() -> None:
    whole, funnelled = price()
    # 25 steps x 8 draws; 64 draws under three conditions; two rungs of 8 images in 20 steps of two passes.
    frames = 2 * 8
    forward = 3 * 64 + frames * 20 * 2
    assert whole.evaluations == 2 * 25 * 8 + forward
    each = 25 * 8 * 250 + forward * 100 + frames * 1000 + 1500
    assert whole.operations == 10 * each
    scored = 8 * 8 * 250 + 3 * 64 * 100 + 1500
    # A first look after 2 of 8 steps, on 16 draws under three conditions; what goes on measures 16 of them again.
    look, added = 2 * 8 * 250 + 3 * 16 * 100 + 1500, 16 * 100
    expected = 0.75 * look + 0.2 * (scored + added) + 0.05 * (each + added)
    assert funnelled.operations == pytest.approx(10 * expected)
    assert price(controls=5)[1].operations == pytest.approx(funnelled.operations + 5 * (each + added))
    without = price(no_captions=True)[0]
    assert without.evaluations == 2 * 25 * 8 + 2 * 64 + 8 * 20 * 2
    distilled = price(MODEL.model_copy(update={"passes_per_step": 1}))[0]
    assert whole.evaluations - distilled.evaluations == frames * 20


def test_hours_are_operations_over_what_a_gpu_makes_of_its_peak() -> None:
    one = AuditPrice(model="own", funnel=None, evaluations=1, operations=3600e12)
    assert one.hours(1, 1.0) == 1.0 and one.hours(2, 0.25) == 2.0


def test_a_price_is_printed_where_an_hour_has_one() -> None:
    table = OperationTable(versions={"torch": "2"}, models=[MODEL])
    for hour, said in ((None, False), (2.0, True)):
        settings = PriceSettings(price_gpu_hour=hour)
        text = "\n".join(format_prices(price_audits(table, settings), settings))
        assert ("price" in text) is said and ("at 2 an hour" in unwrap(text)) is said
        assert "20% to 50%" in text and max(map(len, text.splitlines())) <= 80


def test_the_committed_table_is_priced_and_others_are_refused() -> None:
    command = ["benchmark", "price", "--table", str(TABLE), "--only", "FLUX.1 dev", "--quiet"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0 and "FLUX.1 dev" in result.stdout and "Stable" not in result.stdout
    with pytest.raises(InputError, match="is not in the table; it has Stable Diffusion"):
        price_audits(OperationTable.read(TABLE), PriceSettings(only=["SD"]))
    with pytest.raises(InputError, match="least-utilisation"):
        price(least_utilisation=0.6)


@pytest.mark.slow
def test_counting_again_gives_the_committed_table(tmp_path: Path) -> None:
    name, saved = "Stable Diffusion 1.5", tmp_path / "price.json"
    result = CliRunner().invoke(app, ["benchmark", "price", "--only", name, "--quiet", "--save", str(saved)])
    assert result.exit_code == 0
    again, committed = OperationTable.read(saved), OperationTable.read(TABLE)
    assert again.models == [one for one in committed.models if one.name == name]
