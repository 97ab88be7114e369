"""Checking a model for a run: done once, before anything else is measured, and kept as model_checks.json."""

import time
from collections.abc import Sequence

from PIL import Image

from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.model_checks import CheckImages, CheckPlan, check_model
from imgaudit.diffusion.model_checks.images import MOST_IMAGES
from imgaudit.diffusion.model_checks.samples import MOST_SAMPLES
from imgaudit.exceptions import ImageError
from imgaudit.io.framing import frame_image, is_single_colour
from imgaudit.io.portfolio import Portfolio, Target
from imgaudit.io.writing import write_json
from imgaudit.models.architecture import check_architecture
from imgaudit.models.loading import LoadedModel
from imgaudit.runs.callbacks import OnNote
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.model_checks import ModelChecks
from imgaudit.schema.records import Rung


def keep_model_checks(
    run: RunFolder,
    model: LoadedModel,
    controls: Portfolio | None,
    targets: Portfolio,
    config: AuditConfig,
    on_note: OnNote = lambda text: None,
    known: ModelChecks | None = None,
) -> None:
    """Check a model with real images and keep the result in the run; nothing is done where it is kept already.

    known:  checks that a null bank of this model and protocol holds, which are not made again

    Nothing is kept where no image can be read, or all are of one colour at the model's size.
    """
    if run.model_checks_path.is_file():
        return
    checks = known or _check(model, controls, targets, config)
    if checks is None:
        return
    write_json(run.model_checks_path, checks.model_dump(mode="json"))
    if checks.failed:
        names = ", ".join(f"{check.name} {check.measured} (accepted: {check.band})" for check in checks.failed)
        on_note(
            f"warning: the model failed {len(checks.failed)} of {len(checks.checks)} checks, so no image will be "
            f"called not reproduced: {names}"
        )


def _check(
    model: LoadedModel, controls: Portfolio | None, targets: Portfolio, config: AuditConfig
) -> ModelChecks | None:
    chosen = controls if controls is not None and controls.targets else targets
    images = _load_images(chosen.targets, model, config)
    if not images.pixels:
        return None
    denoiser, started = model.denoiser, time.perf_counter()
    before = denoiser.network_evaluations
    architecture = check_architecture(denoiser)
    plan = CheckPlan(
        config.protocol.generation.num_inference_steps, config.seed, architecture.other_sides, architecture.few_steps
    )
    measured = check_model(denoiser, images, plan, Executor(config.largest_batch, denoiser.spare_memory))
    return ModelChecks(
        source="controls" if chosen is controls else "targets",
        images=len(images.pixels),
        network_evaluations=denoiser.network_evaluations - before,
        seconds=time.perf_counter() - started,
        checks=(*architecture.checks, *measured),
    )


def _load_images(targets: Sequence[Target], model: LoadedModel, config: AuditConfig) -> CheckImages:
    """Load images at equal distances in the order of their SHA-256, so that a resumed run chooses the same."""
    framing, pixels, prompts = config.protocol.framing, list[Image.Image](), list[str]()
    step = max(1, len(targets) // MOST_IMAGES)
    for target in targets[::step]:
        if len(pixels) == MOST_IMAGES:
            break
        try:
            loaded = target.load().pixels
        except ImageError:
            continue
        if is_single_colour(frame_image(loaded, model.denoiser.resolution, framing)):
            continue
        pixels.append(loaded)
        texts = target.texts.get(Rung.CAPTION, ())
        if texts and len(prompts) < MOST_SAMPLES:
            prompts.append(texts[0])
    return CheckImages(pixels, framing, prompts)
