"""What an audit will cost: work counted, passes measured, batches chosen by what is free."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from typer.testing import CliRunner

from imgaudit.api import read_portfolio
from imgaudit.cli import app
from imgaudit.cli.cost import MeasuredCost, _print_evaluations, _time_lines, _timing_lines
from imgaudit.cli.dry_run import Plan, print_plan
from imgaudit.cli.pace import format_duration
from imgaudit.diffusion.memory import measure_peak_bytes
from imgaudit.diffusion.passes import Passes
from imgaudit.exceptions import ConfigError
from imgaudit.io.portfolio import Portfolio
from imgaudit.models.families.unet import UNetDenoiser
from imgaudit.models.loading import load_model
from imgaudit.runs import cost
from imgaudit.runs.busyness import Busyness
from imgaudit.runs.cost import (
    Cost,
    Memory,
    Seconds,
    automatic_batch,
    estimate_cost,
    measure_memory,
    measured_batch,
    resolve_batch_size,
)
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.work import Work, added_look_work, expected_work
from imgaudit.schema.config import AuditConfig, resolve_config
from imgaudit.schema.funnel import FirstLookConfig
from imgaudit.schema.policy import Policy
from imgaudit.schema.protocol import Effort, GenerationConfig, Protocol, protocol_for
from imgaudit.similarity.matcher import Matcher
from tests.conftest import make_pipeline, tiny_recipe
from tests.support.wrapping import unwrap

PROTOCOL = protocol_for(Effort.QUICK)


@pytest.fixture(scope="module")
def denoiser() -> UNetDenoiser:
    return UNetDenoiser(make_pipeline(tiny_recipe()), "fingerprint")


PLAN = Plan(AuditConfig(), AuditConfig().policy, Portfolio([], []), None, 0)


def _measured(found: Cost) -> MeasuredCost:
    return MeasuredCost(found, None, 1.0, [expected_work(PROTOCOL, 1)])  # type: ignore[arg-type]


def memory(backward: int, decode: int = 0) -> Memory:
    each = {"backward": backward, "forward": 1, "decode": decode, "encode": 1}
    return Memory(one=each, more=each)


def test_work_adds_up_and_counts_what_the_protocol_asks_for() -> None:
    searched = expected_work(PROTOCOL, 2)
    assert searched == expected_work(PROTOCOL, 2, prediction_type="flow") and searched.backward == 200 + 128
    work = expected_work(PROTOCOL, 2, prediction_type="epsilon")
    assert work == Work(backward=200, forward=128, guided_steps=2 * 8 * 20, frames=16, images=1)
    assert (work + work).evaluations == 2 * work.evaluations == 2 * (400 + 128 + 640)
    several = Protocol(
        generation=GenerationConfig(seeds=10, selection_seeds=2, guidance_scales=(1.0, 3.0), num_inference_steps=5)
    )
    assert expected_work(several, 1).plain_steps == 2 * 5 and expected_work(several, 1).guided_steps == (2 + 8) * 5


def test_memory_grows_with_the_batch_as_it_was_extrapolated(denoiser: UNetDenoiser) -> None:
    passes = Passes(denoiser)
    measured = measure_memory(passes)
    for stage in cost.STAGES:
        counted = measure_peak_bytes(lambda stage=stage: getattr(passes, stage)(16), passes.device)  # type: ignore[misc]
        assert measured.of(stage, 16) == pytest.approx(counted, rel=0.02)
    assert measured == measure_memory(passes), "counted bytes are the same every time"
    assert measured.of("backward", 1) > measured.of("forward", 1)


@pytest.mark.parametrize(
    ("each", "free", "batch"),
    [(1, 2**30, 64), (2**20, 81 * 2**20, 64), (2**20, 79 * 2**20, 32), (2**20, 3 * 2**20, 2), (2**30, 2**20, 1)],
)
def test_an_automatic_batch_is_the_largest_power_of_two_that_fits(each: int, free: int, batch: int) -> None:
    assert automatic_batch(memory(each), PROTOCOL, chunk_size=8, free=free) == batch


def test_decoding_counts_half_a_batch_under_guidance_and_at_least_a_chunk() -> None:
    plain = Protocol(generation=GenerationConfig(guidance_scales=(1.0,)))
    assert memory(0, decode=10).peak(PROTOCOL, chunk_size=8, batch_size=64) == (320, "decode")
    assert memory(0, decode=10).peak(plain, chunk_size=8, batch_size=64) == (640, "decode")
    assert memory(0, decode=10).peak(PROTOCOL, chunk_size=8, batch_size=8) == (80, "decode")
    assert memory(5).peak(PROTOCOL, chunk_size=2, batch_size=64) == (80, "backward")


def test_a_batch_follows_free_memory_and_gradients_are_checkpointed_where_one_sample_does_not_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = UNetDenoiser(make_pipeline(tiny_recipe()), "fingerprint")
    assert measured_batch(own, PROTOCOL, chunk_size=8) == 64
    needed = measure_memory(Passes(own)).of("backward", 1)
    # How much checkpointing spares on a network this small differs between versions of torch.
    for free, batches, sparing in ((needed * 11, {8}, False), (needed - 1, {1, 2}, True)):
        monkeypatch.setattr(cost, "measure_free_bytes", lambda device, free=free: free)
        assert measured_batch(own, PROTOCOL, chunk_size=8) in batches
        assert own.network.is_gradient_checkpointing is sparing


def test_a_model_that_runs_out_of_memory_when_measured_gets_one_sample_at_a_time(
    denoiser: UNetDenoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(passes: Passes) -> Memory:
        raise torch.OutOfMemoryError("simulated")

    monkeypatch.setattr(cost, "measure_memory", full)
    assert measured_batch(denoiser, PROTOCOL, chunk_size=8) == 1


def test_an_estimate_is_what_its_parts_say(denoiser: UNetDenoiser) -> None:
    works = [expected_work(PROTOCOL, 1), expected_work(PROTOCOL, 2)]
    found = estimate_cost(denoiser, PROTOCOL, works, Matcher(), chunk_size=8, batch_size="auto")
    assert found.batch_size == 64 and found.device == "cpu"
    assert found.total_seconds == pytest.approx(sum(found.seconds.of(work) for work in works))
    assert min(found.seconds.backward, found.seconds.forward, found.seconds.frame) > 0
    # A step is the difference of two measurements, which is nothing on a machine that is busy with other work.
    assert found.seconds.plain_step == 0 <= found.seconds.guided_step
    assert found.waiting == 2 * 16 * 3 * denoiser.resolution**2 * 4
    assert found.peak_bytes == found.held + found.tensors + found.waiting


def test_the_batch_is_recorded_as_a_number_and_kept_when_a_run_is_continued(
    model_folder: Path, make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = ["audit", str(make_folder("portfolio", [1])), "--model", str(model_folder), "--out", str(run)]
    fast = [
        "--steps",
        "1",
        "--draws",
        "1",
        "--seeds",
        "1",
        "--num-inference-steps",
        "1",
        "--device",
        "cpu",
        "-q",
        "--no-controls",
    ]
    assert CliRunner().invoke(app, [*command, *fast]).exit_code == 3
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["config"]["batch_size"] == {"value": 64, "source": "free memory"}
    manifest["config"]["batch_size"]["value"] = 4
    (run / "manifest.json").write_text(json.dumps(manifest))
    loaded = load_model(str(model_folder), "cpu")
    config, sources, _ = resolve_batch_size(AuditConfig(), {"batch_size": "default"}, loaded, RunFolder(run))
    assert config.batch_size == 4 and sources["batch_size"] == "the run"
    asked, *_ = resolve_batch_size(AuditConfig(batch_size=7), {}, loaded, RunFolder(run))
    assert asked.batch_size == asked.largest_batch == 7


def test_a_batch_is_auto_or_a_whole_number(tmp_path: Path) -> None:
    assert AuditConfig().batch_size == "auto" and AuditConfig().largest_batch == 64
    for value, expected in (("32", 32), ("auto", "auto"), (1, 1)):
        assert resolve_config({"batch_size": value}, {}, tmp_path)[0].batch_size == expected
    for wrong in ("0", "many", 1.5, 65_537, "-1"):
        with pytest.raises(ConfigError, match=r"batch_size.*expected auto, or a whole number from 1 to 65,536"):
            resolve_config({"batch_size": wrong}, {}, tmp_path)


def test_a_dry_run_prints_time_and_memory_with_what_they_rest_on(
    model_folder: Path, make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["audit", str(make_folder("portfolio", range(2))), "--effort", "quick", "--dry-run", "-q", "--model"]
    plan = CliRunner().invoke(app, [*command, str(model_folder), "--device", "cpu"])
    assert plan.exit_code == 0, plan.output
    shown = " ".join(plan.stdout.split())
    for part in (
        "2 files: 2 images to audit", "Time: about", "for 2 images, on cpu", "images an hour. Loading the model",
        "up to 64 images at once (a batch). It was timed on", "of main memory, with 64 images at once",
        "caption: the image's own caption",
    ):  # fmt: skip
        assert part in shown, part
    assert max(map(len, plan.stdout.splitlines())) <= 80, plan.stdout
    assert "flow" not in shown, "the model is known, so nothing is said of other kinds"
    absent = CliRunner().invoke(app, [*command, "nobody/nothing"])
    assert absent.exit_code == 0 and "not measured, because the model would have to be fetched" in " ".join(
        absent.stdout.split()
    )
    assert "Of them 256 for each image are needed only" in " ".join(absent.stdout.split())
    single = CliRunner().invoke(app, ["audit", str(make_folder("one", [5])), "--dry-run", "--model", "nobody/nothing"])
    assert "1 file: images to audit: 1, 0 would be skipped." in single.stdout
    refused = CliRunner().invoke(app, [*command, str(model_folder.parent / "none")])
    assert refused.exit_code != 0


def test_times_that_contradict_each_other_are_measured_once_more_and_then_said(
    denoiser: UNetDenoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = Seconds(batch=1, backward=3.0, forward=1.0, plain_step=0.0, guided_step=2.0, frame=1.0, image=1.0)
    busy = replace(quiet, forward=4.0)
    assert busy.is_contradictory and not quiet.is_contradictory and replace(quiet, guided_step=0.9).is_contradictory
    slow = replace(quiet, backward=9.0)
    for measured, count, contradictory in (
        ([quiet] * 3, 3, False), ([busy, *[quiet] * 5], 6, False), ([quiet, quiet, slow, *[quiet] * 3], 6, False),
        ([busy] * 6, 6, True),
    ):  # fmt: skip
        left, seen = list(measured), list[tuple[int, int]]()
        monkeypatch.setattr(cost, "measure_seconds", lambda *given, left=left, **named: left.pop(0))
        found = estimate_cost(
            denoiser, PROTOCOL, [expected_work(PROTOCOL, 1)], Matcher(), chunk_size=1, batch_size=1,
            on_progress=lambda done, total, seen=seen: seen.append((done, total)),
        )  # fmt: skip
        assert len(measured) - len(left) == count and found.is_contradictory is contradictory
        assert seen[-1] == (count + 1, count + 1) and found.least_seconds <= found.total_seconds <= found.most_seconds
        assert any("contradict" in line for line in _time_lines(_measured(found), PLAN)) is contradictory
        shown = list(_timing_lines(found))
        assert any(" ms" in line for line in shown) is not contradictory
        assert any("is not shown" in line for line in shown) is contradictory


def test_a_range_covers_all_that_was_measured_and_a_busy_machine_is_told(
    denoiser: UNetDenoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Seconds(batch=1, backward=3.0, forward=1.0, plain_step=0.0, guided_step=2.0, frame=1.0, image=1.0)
    measured = [first, replace(first, backward=3.5), replace(first, forward=1.2)]
    monkeypatch.setattr(cost, "measure_seconds", lambda *given, **named: measured.pop())
    work = expected_work(PROTOCOL, 1)
    found = estimate_cost(denoiser, PROTOCOL, [work], Matcher(), chunk_size=1, batch_size=1)
    found = replace(found, busyness=Busyness(0.5, 2))
    assert found.most_seconds == pytest.approx(replace(first, backward=3.5, forward=1.2).of(work))
    assert found.least_seconds <= first.of(work) + 1e-6
    assert not any("Warning" in line for line in _time_lines(_measured(found), PLAN))
    for busy, said in (
        (Busyness(7.5, 2), "7.5 programs on average wanted its 2 processors"), (Busyness(None, 1, 0.3), "for 30% of"),
    ):  # fmt: skip
        lines = " ".join(_time_lines(_measured(replace(found, busyness=busy)), PLAN))
        assert said in lines and "Measure again when the machine is quiet" in lines
        assert re.search(r"That is [\d,]+ to [\d,]+ images an hour", lines), "a range, as the time has one"


def test_a_long_audit_is_offered_a_smaller_budget(denoiser: UNetDenoiser, monkeypatch: pytest.MonkeyPatch) -> None:
    each = Seconds(batch=1, backward=3.0, forward=1.0, plain_step=0.0, guided_step=2.0, frame=1.0, image=1.0)
    monkeypatch.setattr(cost, "measure_seconds", lambda *given, **named: each)
    found = estimate_cost(denoiser, PROTOCOL, [expected_work(PROTOCOL, 1)], Matcher(), chunk_size=1, batch_size=1)
    quick = replace(PLAN, config=AuditConfig(effort=Effort.QUICK))
    for limit, plan, said in ((found.most_seconds, PLAN, False), (1, PLAN, True), (1, quick, False)):
        monkeypatch.setattr("imgaudit.cli.cost.LONG", limit)
        assert any("--effort quick takes less" in line for line in _time_lines(_measured(found), plan)) is said


def test_it_is_said_why_a_control_takes_more_than_an_image(
    make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    begin = r"A control takes at most ([\d,]+), an image to audit at most ([\d,]+)"
    bare, captioned = read_portfolio(make_folder("bare", [1], False)), read_portfolio(make_folder("captioned", [2, 3]))
    for mine, controls, said in (
        (bare, captioned, f"{begin}: only controls have a caption"),
        (captioned, bare, f"{begin}: only images to audit have a caption"),
        (bare, bare, f"{begin}: controls get a first look, a short score"),
    ):
        _print_evaluations(plan := Plan(AuditConfig(), AuditConfig().policy, mine, controls, 2), plan.works(), None)
        shown = unwrap(capsys.readouterr().out)
        found = re.search(said, shown)
        assert found, shown
        control, image = (int(number.replace(",", "")) for number in found.groups())
        assert control == plan.control_works()[0].evaluations != image == plan.target_works()[0].evaluations


def test_rules_that_are_not_the_built_in_ones_are_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    changed = Policy(legs="either", near_duplicates="separate", level=0.1)
    print_plan(replace(PLAN, policy=changed))
    shown = unwrap(capsys.readouterr().out)
    assert (
        "Verdicts follow the built-in rules, except that near copies among the images count one by one; copies are "
        "told by pixels or by the copy descriptor. The level is 0.1: of the images" in shown
    )
    assert "at most 10 % are expected to be false alarms" in shown
    print_plan(PLAN)
    assert "Verdicts follow the built-in rules. The level" in unwrap(capsys.readouterr().out)


def test_controls_that_would_be_skipped_are_named(
    make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    mine, folder = read_portfolio(make_folder("mine", [1])), make_folder("controls", [2, 3])
    Image.new("RGB", (24, 24), "red").save(folder / "plain.png")
    print_plan(Plan(AuditConfig(), AuditConfig().policy, mine, read_portfolio(folder), 2))
    shown = unwrap(capsys.readouterr().out)
    assert (
        "2 control images would be measured first, in the same way as the images to audit; 1 more file would be"
        in shown
    )
    assert "plain.png: the file is a single colour" in shown and shown.count("expected to be false alarms") == 1


def test_a_plan_says_where_captions_were_found(
    make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_folder("mine", [1, 2, 3], captions=False)
    one, two = sorted(folder.glob("*.png"))[:2]
    one.with_suffix(".txt").write_text("a fox")
    note = PngInfo()
    note.add_text("Description", "a red fox")
    with Image.open(two) as image:
        image.save(two, pnginfo=note)
    print_plan(replace(PLAN, portfolio=read_portfolio(folder)))
    shown = unwrap(capsys.readouterr().out)
    assert "possible for 2 of 3 images (1 from the sidecar file, 1 from the image's own PNG text)" in shown or (
        "possible for 2 of 3 images (1 from the image's own PNG text, 1 from the sidecar file)" in shown
    )


def test_controls_are_counted_with_their_own_texts(make_folder: Callable[..., Path]) -> None:
    mine, controls = read_portfolio(make_folder("mine", [1])), read_portfolio(make_folder("controls", [2, 3]))
    plan = Plan(AuditConfig(), AuditConfig().policy, mine, controls, 2)
    # A control costs what an image with the same texts costs, and a first look.
    looked = plan.works()[0] + added_look_work(AuditConfig().protocol, FirstLookConfig())
    assert plan.control_works() == 2 * [looked]


@pytest.mark.parametrize(
    ("captioned", "said"),
    [
        (0, "Captions: 1 of 1 image and 0 of 4 controls have one. Captions are compared only if at least half of"),
        (1, "Captions: 1 of 1 image and 1 of 4 controls have one. Captions are compared only if at least half of"),
        (2, "2 of 4 controls have one. The controls without one are left out where captions are compared."),
        (4, "Captions: 1 of 1 image and 4 of 4 controls have one.\n"),
    ],
)
def test_a_plan_says_whether_captions_can_be_compared(
    make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str], captioned: int, said: str
) -> None:
    mine, folder = make_folder("mine", [1], False), make_folder("controls", range(2, 6), False)
    for path in (*mine.glob("*.png"), *sorted(folder.glob("*.png"))[:captioned]):
        path.with_suffix(".txt").write_text("a red square")
    print_plan(Plan(AuditConfig(), AuditConfig().policy, read_portfolio(mine), read_portfolio(folder), 4))
    shown = capsys.readouterr().out
    assert said.strip() in " ".join(shown.split()) and max(map(len, shown.splitlines())) <= 80
    bare = Plan(AuditConfig(), AuditConfig().policy, read_portfolio(folder), None, 0)
    print_plan(bare)
    assert "Captions: " not in capsys.readouterr().out


def test_durations_have_two_units() -> None:
    assert [format_duration(seconds) for seconds in (0.2, 59, 61, 3600)] == ["1 s", "59 s", "1 min 1 s", "1 h 0 min"]
