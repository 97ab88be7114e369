"""What a model is and how it would be audited, from its configuration alone: no weight is loaded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import diffusers
import torch
import transformers

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.family import Family
from imgaudit.models.families.latent import LatentDenoiser
from imgaudit.models.families.registry import find_family
from imgaudit.models.files.claims import Claims, read_claims, refuse_other_architecture, refuse_other_size
from imgaudit.models.files.inspection import read_model_index, refuse_unsafe
from imgaudit.models.files.source import Source, find_source
from imgaudit.models.files.vocabularies import refuse_tokenizers
from imgaudit.models.files.weights import Weights, refuse_unmerged_weights
from imgaudit.models.guider import load_guider
from imgaudit.models.library_errors import refuse_errors
from imgaudit.models.lora import read_lora
from imgaudit.models.pipeline import assemble, build_on_meta, load_tokenizer
from imgaudit.models.scheduler import SchedulerSettings, load_scheduler, settle_scheduler

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Bytes of one number."""


@dataclass(frozen=True)
class ModelDescription:
    """A model as its files describe it."""

    family: Family | None
    """The family of its pipeline class; None where no version of this adapter exists."""
    denoiser: LatentDenoiser | None
    """Its adapter around networks without data; None where something is refused before it can be built."""
    refusals: Sequence[str]
    """Everything for which an audit would refuse it, as far as the files tell, each with what to do."""
    notes: Sequence[str]
    """Sentences on files that contradict each other or hold more than is audited."""
    has_weights: bool
    """Whether its files of weights are here, so that they were looked at too."""

    @property
    def parameters(self) -> Mapping[str, int]:
        """Numbers in the weights of every network, by the pipeline's name for it."""
        parts = self.denoiser.pipeline.components if self.denoiser is not None else {}
        networks = {name: part for name, part in parts.items() if isinstance(part, torch.nn.Module)}
        return {name: sum(one.numel() for one in part.parameters()) for name, part in networks.items()}

    def count_bytes(self, dtype: str, *, offloaded: bool = False) -> int:
        """Return the bytes of all weights, or of the largest network where the others wait elsewhere.

        dtype:  float32, float16 or bfloat16
        Networks that predict in turn, one of them the null, are there together.
        """
        numbers = dict(self.parameters) or {"": 0}
        if not offloaded:
            return BYTES[dtype] * sum(numbers.values())
        together = sum(numbers[name] for name in self.denoiser.networks) if self.denoiser is not None else 0
        return BYTES[dtype] * max(*numbers.values(), together)


def describe_model(model: str, loras: Sequence[str] = (), *, variant: str = "", config: str = "") -> ModelDescription:
    """Describe the model that `load_model` would load, and collect what it would refuse; no weight is loaded.

    Of a model on the hub the configuration is fetched, and none of its weights. The parameters are those of
    :func:`imgaudit.models.load_model`. Never raises for what an audit would refuse: that is in `refusals`.

    >>> found = describe_model("demo")
    >>> found.family.title, found.denoiser.prediction_type, found.refusals
    ('Stable Diffusion 1.x and 2.x', 'epsilon', [])
    """
    examination = _Examination()
    source = examination.ask(lambda: find_source(model, variant, config, with_weights=False))
    index = examination.ask(lambda: read_model_index(source.folder)) if source else None
    family = examination.ask(lambda: find_family(index["_class_name"])) if index else None
    for text in loras:
        examination.ask(partial(read_lora, text))
    if not (source and index and family):
        return ModelDescription(None, None, examination.refusals, (), has_weights=False)
    return _describe_source(examination, source, index, family, variant)


def _describe_source(
    examination: "_Examination", source: Source, index: Mapping[str, Any], family: Family, variant: str
) -> ModelDescription:
    folder, networks = source.folder, family.present(index, "network")
    for check in (refuse_unsafe, refuse_tokenizers):
        examination.ask(partial(check, folder, index, family))
    examination.ask(lambda: refuse_unmerged_weights(folder))
    is_safe = not examination.refusals
    has_weights = source.checkpoint is not None or any(folder.glob("*/*.safetensors"))
    weights: Mapping[str, Weights] | None = None
    if source.checkpoint is not None:
        # What the file lacks is loaded from its configuration's place, and was not fetched from the hub.
        expected = networks if Path(source.config).is_dir() else source.checkpoint.parts.keys() & networks
        weights = examination.ask(lambda: source.find_held({name: networks[name] for name in expected}))
    elif has_weights:
        weights = examination.ask(lambda: source.find_weights(networks, variant))
    claims = Claims()
    if weights:
        files = weights[family.denoising_network].files
        claims = examination.ask(lambda: read_claims(next(one for one in files if one.suffix != ".json"))) or claims
        examination.ask(lambda: refuse_other_architecture(claims, index["_class_name"]))
    settled = examination.ask(
        lambda: settle_scheduler(folder / "scheduler", index["scheduler"][1], family.components["scheduler"], claims)
    )
    denoiser = None
    # A configuration that is unsafe is not handed to the libraries.
    if is_safe and settled is not None and (weights or not has_weights):
        denoiser = examination.ask(lambda: _build_bare(source, index, family, weights or {}, settled))
    if denoiser is not None:
        examination.ask(lambda: refuse_other_size(claims, denoiser.resolution))
    notes = [
        *source.list_notes(family),
        *claims.notes,
        *(settled.notes if settled else ()),
        *family.notes,
    ]
    return ModelDescription(family, denoiser, examination.refusals, notes, has_weights)


class _Examination:
    """Questions to a model's files, of which one refusal does not keep the next from being asked."""

    def __init__(self) -> None:
        self.refusals: list[str] = []

    def ask(self, question: Callable[[], Any]) -> Any:
        """Return the answer, or None where the model is refused."""
        try:
            return question()
        except ModelRefusedError as error:
            if str(error) not in self.refusals:
                self.refusals.append(str(error))
            return None


def _build_bare(
    source: Source, index: Mapping[str, Any], family: Family, weights: Mapping[str, Weights], settled: SchedulerSettings
) -> LatentDenoiser:
    """Build the adapter of a model around networks on the device "meta", with its own tokenizers and scheduler."""
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()
    folder, parts = source.folder, cast(dict[str, Any], dict.fromkeys(family.components))
    with refuse_errors("the configuration cannot be used, its parts do not fit together"):
        for name, component in family.present(index, "network").items():
            library = transformers if component.library == "transformers" else diffusers
            shapes = weights[name].shapes if name in weights else None
            parts[name] = build_on_meta(getattr(library, component.classes[0]), folder / name, shapes)
        for name, component in family.present(index, "tokenizer").items():
            parts[name] = load_tokenizer(component, folder / name, parts[component.text_encoder])
        for name, component in family.present(index, "scheduler").items():
            parts[name] = load_scheduler(component, folder / name, index[name][1], settled.options)
        for name in family.present(index, "guider"):
            parts[name] = load_guider(folder / name, index[name][1])
        return _without_numbers(family.load_adapter())(assemble(family, index, parts), "", "meta")


def _without_numbers(adapter: type[LatentDenoiser]) -> Any:
    """Return an adapter without the check that weights are finite: there are none."""

    class DescribedAdapter(adapter):  # type: ignore[misc, valid-type]
        def _refuse_weights(self, name: str, network: torch.nn.Module) -> None:
            pass

    return DescribedAdapter
