"""Charts as files: well-formed, described, the same bytes each time, and right about where things lie."""

import re
from xml.etree import ElementTree

import pytest

from imgaudit.report.audit.charts import Charts
from imgaudit.report.svg import LEFT, RIGHT, document, horizontal, legend, vertical
from imgaudit.schema.records import ErrorCurvePoint, ErrorMeasurement
from tests.support.records import bank, curve

SVG = "{http://www.w3.org/2000/svg}"


def read(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def marked(text: str, kind: str) -> float:
    """Where the vertical line of a kind stands."""
    found = re.search(rf'class="line line-{kind}" d="M([0-9.]+) ', text)
    assert found is not None, kind
    return float(found[1])


@pytest.fixture(scope="module")
def charts() -> Charts:
    return Charts(bank(199), 0.05)


def test_every_chart_is_described_and_has_no_script(charts: Charts) -> None:
    for text in (charts.null_distribution(0.5), charts.error_curve(curve(0.3)), charts.overview([0.1, 1.5])):
        root = read(text)
        assert root.find(f"{SVG}title") is not None and root.find(f"{SVG}desc") is not None
        assert root.get("role") == "img" and root.find(f".//{SVG}script") is None
        assert "prefers-color-scheme:dark" in text
        assert len(root.findall(f"{SVG}text")) > 8


def test_the_same_run_gives_the_same_bytes(charts: Charts) -> None:
    again = Charts(bank(199), 0.05)
    for score in (0.5, 3.0, 0.5):
        assert charts.null_distribution(score) == again.null_distribution(score)
    assert charts.error_curve(curve(0.3)) == again.error_curve(curve(0.3))


def test_an_image_stands_right_of_the_level_exactly_when_it_passes(charts: Charts) -> None:
    # Controls have 0, 1/199, ...: at most nine of 199 may exceed at 5 %.
    high, low = charts.null_distribution(0.96), charts.null_distribution(0.94)
    assert marked(high, "target") > marked(high, "level") and marked(low, "target") < marked(low, "level")
    assert "7 of 199 controls that count reach it or more" in high


def test_a_score_beyond_the_controls_widens_the_axis(charts: Charts) -> None:
    inside, beyond = charts.null_distribution(0.5), charts.null_distribution(4.0)
    assert marked(beyond, "target") == pytest.approx(RIGHT, abs=0.1)
    assert marked(beyond, "level") < marked(inside, "level")


def test_too_few_controls_have_no_level() -> None:
    text = Charts(bank(9), 0.05).null_distribution(0.5)
    assert "line-level" not in read(text).findall(f"{SVG}path")[-1].get("class", "")
    assert "p = 0.05" not in text and "allow no p-value" in text


def test_an_error_curve_without_controls_or_points_is_still_a_chart() -> None:
    nothing = ErrorMeasurement(conditional=1.0, null=1.0, log_ratio=0.0, win_rate=0.5, draws=2, by_timestep=[])
    impossible = ErrorCurvePoint(timestep=5.0, conditional=0.0, null=0.0, draws=1)
    for error in (nothing, nothing.model_copy(update={"by_timestep": [impossible]}), curve(0.2)):
        assert read(Charts(None, 0.05).error_curve(error)).find(f"{SVG}title") is not None


def test_text_from_outside_is_text() -> None:
    hostile = "</text><script>alert(1)</script>&\"'"
    root = read(document(hostile, hostile, [legend([("control", hostile)])]))
    assert root.find(f".//{SVG}script") is None
    assert [element.text for element in root.iter(f"{SVG}text")] == [hostile]


def test_scales_hold_for_ranges_without_width() -> None:
    for scale in (horizontal(3.0, 3.0), vertical(0.0, 0.0), horizontal(1e9, 1e9 + 1e-9)):
        assert scale.high > scale.low and scale.ticks()
    assert horizontal(-1.0, 1.0)(-1.0) == LEFT
