"""The partial verdict: with chosen numbers, and end to end on a memoriser of pictures that share a part."""

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from imgaudit.decision.deciding_number import find_deciding_number
from imgaudit.decision.forcing import check_forcing
from imgaudit.decision.replication import Evidence
from imgaudit.decision.verdict import decide
from imgaudit.diffusion.elicitation import compare_parts
from imgaudit.diffusion.generation import Generated
from imgaudit.io.captions import CaptionSource
from imgaudit.io.framing import to_tensor
from imgaudit.io.portfolio import read_portfolio
from imgaudit.models import FiniteSetDenoiser, LoadedModel
from imgaudit.report import ReportFormat, render, write_report
from imgaudit.report.wording import PART_NOT_TESTED
from imgaudit.runs import conclusion
from imgaudit.runs.calibration import measure_bank
from imgaudit.runs.conclusion import conclude
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.manifest import make_manifest, open_manifest
from imgaudit.runs.measurement import measure_targets
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.error_checks import NOT_IN_PARTS
from imgaudit.schema.findings import AuditResult, Finding, Verdict
from imgaudit.schema.pairs import Region
from imgaudit.schema.policy import Policy
from imgaudit.schema.records import Legs, Measurement, PartMatch, Rung, RungMeasurement, Skipped
from imgaudit.schema.replication import PartReplication
from imgaudit.similarity.parts import measure_rest_similarity
from tests.support.records import PROTOCOL, bank, measurement

MISS = (0.4, 0.4)


def in_parts(one: Measurement, rung: Rung, geometric: float, photometric: float, hits: int = 8) -> Measurement:
    """The first `hits` replicas of a rung with these legs and an area of 40 %, the others with none."""
    measured = one.rungs[rung]
    assert isinstance(measured, RungMeasurement)
    legs = PartMatch(geometric=geometric, photometric=photometric, area=0.4, rest=0.1)
    nothing = PartMatch(geometric=0.0, photometric=0.0, area=0.0, rest=0.1)
    replicas = [replace(replica, part=legs if n < hits else nothing) for n, replica in enumerate(measured.replicas)]
    return one.model_copy(update={"rungs": one.rungs | {rung: measured.model_copy(update={"replicas": replicas})}})


def controls_in_parts(count: int = 99) -> Any:
    """Controls whose first seed reaches geometric and photometric legs of 0 to 1, and whose others reach nothing."""
    null = bank(count)
    controls = []
    for n, control in enumerate(null.controls):
        legs = Legs(geometric=n / count, photometric=n / count)
        nothing = Legs(geometric=0.0, photometric=0.0)
        seeds = {
            rung: [replace(seed, legs=nothing if m else legs) for m, seed in enumerate(own)]
            for rung, own in control.rungs.items()
        }
        controls.append(control.model_copy(update={"rungs": seeds}))
    return null.model_copy(update={"controls": controls})


def decided(one: Measurement, null: Any) -> Finding:
    [finding] = decide([one], Evidence(null, PROTOCOL, Policy()))
    return finding


def part_of(finding: Finding, rung: Rung) -> PartReplication:
    part = next(one.part for one in finding.replication if one.rung is rung)
    assert isinstance(part, PartReplication)
    return part


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [
        ((0.95, 0.95), Verdict.REPLICATED), ((0.5, 0.97), Verdict.REPLICATED), ((0.95, 0.4), Verdict.REPLICATED),
        ((0.7, 0.7), Verdict.PARTIAL), ((0.3, 0.95), Verdict.PARTIAL), ((None, None), Verdict.PARTIAL),
    ],
)  # fmt: skip
def test_a_moved_mirrored_or_cropped_copy_is_of_the_whole(
    shares: tuple[float | None, float | None], verdict: Verdict
) -> None:
    one = in_parts(measurement("a", 0.5, [MISS] * 8, [MISS] * 8), Rung.CAPTION, 9.0, 9.0)
    measured = one.rungs[Rung.CAPTION]
    assert isinstance(measured, RungMeasurement)
    parts = [PartMatch(**(dict(replica.part) | {"target_share": shares[0], "candidate_share": shares[1]}))
             for replica in measured.replicas if replica.part]  # fmt: skip
    replicas = [replace(replica, part=part) for replica, part in zip(measured.replicas, parts, strict=True)]
    one = one.model_copy(
        update={"rungs": one.rungs | {Rung.CAPTION: measured.model_copy(update={"replicas": replicas})}}
    )
    finding = decided(one, controls_in_parts())
    part = part_of(finding, Rung.CAPTION)
    assert finding.verdict is verdict and part.hits == 8
    assert part.whole == (8 if verdict is Verdict.REPLICATED else 0)
    if verdict is Verdict.REPLICATED:
        assert "8 of 8 generated images show the whole of it, mirrored, moved, cropped" in finding.reason
        deciding = find_deciding_number(finding, 0.05)
        assert deciding.with_controls and not isinstance(deciding.value, Skipped) and deciding.value <= 0.05


def test_a_part_from_the_caption_beyond_the_controls_is_partial() -> None:
    one = in_parts(measurement("a", 0.5, [MISS] * 8, [MISS] * 8), Rung.CAPTION, 9.0, 9.0)
    finding = decided(one, controls_in_parts())
    assert finding.verdict is Verdict.PARTIAL and finding.rung is Rung.CAPTION
    part = part_of(finding, Rung.CAPTION)
    assert (part.hits, part.n, part.p_value, part.q_value) == (8, 8, 0.01, finding.q_value)
    # A control's first seed is beyond the threshold for four of 99 controls, so one of eight of its seeds is.
    assert part.control_rate == pytest.approx(4 / 99 / 8)
    assert "its caption, 8 of 8 generated images contain a part" in finding.reason and "40% of it" in finding.reason


def test_one_leg_alone_is_no_part() -> None:
    for geometric, photometric in ((9.0, 0.0), (0.0, 9.0), (0.5, 0.5)):
        one = in_parts(measurement("a", 0.5, [MISS] * 8, [MISS] * 8), Rung.CAPTION, geometric, photometric)
        finding = decided(one, controls_in_parts())
        assert finding.verdict is Verdict.NOT_REPRODUCED
        assert part_of(finding, Rung.CAPTION).hits == 0


def test_a_part_from_the_embedding_stands_whatever_the_score_says() -> None:
    for score in (3.0, 0.5):
        one = in_parts(measurement("a", score, [MISS] * 8), Rung.EMBEDDING, 9.0, 9.0)
        finding = decided(one, controls_in_parts())
        assert finding.verdict is Verdict.PARTIAL and part_of(finding, Rung.EMBEDDING).stands


def test_a_whole_copy_is_told_before_a_part() -> None:
    one = in_parts(measurement("a", 3.0, [(0.99, 0.05)] * 8, [MISS] * 8), Rung.CAPTION, 9.0, 9.0)
    finding = decided(one, controls_in_parts())
    assert finding.verdict is Verdict.REPLICATED_BY_INVERSION and finding.rung is Rung.EMBEDDING
    assert part_of(finding, Rung.CAPTION).stands


def test_without_comparisons_in_parts_nothing_is_said_of_them() -> None:
    plain = measurement("a", 0.5, [MISS] * 8, [MISS] * 8)
    assert {one.part for one in decided(plain, controls_in_parts()).replication} == {NOT_IN_PARTS}
    one = in_parts(plain, Rung.CAPTION, 9.0, 9.0)
    part = part_of(decided(one, bank(99)), Rung.CAPTION)
    assert isinstance(part.p_value, Skipped) and "calibrate again" in part.p_value.skipped
    assert decided(one, bank(99)).verdict is Verdict.NOT_REPRODUCED
    few = part_of(decided(one, controls_in_parts(9)), Rung.CAPTION)
    assert isinstance(few.thresholds, Skipped) and few.hits == 0 and not few.stands


def test_controls_kept_out_check_the_rule_for_parts() -> None:
    null = controls_in_parts(99)
    closest = [control.model_copy(update={"log_ratio": 9.0}) for control in null.controls[-3:]]
    check = check_forcing(null.model_copy(update={"kept_out": closest}), Policy())
    # One seed of eight beyond the threshold is no more than controls give.
    assert not isinstance(check, Skipped) and check.parts == 0
    seeds = [replace(null.controls[-1].rungs[Rung.EMBEDDING][0], legs=Legs(geometric=5, photometric=5))] * 8
    forced = [closest[0].model_copy(update={"rungs": {Rung.EMBEDDING: seeds}})]
    check = check_forcing(null.model_copy(update={"kept_out": forced}), Policy())
    assert not isinstance(check, Skipped) and check.parts == 1
    check = check_forcing(bank(99).model_copy(update={"kept_out": closest}), Policy())
    assert not isinstance(check, Skipped) and isinstance(check.parts, Skipped)


def shapes(seed: int, side: int = 128) -> Image.Image:
    """Shapes of many colours."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (side, side), tuple(int(value) for value in rng.integers(180, 255, 3)))
    draw = ImageDraw.Draw(image)
    for _ in range(30):
        x, y = rng.uniform(0, side, 2)
        corners = [(x + rng.uniform(0, 45), y + rng.uniform(0, 45)) for _ in range(5)]
        draw.polygon(corners, fill=tuple(int(value) for value in rng.integers(0, 255, 3)), outline=(0, 0, 0))
    return image


def on_template(content: int) -> Image.Image:
    """One layout, whose upper right half changes."""
    image = shapes(0)
    image.paste(shapes(content).crop((0, 0, 80, 80)), (48, 0))
    return image


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, AuditResult]:
    """The model holds two variants of a layout and six other pictures; the target is a third variant."""
    known = [on_template(100), on_template(101), *(shapes(seed) for seed in range(1, 7))]
    points = torch.stack([to_tensor(picture) for picture in known])
    model = LoadedModel(FiniteSetDenoiser(points, sharpness=1e4), "memoriser", "FiniteSetDenoiser", {})
    targets, controls = tmp_path_factory.mktemp("targets"), tmp_path_factory.mktemp("controls")
    for folder, name, picture, caption in [
        (targets, "variant", on_template(102), "0"),
        *((controls, f"control-{n}", shapes(200 + n), str(n % 8)) for n in range(20)),
    ]:
        picture.save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(caption)
    options: dict[str, Any] = {
        "effort": "quick",
        "steps": 2,
        "seeds": 2,
        "draws": 2,
        "framing": "pad",
        "num_inference_steps": 6,
    }
    config = AuditConfig.model_validate(options | {"score_after": 2})
    null = measure_bank(
        tmp_path_factory.mktemp("work"), read_portfolio(controls, CaptionSource(controls)), model, config, note="unseen"
    )
    run = RunFolder(tmp_path_factory.mktemp("run"))
    portfolio = read_portfolio(targets, CaptionSource(targets))
    with run.lock():
        open_manifest(run.path, make_manifest(["imgaudit"], config, {}, model, portfolio))
        null.write(run.calibration_path)
        assert len(list(measure_targets(run, portfolio, model, config))) == 1
        result = conclude(run)
        write_report(run, result)
    return run, result


def untested(part: PartReplication | Skipped) -> PartReplication | Skipped:
    """The same comparison in parts, as one that is not beyond the controls."""
    return part if isinstance(part, Skipped) else part.model_copy(update={"stands": False})


@pytest.mark.slow
def test_a_memoriser_of_a_layout_returns_a_part_of_its_variants(audited: tuple[RunFolder, AuditResult]) -> None:
    run, result = audited
    found = {Path(finding.path).stem: finding for finding in result.findings}
    part = found["variant"].part
    assert found["variant"].verdict is Verdict.PARTIAL and part is not None and part.rung is Rung.CAPTION
    truth = np.ones((128, 128), dtype=bool)
    truth[:80, 48:] = False
    assert part.pair.region.overlap(Region.of(truth)) > 0.7
    assert (run.path / "report" / "images" / f"{found['variant'].id}-part-target.png").is_file()
    row = next(
        line for line in csv.DictReader(io.StringIO(render(result, ReportFormat.CSV))) if "variant" in line["file"]
    )
    assert (row["part_rung"], row["part_hits"], row["verdict"]) == ("caption", "2", "partial")
    page = (run.path / "report" / f"{found['variant'].id}.html").read_text()
    assert "Which part of the image was returned" in page and "Partly replicated" in page
    assert PART_NOT_TESTED not in page
    # Where only the copy descriptor tells the copy, the page says that this is where both agree most.
    told = [
        one.model_copy(update={"stands": True, "at_least_a_part": True, "part": untested(one.part)})
        for one in found["variant"].replication
    ]
    located = conclusion._locate_part(run, found["variant"].model_copy(update={"replication": told}))
    assert located == part.model_copy(update={"is_tested": False})
    changed = [one.model_copy(update={"part": located}) if one.part else one for one in result.findings]
    write_report(run, result.model_copy(update={"findings": changed}))
    assert PART_NOT_TESTED in (run.path / "report" / f"{found['variant'].id}.html").read_text()
    # The picture behind it was deleted: the page says so, and a conclusion made anew takes the image as damaged.
    (run.path / part.path).unlink()
    write_report(run, result)
    assert "can no longer be read" in (run.path / "report" / f"{found['variant'].id}.html").read_text()


def test_a_copy_that_a_part_explains_is_partial_and_another_is_not() -> None:
    copies = measurement("a", 0.5, [MISS] * 8, [(0.95, 0.05)] * 8)
    for rest, verdict in ((0.1, Verdict.PARTIAL), (0.95, Verdict.REPLICATED)):
        one = in_parts(copies, Rung.CAPTION, 9.0, 9.0)
        measured = one.rungs[Rung.CAPTION]
        assert isinstance(measured, RungMeasurement)
        replicas = [
            replace(replica, part=replica.part and replica.part.model_copy(update={"rest": rest}))
            for replica in measured.replicas
        ]
        changed = measured.model_copy(update={"replicas": replicas})
        finding = decided(one.model_copy(update={"rungs": one.rungs | {Rung.CAPTION: changed}}), controls_in_parts())
        assert finding.verdict is verdict
        assert finding.replication[0].stands and finding.replication[0].whole_stands is (verdict is Verdict.REPLICATED)
    # A copy without a match in parts is explained by none.
    [finding] = decide(
        [in_parts(copies, Rung.CAPTION, 9.0, 9.0, hits=7)], Evidence(controls_in_parts(), PROTOCOL, Policy())
    )
    assert finding.verdict is Verdict.REPLICATED


def test_the_rest_is_alike_or_not_and_flat_rest_says_nothing() -> None:
    left = np.zeros((64, 64), dtype=bool)
    left[:, :32] = True
    region = Region.of(left)
    own, other = to_tensor(shapes(1)), to_tensor(shapes(2))
    same = measure_rest_similarity(own, own, region)
    assert not isinstance(same, Skipped) and same == pytest.approx(1, abs=1e-4)
    unlike = measure_rest_similarity(own, torch.cat([own[..., :64], other[..., 64:]], dim=-1), region)
    assert not isinstance(unlike, Skipped) and unlike < 0.5
    blank = torch.cat([own[..., :64], torch.ones(3, 128, 64)], dim=-1)
    assert isinstance(measure_rest_similarity(blank, own, region), Skipped)
    assert isinstance(measure_rest_similarity(own, own, Region.of(np.ones((64, 64), dtype=bool))), Skipped)


def test_parts_are_the_same_on_any_number_of_threads() -> None:
    reference = to_tensor(on_template(102))
    frames = [Generated(n, 1.0, to_tensor(on_template(100 + n)), None) for n in range(6)]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = compare_parts(frames, reference)
        torch.set_num_threads(4)
        assert compare_parts(frames, reference) == alone
    finally:
        torch.set_num_threads(before)
    assert all(part is not None and part.area > 0.3 for part in alone)
    assert compare_parts(frames, reference[:, :64, :64]) == [None] * 6
