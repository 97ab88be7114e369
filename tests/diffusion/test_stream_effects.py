"""Streams of text encoders, told apart where an embedding gives copies."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from imgaudit.cli.terminal import print_result
from imgaudit.decision.copy_thresholds import CopyThresholds
from imgaudit.decision.null_bank import NullBank
from imgaudit.decision.replication import stream_rates
from imgaudit.diffusion.context import MeasurementContext
from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.inversion import count_embedding_bits
from imgaudit.diffusion.measurement import MeasuredImage, measure_chunk
from imgaudit.diffusion.schedules import Prediction
from imgaudit.diffusion.stream_effects import SEEDS, keep_streams, list_stream_subsets, select_copies
from imgaudit.io.captions import CaptionSource
from imgaudit.io.framing import to_image
from imgaudit.io.portfolio import read_portfolio
from imgaudit.models import FiniteSetDenoiser, LoadedModel
from imgaudit.models.families.unet import UNetDenoiser
from imgaudit.report import ReportFormat, render, write_report
from imgaudit.report.wording import STREAMS_LIMIT, stream_text
from imgaudit.runs.conclusion import conclude
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.manifest import make_manifest, open_manifest
from imgaudit.runs.measurement import copy_rule, measure_targets
from imgaudit.runs.work import stream_work
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.findings import AuditResult
from imgaudit.schema.protocol import (
    ErrorConfig,
    GenerationConfig,
    InversionConfig,
    LadderConfig,
    Protocol,
)
from imgaudit.schema.records import Measurement, Replica, Rung, RungMeasurement, Skipped, StreamCondition, StreamReplica
from imgaudit.schema.replication import Replication
from tests.conftest import make_pipeline, tiny_recipe
from tests.support.records import bank as make_bank
from tests.support.records import measurement, replica_path
from tests.support.streams import ADAPTERS, STREAMS, inverted
from tests.support.wrapping import unwrap

PROTOCOL = Protocol(
    inversion=InversionConfig(steps=3, draws=2),
    error=ErrorConfig(draws=4, after_steps=2),
    generation=GenerationConfig(seeds=3, num_inference_steps=2),
    ladder=LadderConfig(rungs=("caption", "embedding")),
)


class ReadsText(FiniteSetDenoiser):
    """A perfect memoriser with a second stream that reaches the prediction, and changes nothing."""

    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        text = super().condition(prompts)
        ignored = {"pooled": torch.zeros(len(prompts), 1, 3)}
        return PromptEmbeds({**ignored, **text.streams}, {"pooled": torch.ones(1, dtype=torch.bool), **text.free})

    def predict(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> Prediction:
        prediction = super().predict(noisy, timesteps, prompt_embeds)
        return replace(prediction, output=prediction.output + 0 * prompt_embeds.streams["pooled"].sum())


def twelve_points() -> torch.Tensor:
    coarse = torch.rand(12, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    points = torch.nn.functional.interpolate(coarse, (16, 16), mode="bilinear")
    return (((points + 1) * 127.5).round() / 127.5 - 1).contiguous()


def chunk(denoiser: Any, folder: Path, **options: Any) -> list[MeasuredImage]:
    loaded = [target.load() for target in read_portfolio(folder, CaptionSource(folder)).targets]
    return measure_chunk(MeasurementContext(denoiser, PROTOCOL, 0, Executor(16), **options), loaded)


def test_an_embedding_with_copies_is_taken_apart_stream_by_stream(
    family: str, make_folder: Callable[..., Path]
) -> None:
    folder = make_folder("targets", [1, 2])
    denoiser, names = ADAPTERS[family](), STREAMS[family]
    plain = chunk(denoiser, folder)
    of_first = {
        replica.path
        for replica in plain[0].measurement.rungs[Rung.EMBEDDING].replicas  # type: ignore[union-attr]
    }
    first, second = chunk(denoiser, folder, is_copy=lambda replica: replica.path in of_first)
    assert second.measurement.stream_conditions == () == plain[0].measurement.stream_conditions
    conditions = first.measurement.stream_conditions
    assert [one.streams for one in conditions] == list_stream_subsets(names) and len(conditions) == (
        8 if family == "sd3" else 4
    )
    embedding = first.measurement.rungs[Rung.EMBEDDING]
    assert isinstance(embedding, RungMeasurement)
    for one in conditions:
        assert [replica.seed for replica in one.replicas] == [replica.seed for replica in embedding.replicas]
        assert one.guidance_scale == 3.0 and isinstance(one.log_ratio, float)
    assert [one.similarity for one in conditions[0].replicas] == [one.similarity for one in embedding.replicas]
    assert conditions[1].replicas != conditions[2].replicas
    spent = first.measurement.network_evaluations - second.measurement.network_evaluations
    # FLUX's guidance is an input of one pass.
    samples = (len(conditions) - 1) * 3 * 2
    planned = stream_work(PROTOCOL, len(names)).evaluations
    assert spent == planned - (0 if denoiser.is_guided_by_null else samples)
    if denoiser.no_null:
        # Nothing inverted is the baseline, up to how batches of different sizes round.
        assert conditions[-1].streams == () and conditions[-1].log_ratio == pytest.approx(0, abs=1e-6)
    assert plain[0].measurement.network_evaluations == second.measurement.network_evaluations


def test_the_conditions_are_what_they_say(family: str, make_folder: Callable[..., Path]) -> None:
    denoiser = ADAPTERS[family]()
    start, whole = denoiser.start_condition(), inverted(denoiser, None)
    for kept in list_stream_subsets(STREAMS[family]):
        condition = keep_streams(whole, start, kept)
        assert condition.extras == whole.extras and condition.free == whole.free
        for name, stream in condition.streams.items():
            assert torch.equal(stream, (whole if name in kept else start).streams[name])


def test_a_model_of_one_stream_is_not_taken_apart_and_its_records_stay_as_they_were(
    make_folder: Callable[..., Path],
) -> None:
    folder, denoiser = make_folder("targets", [1]), UNetDenoiser(make_pipeline(tiny_recipe()), "fingerprint")
    [plain] = chunk(denoiser, folder)
    [asked] = chunk(denoiser, folder, is_copy=lambda replica: True)
    records = [one.measurement.model_dump(mode="json", exclude={"seconds"}) for one in (plain, asked)]
    assert records[0] == records[1] and "stream_conditions" not in records[0]
    assert stream_work(PROTOCOL, 1).evaluations == 0


def test_one_inverted_stream_of_several_is_not_taken_apart(make_folder: Callable[..., Path]) -> None:
    folder, denoiser = make_folder("targets", [1]), ADAPTERS["sd3"]()
    loaded = [target.load() for target in read_portfolio(folder, CaptionSource(folder)).targets]
    for streams, conditions in ((("t5",), 0), (("t5", "pooled"), 4)):
        inversion = InversionConfig(steps=2, draws=2, streams=streams)
        protocol = PROTOCOL.model_copy(update={"inversion": inversion})
        [one] = measure_chunk(
            MeasurementContext(denoiser, protocol, 0, Executor(16), is_copy=lambda replica: True), loaded
        )
        assert len(one.measurement.stream_conditions) == conditions
        for condition in one.measurement.stream_conditions:
            assert "clip" not in condition.streams
        embedding = one.measurement.rungs[Rung.EMBEDDING]
        assert isinstance(embedding, RungMeasurement)
        assert embedding.bits == count_embedding_bits(denoiser.start_condition(), None, streams)


def test_copies_of_the_scale_with_most_of_them_are_asked_again_and_no_more_than_a_few() -> None:
    replicas = [
        Replica(seed=seed, guidance_scale=scale, path=replica_path(seed), similarity={}, distance={})
        for scale in (1.0, 3.0, 7.0)
        for seed in range(20)
    ]
    by_scale = {1.0: 3, 3.0: 12, 7.0: 12}
    found = select_copies(replicas, lambda replica: replica.seed >= 20 - by_scale[replica.guidance_scale])
    assert [(one.guidance_scale, one.seed) for one in found] == [(3.0, seed) for seed in range(8, 8 + SEEDS)]
    assert select_copies(replicas, lambda replica: False) == []


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished audit of two memorised pictures on the model that reads its text and ignores what is pooled."""
    folder, points = tmp_path_factory.mktemp("portfolio"), twelve_points()
    for number in range(2):
        to_image(points[number]).save(folder / f"<b>{number}.png")
    model = LoadedModel(ReadsText(points), "reads text", "FiniteSetDenoiser", {})
    options: dict[str, Any] = {"effort": "quick", "steps": 120, "seeds": 10, "framing": "pad"}
    config = AuditConfig.model_validate(options)
    run = RunFolder(tmp_path_factory.mktemp("run"))
    portfolio = read_portfolio(folder, CaptionSource(folder))
    with run.lock():
        open_manifest(run.path, make_manifest(["imgaudit"], config, {}, model, portfolio))
        bank = make_bank(199, protocol=config.protocol, vae_error=0.0)
        # Invented controls look unlike the pictures, which would take the p-values.
        alike = [control.model_copy(update={"features": {}}) for control in bank.controls]
        bank.model_copy(update={"controls": alike}).write(run.calibration_path)
        assert len(list(measure_targets(run, portfolio, model, config))) == 2
        write_report(run, conclude(run))
    return run


def embedding_of(result: AuditResult, number: int) -> Replication:
    [found] = [one for one in result.findings[number].replication if one.rung is Rung.EMBEDDING]
    return found


def test_the_effect_is_attributed_to_the_stream_that_the_model_reads(run: RunFolder) -> None:
    result, measurements = conclude(run), {one.id: one for one in run.read_measurements()[0]}
    model = ReadsText(twelve_points())
    for number in range(2):
        replication = embedding_of(result, number)
        whole, pooled, text, none = replication.stream_rates
        assert [rate.streams for rate in replication.stream_rates] == [("pooled", "text"), ("pooled",), ("text",), ()]
        assert replication.hits == 10 and whole.hits == whole.n == SEEDS
        # What is ignored changes nothing: the same frames, the same errors, the same interval.
        assert text == whole.model_copy(update={"streams": ("text",)})
        assert (text.low, text.high) == (pytest.approx(0.025 ** (1 / SEEDS)), 1.0)
        # And alone it says nothing: a perfect memoriser then shows any of its pictures.
        assert pooled == none.model_copy(update={"streams": ("pooled",)})
        assert pooled.hits <= 2 and pooled.log_ratio == 0.0
        assert isinstance(text.log_ratio, float) and text.log_ratio > 0.1
        conditions = {one.streams: one for one in measurements[result.findings[number].id].stream_conditions}
        seeds = [replica.seed for replica in conditions["pooled",].replicas]
        options: dict[str, Any] = {"guidance_scale": 3.0, "num_inference_steps": 20}
        unasked = model.sample(model.null_condition().repeat(SEEDS), seeds, **options)
        target = twelve_points()[int(Path(result.findings[number].path).stem.removeprefix("<b>"))]
        shown = [float((frame - target).abs().max()) < 0.1 for frame in unasked]
        assert pooled.hits == sum(shown)


def test_reports_say_which_stream_carries_the_copies(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    result = conclude(run)
    rates = embedding_of(result, 0).stream_rates
    without_text = f"{rates[1].hits} of 8 ({rates[1].low:.0%} to {rates[1].high:.0%})"
    line = f"pooled alone {without_text}, text alone 8 of 8 (63% to 100%), no stream {without_text}"
    assert stream_text(rates) == line
    page = (run.path / "report" / f"{result.findings[0].id}.html").read_text(encoding="utf-8")
    assert "Which text stream carries the copies" in page and STREAMS_LIMIT in page
    assert "<td>text alone</td><td>8 of 8</td><td>63% to 100%</td>" in page and "<b>" not in page
    print_result(result)
    out = capsys.readouterr().out.replace("\n", " ")
    assert f"which text stream carries the copies of <b>0.png: {line}" in unwrap(out)
    assert "chosen because they gave copies" in out
    markdown = render(result, ReportFormat.MARKDOWN)
    assert "text alone 8 of 8" in markdown and STREAMS_LIMIT in markdown and "<b>" not in markdown
    assert AuditResult.model_validate_json(render(result, ReportFormat.JSON)) == result


def test_names_of_streams_in_a_strangers_run_are_text_only(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = RunFolder(shutil.copytree(run.path, tmp_path / "run"))
    first = copied.read_measurements()[0][0]
    named = tuple(
        one.model_copy(update={"streams": tuple(f"<img src=x>{name}\x1b[31m" for name in one.streams)})
        for one in first.stream_conditions
    )
    hostile = first.model_copy(update={"stream_conditions": named})
    copied.append_record({"stage": "measured", **hostile.model_dump(mode="json")})
    result = conclude(copied)
    write_report(copied, result)
    print_result(result)
    page = (copied.path / "report" / f"{first.id}.html").read_text(encoding="utf-8")
    assert "<img src=x>" not in page and "&lt;img src=x&gt;text" in page
    assert not any(
        "\x1b[31m" in text for text in (page, capsys.readouterr().out, render(result, ReportFormat.MARKDOWN))
    )
    assert " <img" not in render(result, ReportFormat.MARKDOWN)


def test_copies_are_counted_by_the_policy_that_decides(run: RunFolder) -> None:
    for one in run.read_measurements()[0]:
        strict = CopyThresholds(similarity=1.1, distance=0.0)
        assert [(rate.hits, rate.n) for rate in stream_rates(one, strict)] == [(0, SEEDS)] * 4
        assert stream_rates(one, Skipped(skipped="no controls")) == ()


def test_without_a_bank_nothing_is_a_copy(run: RunFolder, tmp_path: Path) -> None:
    [first, *_] = [r for m in run.read_measurements()[0] for r in m.rungs[Rung.EMBEDDING].replicas]  # type: ignore[union-attr]
    assert copy_rule(run)(first) and not copy_rule(RunFolder(tmp_path))(first)
    assert NullBank.read(run.calibration_path).controls


def test_frames_that_cannot_be_scored_are_left_out_of_the_count() -> None:
    broken = Skipped(skipped="invalid frame: black")
    replicas = (
        StreamReplica(seed=1, similarity={"pixel": 0.95, "pdq": 0.5}, distance={"tiled_rms": 0.1}),
        StreamReplica(seed=2, similarity=broken, distance=broken),
    )
    condition = StreamCondition(streams=("text",), guidance_scale=3.0, log_ratio=0.5, replicas=replicas)
    one = measurement("x", 1.0, [(0.99, 0.1)], stream_conditions=(condition,))
    [rate] = stream_rates(one, CopyThresholds(similarity=0.9, distance=0.2))
    assert (rate.hits, rate.n) == (1, 1)


def test_records_from_before_streams_were_told_apart_are_read() -> None:
    old = measurement("x", 1.0, [(0.99, 0.1)]).model_dump(mode="json")
    assert "stream_conditions" not in old
    assert Measurement.model_validate(old).stream_conditions == ()
