"""What an audit would do with a model, in words, from the model's configuration alone."""

from collections.abc import Iterator, Sequence
from typing import Any

from imgaudit.diffusion.schedules import PredictionType
from imgaudit.models.description import ModelDescription, describe_model
from imgaudit.models.families.family import Family
from imgaudit.models.families.latent import LatentDenoiser
from imgaudit.runs.cost import format_bytes
from imgaudit.runs.environment import Check
from imgaudit.schema.protocol import Protocol, SpanConfig

PREDICTED: dict[PredictionType, str] = {
    "epsilon": "the noise (epsilon)",
    "v_prediction": "the velocity (v_prediction)",
    "sample": "the image (sample)",
    "flow": "the flow from image to noise",
}
"""What a network predicts, in words."""

SHIFTS = ("shift", "flow_shift")
"""Settings of a scheduler that move its steps towards the noise."""


NOTHING = "nothing speaks against an audit in the files, their headers and settings; the weights' values were not read"
NOTHING_IN_SETTINGS = "nothing speaks against an audit in the settings; the files of weights were not looked at"


def examine_model(model: str, loras: Sequence[str] = (), *, variant: str = "", config: str = "") -> list[Check]:
    """Return what an audit of a model would do, and every reason for which it would refuse it.

    The parameters are those of :func:`imgaudit.models.load_model`; no weight is loaded.

    >>> [check.state for check in examine_model("demo") if check.name == "refused"]
    ['ok']
    """
    found = describe_model(model, loras, variant=variant, config=config)
    checks = []
    if found.family is not None:
        checks.append(_ok("family", f"{found.family.title} ({found.family.pipeline_class})"))
    if found.denoiser is not None and found.family is not None:
        checks += [_ok(name, detail) for name, detail in _describe(found, found.family, found.denoiser)]
    checks += [_ok("note", note) for note in found.notes]
    checks += [Check(name="refused", state="failed", detail=refusal) for refusal in found.refusals]
    if not found.refusals:
        checks.append(_ok("refused", NOTHING if found.has_weights else NOTHING_IN_SETTINGS))
    return checks


def _ok(name: str, detail: str) -> Check:
    return Check(name=name, state="ok", detail=detail)


def _describe(found: ModelDescription, family: Family, denoiser: LatentDenoiser) -> Iterator[tuple[str, str]]:
    channels, side, _ = denoiser.latent_shape
    yield "inverted", family.inverted
    if denoiser.no_null:
        yield "baseline", f"the start condition: {denoiser.no_null}"
    elif denoiser.null_network_name:
        yield "baseline", f"what a network of its own, {denoiser.null_network_name!r}, predicts without any text"
    else:
        yield "baseline", "the null condition, which is what the pipeline guides away from"
    yield "predicts", _describe_prediction(denoiser.prediction_type)
    yield "sampler", _describe_scheduler(denoiser.pipeline.scheduler)
    yield "guidance", _describe_guidance(denoiser)
    yield "images", f"{denoiser.resolution} x {denoiser.resolution} pixels; latents of {channels} x {side} x {side}"
    yield "parameters", ", ".join(f"{name} {count:,}" for name, count in found.parameters.items())
    half, single = (format_bytes(found.count_bytes(dtype)) for dtype in (family.half, "float32"))
    largest = format_bytes(found.count_bytes(family.half, offloaded=True))
    yield (
        "memory",
        (
            f"weights alone: {half} on a GPU ({family.half}), {largest} there with --offload model, {single} on a CPU "
            "(float32); `imgaudit audit --dry-run` measures what an audit takes in all"
        ),
    )


def _describe_prediction(prediction_type: PredictionType) -> str:
    searched = Protocol(span=SpanConfig()).searches_span(prediction_type)
    how = "a search among sums of texts" if searched else "an inversion"
    return f"{PREDICTED[prediction_type]}; the score is measured after {how}"


def _describe_guidance(denoiser: LatentDenoiser) -> str:
    if denoiser.null_network_name:
        return f"away from what {denoiser.null_network_name!r} predicts: two passes a step, without guidance too"
    if denoiser.is_guided_by_null:
        return "away from the null condition: two passes a step"
    return "an input of the network, or none: one pass a step"


def _describe_scheduler(scheduler: Any) -> str:
    settings = [f"{scheduler.config.num_train_timesteps:,} training timesteps"]
    if scheduler.config.get("use_dynamic_shifting"):
        settings.append("shifted by the size of the image")
    else:
        settings += [f"{name} {scheduler.config[name]:g}" for name in SHIFTS if scheduler.config.get(name)]
    if scheduler.config.get("rescale_betas_zero_snr"):
        settings.append("ends in pure noise")
    return f"{type(scheduler).__name__}: {', '.join(settings)}"
