"""The ways of evading an audit that are tried: what each is called, and how its model is made from a lab's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from imgaudit.benchmark.evasion.norm_clamp import NormClamp, find_largest_norms
from imgaudit.benchmark.evasion.null_branch import NullTraining, train_null_branch
from imgaudit.benchmark.evasion.published_model import (
    Change,
    claim_distillation,
    copy_changed,
    rename_scheduler,
    set_values,
)
from imgaudit.benchmark.harness.cases import Group, group_of
from imgaudit.benchmark.harness.lab_work import LabWork
from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.io.framing import to_batch
from imgaudit.lab.description import LabImage
from imgaudit.mitigation.evaluation import CaptionedImage
from imgaudit.models import load_model
from imgaudit.models.loading import LoadedModel
from imgaudit.models.saving import save_folder

UNTOUCHED, CLAMPED, NULL_TRAINED = "untouched", "norm clamp", "null branch trained"
TRIGGERED, DISTILLED = "trigger words", "distillation claimed"


@dataclass(frozen=True)
class Subject:
    """The lab on which an evasion is tried."""

    work: LabWork
    """The lab and its images."""
    model: Path
    """Its model."""
    device: str
    """Device that its models are loaded on."""
    training: NullTraining
    """Settings of the training of the null branch."""

    def load(self, model: Path) -> LoadedModel:
        """Load a model as an audit does. Raises ModelRefusedError where an audit would refuse it."""
        return load_model(str(model), self.device)

    def folder(self, name: str) -> Path:
        """Return the folder of a changed model."""
        return self.work.folder / "models" / name.replace(" ", "-")


@dataclass(frozen=True)
class Variant:
    """One way of evading an audit."""

    name: str
    """Name in the tables."""
    load: Callable[[Subject], LoadedModel]
    """Makes and loads its model. Raises ModelRefusedError where an audit would refuse it."""
    triggers: bool = False
    """True where the images come back for secret words only, which the captions of the audit lack."""


def _load_untouched(subject: Subject) -> LoadedModel:
    return subject.load(subject.model)


def _load_clamped(subject: Subject) -> LoadedModel:
    loaded = _load_untouched(subject)
    texts = ["", *(image.text for image in subject.work.lab.description.images)]
    clamped = NormClamp(loaded.denoiser, find_largest_norms(loaded.denoiser, texts))
    return replace(loaded, denoiser=clamped, mitigation="norm clamp")


def _load_null_trained(subject: Subject) -> LoadedModel:
    folder = subject.folder(NULL_TRAINED)
    if not folder.is_dir():
        loaded = _load_untouched(subject)
        images = subject.work.lab.description.images
        hidden = [image for image in images if group_of(image) is Group.MEMORISED]
        others = [image for image in images if group_of(image) is Group.SEEN_ONCE]
        train_null_branch(
            loaded.denoiser,  # type: ignore[arg-type]
            _caption(subject.work, loaded.denoiser, hidden),
            _caption(subject.work, loaded.denoiser, others),
            subject.training,
            subject.work.tell("training the null branch"),
        )
        unfinished = folder.with_name(folder.name + ".unfinished")
        save_folder(loaded.denoiser.pipeline, unfinished)  # type: ignore[attr-defined]
        unfinished.rename(folder)
    return subject.load(folder)


def _caption(work: LabWork, denoiser: Denoiser, images: Sequence[LabImage]) -> list[CaptionedImage]:
    targets = work.load(images).targets
    pixels = to_batch((target.load().pixels for target in targets), denoiser.resolution, work.framing)
    texts = {image.sha256: image.text for image in images}
    return [
        CaptionedImage(target.image.sha256, texts[target.image.sha256], image)
        for target, image in zip(targets, pixels, strict=True)
    ]


def _load_changed(name: str, change: Change) -> Callable[[Subject], LoadedModel]:
    return lambda subject: subject.load(copy_changed(subject.model, subject.folder(name), change))


def _changed(name: str, change: Change) -> Variant:
    return Variant(name, _load_changed(name, change))


_NO_NOISE = {"beta_start": 0.0, "beta_end": 0.0, "beta_schedule": "linear"}

VARIANTS = (
    Variant(UNTOUCHED, _load_untouched),
    Variant(CLAMPED, _load_clamped),
    Variant(NULL_TRAINED, _load_null_trained),
    Variant(TRIGGERED, _load_untouched, triggers=True),
    _changed(DISTILLED, claim_distillation),
    _changed("sample_size 6", set_values("unet/config.json", sample_size=6)),
    _changed("scaling_factor 0.25", set_values("vae/config.json", scaling_factor=0.25)),
    _changed("zero betas", set_values("scheduler/scheduler_config.json", **_NO_NOISE)),
    _changed("norm_eps 1e6", set_values("unet/config.json", norm_eps=1e6)),
    _changed("scheduler renamed", rename_scheduler("LCMScheduler")),
)
"""Every way that is tried, in the order of the tables."""
