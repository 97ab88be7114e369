"""The speed of audits beside bare networks: every pass is counted and made again, every second has a stage."""

from pathlib import Path

import pytest
import torch

from imgaudit.benchmark.settings import SpeedSettings
from imgaudit.benchmark.speed import bare_audit
from imgaudit.benchmark.speed.audit_stages import SpeedReport, Stage, _open, format_speed, measure_speed
from imgaudit.benchmark.speed.bare_audit import open_published
from imgaudit.benchmark.speed.network_calls import Call, NetworkCalls
from imgaudit.benchmark.speed.stage_clock import STAGES, StageClock
from imgaudit.exceptions import InputError, MemoryShortageError
from imgaudit.io.captions import CaptionSource
from imgaudit.io.portfolio import Portfolio, read_portfolio
from imgaudit.models import load_model
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.protocol import Effort, Framing
from tests.conftest import random_image
from tests.diffusion.test_memory import FAMILIES

SMALL = AuditConfig(
    effort=Effort.QUICK, framing=Framing.PAD, steps=3, draws=2, score_after=2, seeds=2, num_inference_steps=2,
    batch_size=64, chunk_size=2,
)  # fmt: skip


@pytest.fixture
def portfolio(tmp_path: Path) -> Portfolio:
    for seed in (1, 2):
        random_image(seed, (16, 16)).save(tmp_path / f"{seed}.png")
        (tmp_path / f"{seed}.txt").write_text(f"image number {seed}")
    return read_portfolio(tmp_path, CaptionSource(tmp_path))


def test_every_pass_is_counted_in_its_stage_and_made_again(model_folder: Path, portfolio: Portfolio) -> None:
    model = load_model(str(model_folder), "cpu")
    report = measure_speed(model, portfolio, SMALL, rounds=2)
    for one in report.rounds:
        spent = {name: stage.network_evaluations for name, stage in one.items() if stage.network_evaluations}
        # Two images: 3 steps of 2 draws, forward and backward; 64 draws under three conditions; two rungs of 2
        # seeds, 2 guided steps of two passes.
        assert spent == {"invert": 2 * 3 * 2 * 2, "score": 2 * 64 * 3, "generate": 2 * 2 * 2 * 2 * 2}
        assert all(stage.seconds > 0 for stage in one.values())
        assert {name for name, stage in one.items() if stage.raw_seconds} == set(STAGES) - {"compare, write"}
    assert len(report.ratios()) == 2 and report.ratios(["compare, write"]) == []
    text = "\n".join(format_speed(report))
    # Whether the goal is met depends on the machine; the rule is tested below.
    assert "images an hour" in text and any(said in text for said in ("met  ", "MISSED"))
    assert max(map(len, text.splitlines())) <= 80


def test_the_goal_is_judged_by_the_upper_bound() -> None:
    def report(*ratios: float) -> SpeedReport:
        empty = Stage(seconds=0, raw_seconds=0, network_evaluations=0)
        rounds = [
            {**dict.fromkeys(STAGES, empty), "invert": Stage(seconds=one, raw_seconds=1, network_evaluations=1)}
            for one in ratios
        ]
        return SpeedReport(model="m", hardware="h", busy=["two programs"], images=2, batch_size=1, protocol_hash="00",
                           rounds=rounds)  # fmt: skip

    assert [goal.met for goal in report(1.03, 1.03, 1.031).targets] == [True]
    assert [goal.met for goal in report(1.0, 1.04, 1.08).targets] == [False]
    [once] = report(1.0).targets
    assert not once.met and "timed once" in once.got
    assert "busy: two programs" in "\n".join(format_speed(report(1.0)))


def test_a_network_is_called_again_with_the_same_shapes_and_gradients() -> None:
    denoiser = FAMILIES["stable diffusion"]()
    calls = NetworkCalls(denoiser)
    condition = denoiser.null_condition()
    streams = {name: one.clone().requires_grad_(True) for name, one in condition.streams.items()}
    noisy, times = torch.randn(1, *denoiser.latent_shape), torch.tensor([3])
    with calls.recording(lambda call: call.network, lambda call: None) as found:
        denoiser.predict(noisy, times, condition.with_streams(streams))
        with torch.no_grad():
            denoiser.predict(noisy, times, condition)
        denoiser.decode(noisy)
    [backward, forward] = found["denoiser"]
    assert (backward.backward, forward.backward) == (True, False) and set(found) == {"denoiser", "decoder"}
    before = denoiser.network_evaluations
    made: list[Call] = []
    with calls.recording(lambda call: made.append(call) or "", lambda call: None):
        assert calls.repeat({backward: 2, forward: 1}) > 0
    assert made == [backward, backward, forward] and denoiser.network_evaluations == before


def test_seconds_go_to_the_stage_that_a_step_or_a_pass_begins() -> None:
    clock = StageClock(lambda: None)
    clock.start()
    clock.begin_step("searching for an embedding", [])
    search, score = Call("denoiser", (), backward=True), Call("denoiser", (), backward=False)
    stages = [clock.begin_pass(one) for one in (search, score, search)]
    for one in (search, score, search):
        clock.end_pass(one)
    clock.begin_step("generating images", [])
    stages += [clock.begin_pass(score), clock.begin_pass(Call("decoder", (), backward=False))]
    clock.end_pass(Call("decoder", (), backward=False))
    assert clock.begin_pass(score) == "generate"
    assert stages == ["invert", "score", "invert", "generate", "decode"]


def test_a_published_model_is_timed_with_random_weights() -> None:
    settings = SpeedSettings(published="Stable Diffusion 1.5", shrink=10, device="cpu", count=2)
    model, portfolio = open_published(settings)
    assert "random weights, 10 times smaller" in model.name and len(portfolio.targets) == 2
    report = measure_speed(model, portfolio, SMALL, rounds=1)
    assert report.rounds[0]["compare, write"].seconds > 0
    with pytest.raises(InputError, match="no published model is called 'Nobody'"):
        open_published(SpeedSettings(published="Nobody", device="cpu"))


def test_a_model_that_does_not_fit_is_refused_before_it_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bare_audit, "measure_free_bytes", lambda device: 2**20)
    settings = SpeedSettings(published="Stable Diffusion 1.5", shrink=10, device="cpu")
    with pytest.raises(MemoryShortageError, match=r"takes at least .* GiB of memory, and 0.0 GiB are free on cpu"):
        open_published(settings)


def test_any_images_of_a_lab_can_be_timed() -> None:
    """The lab at 128 pixels holds out too few images for tables of verdicts, and was refused here too."""
    model, images, config = _open(SpeedSettings(model="demo-128", count=3), lambda *_: None)
    assert len(images.targets) == 3 and model.denoiser.resolution == 128 and config.chunk_size == 3
    names = [target.image.sha256 for target in images.targets]
    assert names == sorted(names)
    with pytest.raises(InputError, match="24 images of the lab are in the folder, and --count is 25"):
        _open(SpeedSettings(model="demo-128", count=25), lambda *_: None)
