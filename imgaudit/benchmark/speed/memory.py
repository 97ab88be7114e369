"""What published models need: their networks and the tensors of every stage of an audit, counted without a weight."""

import importlib.metadata
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import cast

import torch

from imgaudit.benchmark.harness.figures import label_rows
from imgaudit.benchmark.harness.procedure import OnStage, report_procedure
from imgaudit.benchmark.harness.table import Table
from imgaudit.benchmark.settings import MemorySettings
from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.passes import Passes
from imgaudit.models.families.registry import FAMILIES
from imgaudit.models.meta_model import build_meta_model
from imgaudit.models.published import PublishedModel, StatedSize, choose_models
from imgaudit.runs.cost import Memory, measure_memory
from imgaudit.schema.records import Record
from imgaudit.schema.text import wrap_prose

CHECKPOINTED = "backward, checkpointed"
"""The backward pass after `spare_memory`."""

COUNTED_BY = ("torch", "diffusers", "transformers")
"""Libraries whose versions decide what is counted."""


class NetworkSize(Record):
    """One network."""

    parameters: int
    """Numbers in its file of weights; what two places share counts once."""
    bytes: int
    """That it takes."""


class StageBytes(Record):
    """Bytes of tensors of one stage, beyond the weights."""

    one: int
    """Of a single sample."""
    more: int
    """Of each sample more in the same batch."""


class ParameterCheck(Record):
    """A published number of parameters beside the counted one."""

    statement: StatedSize
    """What was published."""
    counted: int
    """Numbers in the files of weights of these networks."""
    agrees: bool
    """Whether the counted number is printed like the published one, rounded or cut."""


class ModelMemory(Record):
    """What one model takes with weights of one type."""

    name: str
    """What people call it."""
    repository: str
    """On the hub."""
    dtype: str
    """Of the weights."""
    resolution: int
    """Side of its images, in pixels."""
    networks: dict[str, NetworkSize]
    """By the pipeline's name."""
    denoises: str
    """The one among them that is inverted."""
    predicts_null: str = ""
    """The one that predicts the null, where it is another; with --offload model it stays beside the first."""
    stages: dict[str, StageBytes]
    """Passes that an audit makes: backward, backward checkpointed, forward, decode, encode."""
    agreements: list[ParameterCheck]
    """With what was published."""

    @property
    def weights(self) -> int:
        """Bytes of all networks."""
        return sum(network.bytes for network in self.networks.values())

    @property
    def denoiser(self) -> int:
        """Bytes of the network that is inverted, and of the one that predicts the null."""
        return sum(self.networks[name].bytes for name in (self.denoises, self.predicts_null) if name)

    def needed(self, *, checkpointed: bool) -> int:
        """Bytes of an audit at batch 1, all networks on the device."""
        return self.weights + max(self._alone(checkpointed).values())

    @property
    def offloaded(self) -> int:
        """Bytes of an audit at batch 1 with gradients checkpointed if possible, one network at a time on the device."""
        coded = self.networks["vae"].bytes
        stages = self._alone(checkpointed=True)
        return max(
            *((coded if stage in ("decode", "encode") else self.denoiser) + size for stage, size in stages.items()),
            *(network.bytes for network in self.networks.values()),
        )

    def _alone(self, checkpointed: bool) -> dict[str, int]:
        left_out = "backward" if checkpointed and CHECKPOINTED in self.stages else CHECKPOINTED
        return {stage: size.one for stage, size in self.stages.items() if stage != left_out}


class MemoryReport(Table):
    """All models that were counted."""

    versions: dict[str, str]
    """Of the libraries."""
    models: list[ModelMemory]
    """Each with weights of every type."""

    @property
    def disagreements(self) -> list[str]:
        """Published numbers that the counted ones do not agree with."""
        return sorted(
            {
                f"{model.name}: {one.counted:,} counted in {' and '.join(one.statement.networks)}, but "
                f"{one.statement.parameters} published"
                for model in self.models
                for one in model.agreements
                if not one.agrees
            }
        )


def count_models(
    models: Sequence[PublishedModel], *, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> MemoryReport:
    """Count every model with weights in half precision, as on a GPU, and in float32, as on a CPU."""
    counted: list[ModelMemory] = []
    for model in models:
        for dtype in (getattr(torch, FAMILIES[model.pipeline_class].half), torch.float32):
            counted.append(count_model(model, dtype))
            on_progress(len(counted), 2 * len(models))
    return MemoryReport(versions={name: importlib.metadata.version(name) for name in COUNTED_BY}, models=counted)


def count_model(model: PublishedModel, dtype: torch.dtype) -> ModelMemory:
    """Count one model."""
    denoiser = build_meta_model(model, dtype)
    passes, pipeline = Passes(cast(Denoiser, denoiser)), denoiser.pipeline
    names = {name: part for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}
    networks = {name: _size(network) for name, network in names.items()}
    stages = _stages(measure_memory(passes))
    if denoiser.spare_memory():
        stages[CHECKPOINTED] = _stages(measure_memory(passes))["backward"]
    return ModelMemory(
        name=model.name,
        repository=model.repository,
        dtype=str(dtype).removeprefix("torch."),
        resolution=denoiser.resolution,
        networks=networks,
        denoises=denoiser.network_name,
        predicts_null=denoiser.null_network_name,
        stages=stages,
        agreements=[_agreement(statement, networks) for statement in model.stated],
    )


def _stages(memory: Memory) -> dict[str, StageBytes]:
    return {stage: StageBytes(one=size, more=memory.more[stage]) for stage, size in memory.one.items()}


def _size(network: torch.nn.Module) -> NetworkSize:
    weights = {id(weight): weight for weight in network.state_dict(keep_vars=True).values()}
    held = weights | {id(buffer): buffer for buffer in network.buffers()}
    return NetworkSize(
        parameters=sum(weight.numel() for weight in weights.values()),
        bytes=sum(weight.numel() * weight.element_size() for weight in held.values()),
    )


def _agreement(statement: StatedSize, networks: dict[str, NetworkSize]) -> ParameterCheck:
    counted = sum(networks[name].parameters for name in statement.networks)
    least, most = statement.range
    return ParameterCheck(statement=statement, counted=counted, agrees=least <= counted < most)


COLUMNS = ("weights", "denoiser", "backward", "spared", "decode", "at least", "spared", "offloaded")
"""Heads of the columns, all sizes in GiB: what the weights take, then tensors of one sample, then their sums."""

WIDTHS = [max(8, len(title) + 1) for title in COLUMNS]

LABEL = 11
"""Columns for the type of the weights."""


def format_memory(report: MemoryReport) -> Iterator[str]:
    """Format the sizes of every model, then its parameters beside what was published.

    Lines have at most 80 columns.
    """
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    yield from wrap_prose(f"GiB of tensors at batch 1, counted without weights, with {versions}")
    labels = [(model.name, model.dtype) for model in report.models]
    yield ""
    yield " " * LABEL + "".join(f"{title:>{width}}" for title, width in zip(COLUMNS, WIDTHS, strict=True))
    yield from label_rows(labels, [_format_sizes(model) for model in report.models], LABEL)
    yield ""
    yield "each sample more in a batch"
    stages = list(report.models[0].stages) if report.models else []
    yield " " * LABEL + "".join(f"{stage:>{_width(stage)}}" for stage in stages)
    more = [
        "".join(f"{size.more / 2**30:{_width(stage)}.2f}" for stage, size in model.stages.items())
        for model in report.models
    ]
    yield from label_rows(labels, more, LABEL)
    yield ""
    yield "numbers in the files of weights, beside what was published, and where"
    for model in report.models[::2]:
        if model.agreements:
            yield model.name
        for one in model.agreements:
            yield from _format_published(one)


def _width(stage: str) -> int:
    return 24 if "," in stage else 10


def _format_published(one: ParameterCheck) -> Iterator[str]:
    networks, outcome = " + ".join(one.statement.networks), "agrees" if one.agrees else "DIFFERS"
    yield f"  {networks:30}{one.counted:>15,}   {one.statement.parameters:>5}  {outcome}"
    yield from wrap_prose(f"    {one.statement.source}", "    ")


def _format_sizes(model: ModelMemory) -> str:
    spared = model.stages.get(CHECKPOINTED)
    sizes = (
        model.weights,
        model.denoiser,
        model.stages["backward"].one,
        spared.one if spared is not None else None,
        model.stages["decode"].one,
        model.needed(checkpointed=False),
        model.needed(checkpointed=True) if spared is not None else None,
        model.offloaded,
    )
    return "".join(
        f"{'-':>{width}}" if size is None else f"{size / 2**30:{width}.2f}"
        for size, width in zip(sizes, WIDTHS, strict=True)
    )


def _measure(settings: MemorySettings, on_stage: OnStage) -> MemoryReport:
    return count_models(choose_models(settings.only), on_progress=partial(on_stage, "counting"))


PROCEDURE = report_procedure(MemoryReport, _measure, format_memory)
