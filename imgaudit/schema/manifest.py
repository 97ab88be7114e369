"""Manifests: what a folder of work was begun with, kept to run it again and to refuse to mix it with other work."""

from collections.abc import Iterator
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from imgaudit.schema.config import AuditConfig, Series
from imgaudit.schema.detection import PromptDetectionSettings
from imgaudit.schema.measures import COPY_DESCRIPTORS
from imgaudit.schema.policy import Policy
from imgaudit.schema.protocol import Protocol
from imgaudit.schema.records import SCHEMA_VERSION, Record, SkippedImage
from imgaudit.schema.shard import Shard
from imgaudit.schema.triggers import ImageSettings, SearchSettings

SKIPPED_MEASURE = "skipped: "
"""Prefix of the reason of a measure that is not available."""


class Known(BaseModel):
    """Base of what manifests describe: immutable; keys of other versions are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class KnownTarget(Known):
    """An image as it was when the audit began."""

    sha256: str
    """SHA-256 of the file's bytes."""
    path: str
    """Its path as text."""
    texts_sha256: str
    """Over its prompts and captions."""


class KnownLora(Known):
    """A LoRA that was fused into a model's weights."""

    file: str
    """File name as text."""
    sha256: str = ""
    """SHA-256 of its bytes; empty in detections and trigger searches of older versions, whose fingerprint covers it."""
    weight: float
    """Its factor."""


class KnownModel(Known):
    """A model's identity."""

    name: str
    """The name that the user gave, with the LoRAs."""
    pipeline_class: str
    """diffusers class name."""
    fingerprint: str
    """SHA-256 over the files and LoRAs."""
    files: dict[str, str] = {}
    """SHA-256 of the base model's files, by path in its folder."""
    revision: str = ""
    """The commit of a model from the hub; for a single file, its configuration's."""
    variant: str = ""
    """Variant of the weight files, such as fp16."""
    config: str = ""
    """Source of a single file's configuration, a folder or hub id; empty for other models."""
    quantised: str = ""
    """Quantisation of its weights, in words; empty when there is none."""
    compiled: bool = False
    """True when its blocks were compiled."""
    mitigation: str = ""
    """The mitigation that was applied while it was used."""
    loras: list[KnownLora] = []
    """In the order in which they were fused. The fingerprint covers them."""
    resolution: int
    """Side of its images in pixels."""
    prediction_type: str
    """The network's output: epsilon, v_prediction, ..."""
    notes: list[str] = []
    """Sentences on files that contradict each other or hold more than is audited; empty in older manifests."""
    dtype: str = ""
    """Precision of the network's weights while it was used, such as float32; empty in manifests of older versions."""


class KnownOption(Known):
    """The value of one configuration key."""

    value: JsonValue
    """As JSON."""
    source: str
    """Place where it was set: default, a file, environment, command line, ..."""


class MergedShard(Known):
    """A part of an audit that was measured apart and merged into it."""

    shard: Shard
    """The part."""
    head: str
    """End of the chain in the evidence.json that the part had."""
    commands: list[list[str]]
    """Command lines that measured it."""
    versions: dict[str, str]
    """Versions of the packages that numbers depend on."""
    device: str
    """Device on which the model ran."""
    threads: int
    """Threads of the processor."""
    platform: str
    """Operating system."""
    started: str
    """UTC, ISO 8601."""
    operator: str
    """Name of the person who ran it; empty when not given."""


class Manifest(BaseModel):
    """The part that all manifests share."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    work: ClassVar[str]
    """Name of the work in messages, with its article."""

    command: list[str]
    """The command line."""
    model: KnownModel
    """The model that was asked."""
    versions: dict[str, str]
    """Versions of the packages that numbers depend on."""
    device: str
    """Device on which the model ran."""
    started: str
    """UTC, ISO 8601."""

    def differences(self, fresh: Self) -> Iterator[str]:
        """Yield what keeps a new command from continuing this work, in words."""
        if self.model.fingerprint != fresh.model.fingerprint:
            yield "another model, by its fingerprint"


class AuditManifest(Manifest):
    """The manifest of an audit or a calibration."""

    work: ClassVar[str] = "an audit"

    kind: Literal["audit"] = "audit"
    """Tells this manifest from the others; older audits lack it."""
    schema_version: Literal[3] = SCHEMA_VERSION
    """Version of the format."""
    config: dict[str, KnownOption] = {}
    """Every configuration key."""
    protocol: Protocol
    """Rules by which every image is measured."""
    protocol_hash: str
    """SHA-256 over the protocol."""
    policy: Policy
    """Rules by which measurements become verdicts."""
    policy_hash: str
    """SHA-256 over the policy."""
    groups: list[list[str]]
    """Ids of near-duplicates among the targets, representatives first."""
    measures: dict[str, str]
    """Every similarity and distance with its source, or "skipped: " and the reason."""
    targets: list[KnownTarget]
    """Images that could be read."""
    skipped: list[SkippedImage]
    """Files that could not, with the reason."""
    remarks: list[str]
    """Remarks on the folder, in sentences."""
    threads: int
    """Threads of the processor."""
    platform: str
    """Operating system."""
    seed: int
    """Run seed."""
    operator: str
    """Name of the person who ran it; empty when not given."""
    shard: Shard | None = Field(None, exclude_if=lambda value: value is None)
    """The part of the images that this folder is about; absent where it is about all."""
    merged: list[MergedShard] = Field([], exclude_if=lambda value: not value)
    """The parts that this audit was merged from; empty where it was measured as a whole."""

    @property
    def copy_descriptor(self) -> str:
        """Name and origin of the copy descriptor that images are compared with; empty without one."""
        return next((f"{name}: {self.measures[name]}" for name in COPY_DESCRIPTORS if name in self.measured), "")

    @property
    def measured(self) -> set[str]:
        """Names of the measures that are not skipped."""
        return {name for name, source in self.measures.items() if not source.startswith(SKIPPED_MEASURE)}

    @property
    def batch_size(self) -> int | Literal["auto"]:
        """The largest network batch that the audit began with."""
        stored = self.config.get("batch_size")
        return AuditConfig(batch_size="auto" if stored is None else stored.value).batch_size

    def with_batch_size(self, batch_size: int | Literal["auto"], source: str) -> Self:
        """Return the manifest with the batch that free memory gave, and with where its size comes from."""
        chosen = {"batch_size": KnownOption(value=batch_size, source=source)}
        return self.model_copy(update={"config": {**self.config, **chosen}})

    @property
    def chunk_size(self) -> int:
        """The number of images that are inverted together."""
        stored = self.config.get("chunk_size")
        return AuditConfig.model_validate({} if stored is None else {"chunk_size": stored.value}).chunk_size

    @property
    def own_images(self) -> set[str]:
        """SHA-256 of the images that are measured in this folder: all, or those of its part."""
        known = {target.sha256 for target in self.targets}
        return known if self.shard is None else self.shard.select(known, self.chunk_size)

    @property
    def series(self) -> Series:
        """The way in which series were declared; older audits had none."""
        stored = self.config.get("series")
        return AuditConfig().series if stored is None else AuditConfig.model_validate({"series": stored.value}).series

    @property
    def files_given(self) -> int:
        """The number of files in the folder that is audited."""
        return len(self.targets) + len(self.skipped)

    def differences(self, fresh: Self) -> Iterator[str]:
        """Yield what keeps a new command from continuing this audit. Files that came, went or changed do not."""
        changes = self.protocol.differences(fresh.protocol) + self.policy.differences(fresh.policy)
        yield from (_change(change) for change in changes)
        if not changes and (self.protocol_hash, self.policy_hash) != (fresh.protocol_hash, fresh.policy_hash):
            yield "another protocol or policy, by its hash"
        if self.series is not fresh.series:
            yield f"series {self.series.value}, now {fresh.series.value}"
        if self.seed != fresh.seed:
            yield f"seed {self.seed}, now {fresh.seed}"
        if self.shard != fresh.shard:
            yield f"{self.shard or 'all images'}, now {fresh.shard or 'all images'}"
        if self.shard is not None and self.chunk_size != fresh.chunk_size:
            yield f"chunk size {self.chunk_size}, now {fresh.chunk_size}"
        if only := self.measured ^ fresh.measured:
            yield f"measures {', '.join(sorted(only))} available only in one of the two"
        yield from super().differences(fresh)
        now = {target.sha256: target.texts_sha256 for target in fresh.targets}
        if any(now.get(target.sha256, target.texts_sha256) != target.texts_sha256 for target in self.targets):
            yield "other prompts or captions of the same images"
        if self.targets and not any(target.sha256 in now for target in self.targets):
            yield "other target images"


class DetectionManifest(Manifest):
    """The manifest of a folder of detected prompts."""

    work: ClassVar[str] = "a prompt detection"

    kind: Literal["prompt detection"] = "prompt detection"
    """Tells this manifest from the others."""
    schema_version: Literal[1] = 1
    """Version of the format."""
    settings: PromptDetectionSettings
    """Settings that scores depend on."""
    prompts_sha256: str
    """Over the prompts and other columns of the table, in their order."""
    controls_sha256: str
    """The same of the controls; empty without any."""
    batch_size: int
    """Largest network batch."""

    def differences(self, fresh: Self) -> Iterator[str]:
        """Yield what keeps a new command from continuing this detection."""
        yield from super().differences(fresh)
        yield from _changes(self.settings, fresh.settings)
        if self.prompts_sha256 != fresh.prompts_sha256:
            yield "other prompts"
        if self.controls_sha256 != fresh.controls_sha256:
            yield "other controls"


class TriggerManifest(Manifest):
    """The manifest of a trigger search."""

    work: ClassVar[str] = "a trigger search"

    kind: Literal["trigger search"] = "trigger search"
    """Tells this manifest from the others."""
    schema_version: Literal[1] = 1
    """Version of the format."""
    search: SearchSettings
    """Settings that the chains depend on."""
    images: ImageSettings
    """Settings by which images are made of prompts and compared."""
    proposal: str
    """Name of the source of the words."""
    proposal_sha256: str
    """Over everything that the words depend on."""
    batch_size: int
    """Largest network batch."""

    def differences(self, fresh: Self) -> Iterator[str]:
        """Yield what keeps a new command from continuing this search."""
        yield from super().differences(fresh)
        if self.proposal_sha256 != fresh.proposal_sha256:
            yield f"other words: {self.proposal}, now {fresh.proposal}"
        yield from _changes(self.search, fresh.search)
        yield from _changes(self.images, fresh.images)


def _changes(stored: Record, fresh: Record) -> Iterator[str]:
    old, new = stored.model_dump(), fresh.model_dump()
    for key in old:
        if old[key] != new[key]:
            yield f"{key.replace('_', ' ')} {old[key]!r:.80}, now {new[key]!r:.80}"


def _change(difference: str) -> str:
    """Return a difference "level: 0.1 here, 0.05 there" as "level 0.1, now 0.05"."""
    return difference.removesuffix(" there").replace(": ", " ", 1).replace(" here, ", ", now ")
