"""The denoising error under an image's own caption: the draws of the score, one pass each, the first caption alone."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from imgaudit.diffusion.context import MeasurementContext
from imgaudit.diffusion.denoiser import Denoiser, PromptEmbeds
from imgaudit.diffusion.denoising_error import measure_paired_errors
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.measurement import MeasuredImage, encode_chunk, measure_chunk
from imgaudit.io.captions import CaptionSource
from imgaudit.io.portfolio import LoadedTarget, read_portfolio
from imgaudit.models.families.unet import UNetDenoiser
from imgaudit.models.loading import load_model
from imgaudit.runs.work import expected_work
from imgaudit.schema.protocol import ErrorConfig, GenerationConfig, InversionConfig, LadderConfig, Protocol
from imgaudit.schema.records import ErrorMeasurement, Measurement, Rung, Skipped
from tests.conftest import make_pipeline, tiny_recipe

PROTOCOL = Protocol(
    inversion=InversionConfig(steps=2, draws=2), generation=GenerationConfig(seeds=2, num_inference_steps=2),
    error=ErrorConfig(draws=8, after_steps=2), ladder=LadderConfig(rungs=("caption", "embedding")),
)  # fmt: skip


@pytest.fixture
def denoiser() -> UNetDenoiser:
    return UNetDenoiser(make_pipeline(tiny_recipe()), "fingerprint")


@pytest.fixture
def loaded(make_folder: Callable[..., Path]) -> list[LoadedTarget]:
    """Two images with a caption and one without."""
    folder = make_folder("targets", [1, 2, 3])
    lines = (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    (folder / "metadata.jsonl").write_text("\n".join([lines[0], lines[2]]), encoding="utf-8")
    return [target.load() for target in read_portfolio(folder, CaptionSource(folder)).targets]


def measure(denoiser: Denoiser, images: list[LoadedTarget], protocol: Protocol = PROTOCOL) -> list[MeasuredImage]:
    return measure_chunk(MeasurementContext(denoiser, protocol, 0, Executor(16)), images)


def has_caption(image: LoadedTarget) -> bool:
    return bool(image.target.texts.get(Rung.CAPTION))


def test_images_with_a_caption_are_measured_under_it_on_the_draws_of_their_score(
    denoiser: UNetDenoiser, loaded: list[LoadedTarget]
) -> None:
    measured = [one.measurement for one in measure(denoiser, loaded)]
    context = MeasurementContext(denoiser, PROTOCOL, 0, Executor(16))
    encoded = encode_chunk(context, loaded).encoded
    for row, (image, one) in enumerate(zip(loaded, measured, strict=True)):
        if not has_caption(image):
            assert one.caption_error == Skipped(skipped="no caption was given") == one.caption_log_ratio
            continue
        expected = measure_paired_errors(
            denoiser, encoded.latents[row : row + 1], [image.target.image.sha256],
            denoiser.condition([image.target.texts[Rung.CAPTION][0]]), PROTOCOL.error, run_seed=0,
            executor=Executor(16),
        )  # fmt: skip
        error, score = one.caption_error, one.error
        assert isinstance(error, ErrorMeasurement) and isinstance(score, ErrorMeasurement)
        assert one.caption_log_ratio == pytest.approx(float(expected.log_ratio()[0]), abs=1e-5)
        assert error.null == score.null and error.draws == score.draws == 8
        assert error.conditional != score.conditional
    assert sum(isinstance(one.caption_error, ErrorMeasurement) for one in measured) == 2


def test_a_caption_costs_one_forward_pass_for_each_draw(denoiser: UNetDenoiser, loaded: list[LoadedTarget]) -> None:
    before = denoiser.network_evaluations
    [one] = measure(denoiser, [image for image in loaded if has_caption(image)][:1])
    with_caption, without = (expected_work(PROTOCOL, 2, captioned=captioned) for captioned in (True, False))
    assert denoiser.network_evaluations - before == with_caption.evaluations == one.measurement.network_evaluations
    assert with_caption.evaluations - without.evaluations == PROTOCOL.error.draws == 8
    assert with_caption.backward == without.backward


def test_the_first_of_several_captions_counts_alone(denoiser: UNetDenoiser, make_folder: Callable[..., Path]) -> None:
    folder = make_folder("targets", [1])
    [target] = read_portfolio(folder, CaptionSource(folder)).targets
    ratios = []
    for texts in (["two blue boats"], ["two blue boats", "a red fox"], ["a red fox", "two blue boats"]):
        [one] = measure(denoiser, [replace(target, texts={Rung.CAPTION: texts}).load()])
        ratios.append(one.measurement.caption_log_ratio)
    assert ratios[0] == ratios[1] != ratios[2]


def test_a_protocol_without_the_rung_asks_for_no_caption(denoiser: UNetDenoiser, loaded: list[LoadedTarget]) -> None:
    protocol = PROTOCOL.model_copy(update={"ladder": LadderConfig(rungs=("embedding",))})
    before = denoiser.network_evaluations
    for one in measure(denoiser, loaded, protocol):
        assert one.measurement.caption_error == Skipped(skipped="the protocol has no caption rung")
    assert denoiser.network_evaluations - before == 3 * expected_work(protocol, 1).evaluations


def test_errors_that_are_not_finite_cost_the_captions_score_and_nothing_else(
    denoiser: UNetDenoiser, loaded: list[LoadedTarget], monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = denoiser.condition

    def overflow(texts: list[str]) -> PromptEmbeds:
        condition = encode(texts)
        if texts == [""]:
            return condition
        return condition.with_streams({name: one * float("inf") for name, one in condition.streams.items()})

    monkeypatch.setattr(denoiser, "condition", overflow)
    for image, one in zip(loaded, measure(denoiser, loaded), strict=True):
        error = one.measurement.caption_error
        assert isinstance(error, Skipped) and one.measurement.is_finite
        assert ("not finite" in error.skipped) == has_caption(image)


def test_records_of_older_versions_say_that_they_did_not_measure_it(
    denoiser: UNetDenoiser, loaded: list[LoadedTarget]
) -> None:
    values = measure(denoiser, loaded)[0].measurement.model_dump(mode="json")
    assert values.pop("caption_error")
    older = Measurement.model_validate(values)
    assert older.caption_error is None and "caption_error" not in older.model_dump()
    assert older.caption_log_ratio == Skipped(skipped="not measured by the version that measured this image")


def test_a_model_without_a_null_branch_has_the_baseline_of_its_score(
    family_folders: dict[str, Path], loaded: list[LoadedTarget]
) -> None:
    denoiser = load_model(str(family_folders["FluxPipeline"]), "cpu").denoiser
    [one] = measure(denoiser, [image for image in loaded if has_caption(image)][:1])
    error, score = one.measurement.caption_error, one.measurement.error
    assert isinstance(error, ErrorMeasurement) and isinstance(score, ErrorMeasurement)
    assert error.baseline == score.baseline == "start" and error.null == score.null
