"""The manifest: everything needed to run an audit again, and to tell whether a resumed one is the same."""

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from imgaudit.exceptions import RunFolderError
from imgaudit.io.portfolio import Portfolio
from imgaudit.io.reading import format_path
from imgaudit.io.writing import read_json, write_json
from imgaudit.models.loading import LoadedModel
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.policy import Policy
from imgaudit.schema.problems import describe_problem
from imgaudit.schema.protocol import Protocol
from imgaudit.schema.records import SCHEMA_VERSION, SkippedImage

PACKAGES = (
    "imgaudit",
    "torch",
    "diffusers",
    "transformers",
    "numpy",
    "scipy",
    "pillow",
    "pdqhash",
    "lpips",
    "defusedxml",
    "pillow-heif",
    "peft",
    "gguf",
    "faiss-gpu",
    "faiss-cpu",
)


SKIPPED_MEASURE = "skipped: "
"""What stands before the reason where a measure is not to be had."""


class KnownTarget(BaseModel):
    """An image as it was when the audit began."""

    sha256: str
    """Of the file's bytes."""
    path: str
    """Where it was, as text."""
    texts_sha256: str
    """Over its prompts and captions."""


class KnownLora(BaseModel):
    """What was fused into a model's weights."""

    file: str
    """Its name, as text."""
    sha256: str
    """Of its bytes."""
    weight: float


class KnownModel(BaseModel):
    """What is read again of the model's identity."""

    name: str
    pipeline_class: str
    fingerprint: str
    files: dict[str, str]
    """SHA-256 of the base model's files, by path in its folder."""
    revision: str = ""
    """The commit of a model from the hub; with a single file, its configuration's."""
    variant: str = ""
    """Of the files of weights."""
    config: str = ""
    """Where the configuration of a single file comes from."""
    quantised: str = ""
    """How its weights were rounded."""
    compiled: bool = False
    """Whether its blocks were compiled."""
    mitigation: str = ""
    """What it was put behind while it was used."""
    loras: list[KnownLora] = []
    """In the order in which they were fused. The fingerprint covers them."""
    resolution: int
    prediction_type: str


class Manifest(BaseModel):
    """What is read again of a manifest; its other keys are for people."""

    model_config = ConfigDict(extra="allow", frozen=True)

    schema_version: Literal[3]
    command: list[str]
    protocol: Protocol
    protocol_hash: str
    policy: Policy
    policy_hash: str
    groups: list[list[str]]
    model: KnownModel
    measures: dict[str, str]
    targets: list[KnownTarget]
    skipped: list[SkippedImage]
    remarks: list[str]
    versions: dict[str, str]
    device: str
    threads: int
    platform: str
    seed: int
    operator: str
    started: str

    @property
    def measured(self) -> set[str]:
        """Names of the measures that are not skipped."""
        return {name for name, source in self.measures.items() if not source.startswith(SKIPPED_MEASURE)}

    @property
    def batch_size(self) -> int | Literal["auto"]:
        """The largest network batch that the audit began with."""
        stored = (self.model_extra or {}).get("config", {}).get("batch_size", {}).get("value", "auto")
        return AuditConfig(batch_size=stored).batch_size

    @property
    def files_given(self) -> int:
        """Files that the audit was given."""
        return len(self.targets) + len(self.skipped)


def read_manifest(run: RunFolder) -> Manifest:
    """The manifest of a run. Raises RunFolderError when it is not one of this version."""
    content = read_json(run.manifest_path)
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise RunFolderError(
            f"{str(run.manifest_path)!r} is not a manifest of this version of imgaudit: {describe_problem(error)}"
        ) from error


def package_versions() -> dict[str, str]:
    """Versions of what numbers depend on; packages that are not installed are left out."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def utc_now() -> str:
    """UTC time to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def make_manifest(
    command: Sequence[str],
    config: AuditConfig,
    sources: Mapping[str, str],
    model: LoadedModel,
    portfolio: Portfolio,
    *,
    policy: Policy | None = None,
    groups: Sequence[Sequence[str]] = (),
    measures: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Everything needed to run the audit again, and to tell whether a resumed one is the same.

    policy:  how measurements will become verdicts; by default the one that follows from the configured level
    groups:  near-duplicates among the targets, representatives first
    measures:  every similarity and distance with where it comes from, or why it is skipped
    """
    policy = policy or config.policy
    return {
        "schema_version": SCHEMA_VERSION,
        "command": list(command),
        "config": {
            key: {"value": value, "source": sources.get(key, "default")}
            for key, value in config.model_dump(mode="json").items()
        },
        "protocol": config.protocol.model_dump(mode="json"),
        "protocol_hash": config.protocol.hash,
        "policy": policy.model_dump(mode="json"),
        "policy_hash": policy.hash,
        "groups": [list(group) for group in groups],
        "model": {
            "name": model.name,
            "pipeline_class": model.pipeline_class,
            "fingerprint": model.denoiser.fingerprint,
            "files": dict(model.files),
            "revision": model.revision,
            "variant": model.variant,
            "config": format_path(model.config),
            "quantised": model.quantised,
            "compiled": model.compiled,
            "mitigation": model.mitigation,
            "loras": [
                {"file": format_path(lora.path.name), "sha256": lora.sha256, "weight": lora.weight}
                for lora in model.loras
            ],
            "resolution": model.denoiser.resolution,
            "prediction_type": model.denoiser.prediction_type,
        },
        "measures": dict(measures or {}),
        "targets": [
            {"sha256": target.image.sha256, "path": format_path(target.path), "texts_sha256": target.texts_sha256}
            for target in portfolio.targets
        ],
        "skipped": [one.model_dump(mode="json") for one in portfolio.skipped],
        "remarks": list(portfolio.remarks),
        "versions": package_versions(),
        "device": str(getattr(model.denoiser, "device", "cpu")),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "seed": config.seed,
        "operator": config.operator,
        "started": utc_now(),
    }


_SAME_ON_RESUME = ("protocol_hash", "policy_hash", "seed", "measured")


def open_run(run: RunFolder, manifest: dict[str, Any]) -> Manifest:
    """Write the manifest of a new run, or check that an existing one is the same audit; the one that holds is returned.

    Files that came, went or changed since are no difference (see `continued`); other texts of the same file are one.
    Raises RunFolderError that says what differs, or when the folder holds something that is not a run.
    """
    if not run.manifest_path.is_file():
        strangers = [p.name for p in run.path.iterdir() if not p.name.startswith(".")] if run.path.is_dir() else []
        if strangers:
            raise RunFolderError(
                f"{str(run.path)!r} is not empty and not a run (it holds {strangers[0]!r}); choose another --out"
            )
        write_json(run.manifest_path, manifest)
        return read_manifest(run)
    stored, fresh = read_manifest(run), Manifest.model_validate(manifest)
    different = [key for key in _SAME_ON_RESUME if getattr(stored, key) != getattr(fresh, key)]
    if stored.model.fingerprint != fresh.model.fingerprint:
        different.append("model fingerprint")
    now = {target.sha256: target.texts_sha256 for target in fresh.targets}
    if any(now.get(target.sha256, target.texts_sha256) != target.texts_sha256 for target in stored.targets):
        different.append("texts")
    if stored.targets and not any(target.sha256 in now for target in stored.targets):
        different.append("targets")
    if different:
        raise RunFolderError(
            f"{str(run.path)!r} holds another audit ({', '.join(different)} differ): resume it with its own options, "
            "or choose another --out"
        )
    return stored


def continued(portfolio: Portfolio, manifest: Manifest) -> Portfolio:
    """The portfolio that a run began with, as far as its files are still there.

    Files that are gone or changed come back as `gone`, to be skipped unless they were measured before; files that are
    new are left out, and a remark says so.
    """
    known = {target.sha256: target for target in manifest.targets}
    present = [target for target in portfolio.targets if target.image.sha256 in known]
    there = {target.image.sha256 for target in present}
    reason = "the file was there when the audit began; now it is gone, or another one"
    gone = {
        sha256: SkippedImage(path=target.path, skipped=reason, passing=True)
        for sha256, target in known.items()
        if sha256 not in there
    }
    remarks = list(portfolio.remarks)
    paths = {target.path for target in manifest.targets} | {one.path for one in manifest.skipped}
    given = [format_path(target.path) for target in portfolio.targets] + [one.path for one in portfolio.skipped]
    if new := len(portfolio.targets) - len(present):
        remarks.append(f"{new} files are new or changed since this run began and are not part of it")
    elif any(path not in paths for path in given):
        remarks.append("some files have other names or places than when this run began")
    return Portfolio(present, list(manifest.skipped), remarks, gone)
