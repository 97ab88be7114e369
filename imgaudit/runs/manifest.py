"""Manifests of audits, detections and trigger searches: made, written once, and compared with every later command."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from imgaudit.exceptions import RunFolderError
from imgaudit.io.provenance import find_versions, utc_now
from imgaudit.io.reading import format_path
from imgaudit.io.writing import read_json, write_json
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.manifest import AuditManifest, KnownLora, KnownModel, KnownOption, KnownTarget, Manifest
from imgaudit.schema.policy import Policy
from imgaudit.schema.problems import describe_problem
from imgaudit.schema.records import SkippedImage
from imgaudit.schema.shard import Shard

if TYPE_CHECKING:
    # Reading a manifest needs no torch, so that pages and reviews start at once.
    from imgaudit.io.portfolio import Portfolio
    from imgaudit.models.loading import LoadedModel

PACKAGES = (
    "imgaudit", "torch", "diffusers", "transformers", "numpy", "scipy", "pillow", "pdqhash", "lpips", "defusedxml",
    "pillow-heif", "peft", "gguf", "faiss-gpu", "faiss-cpu",
)  # fmt: skip
"""Packages that numbers depend on."""

WRITTEN_BEFORE = {"seal.json", "attestations"}
"""Files that are in a folder before its manifest, as far as there are any."""

GONE = "the file was there when the audit began; now it is gone, or another one"

M = TypeVar("M", bound=Manifest)


def package_versions() -> dict[str, str]:
    """Return the versions of what numbers depend on; packages that are not installed are left out."""
    return find_versions(PACKAGES)


def describe_model(model: "LoadedModel") -> KnownModel:
    """Return a model's identity as manifests keep it."""
    return KnownModel(
        name=model.name,
        pipeline_class=model.pipeline_class,
        fingerprint=model.denoiser.fingerprint,
        files=dict(model.files),
        revision=model.revision,
        variant=model.variant,
        config=format_path(model.config),
        quantised=model.quantised,
        compiled=model.compiled,
        mitigation=model.mitigation,
        notes=list(model.notes),
        loras=[
            KnownLora(file=format_path(lora.path.name), sha256=lora.sha256, weight=lora.weight) for lora in model.loras
        ],
        resolution=model.denoiser.resolution,
        prediction_type=model.denoiser.prediction_type,
        dtype=dtype_of(model),
    )


def describe_targets(portfolio: "Portfolio") -> list[KnownTarget]:
    """Return the images of a portfolio as manifests name them."""
    return [
        KnownTarget(sha256=target.image.sha256, path=format_path(target.path), texts_sha256=target.texts_sha256)
        for target in portfolio.targets
    ]


def device_of(model: "LoadedModel") -> str:
    """Return the device of a model as text."""
    return str(getattr(model.denoiser, "device", "cpu"))


def dtype_of(model: "LoadedModel") -> str:
    """Return the precision of a model's network, such as float32; empty for a model without a network of its own."""
    network = getattr(model.denoiser, "network", None)
    return str(getattr(network, "dtype", "")).removeprefix("torch.")


def describe_work(command: Sequence[str], model: "LoadedModel") -> dict[str, Any]:
    """Return what every manifest of work that begins now holds: the fields of `schema.manifest.Manifest`."""
    return {
        "command": [format_path(part) for part in command],
        "model": describe_model(model),
        "versions": package_versions(),
        "device": device_of(model),
        "started": utc_now(),
    }


def make_manifest(
    command: Sequence[str],
    config: AuditConfig,
    sources: Mapping[str, str],
    model: "LoadedModel",
    portfolio: "Portfolio",
    *,
    policy: Policy | None = None,
    groups: Sequence[Sequence[str]] = (),
    measures: Mapping[str, str] | None = None,
    shard: Shard | None = None,
) -> AuditManifest:
    """Describe an audit that is about to begin.

    sources:   configuration key to where its value was set; the others have their default
    policy:    how measurements will become verdicts; by default the one that follows from the configured level
    groups:    near-duplicates among the targets, representatives first
    measures:  every similarity and distance with where it comes from, or why it is skipped
    shard:     the part of the images that is measured in this folder; None for all
    """
    import torch

    policy = policy or config.policy
    protocol = config.protocol.for_model(model.denoiser.prediction_type)
    return AuditManifest(
        **describe_work(command, model),
        config={
            key: KnownOption(value=value, source=sources.get(key, "default"))
            for key, value in config.model_dump(mode="json").items()
        },
        protocol=protocol,
        protocol_hash=protocol.hash,
        policy=policy,
        policy_hash=policy.hash,
        groups=[list(group) for group in groups],
        measures=dict(measures or {}),
        targets=describe_targets(portfolio),
        skipped=list(portfolio.skipped),
        remarks=list(portfolio.remarks),
        threads=torch.get_num_threads(),
        platform=platform.platform(),
        seed=config.seed,
        operator=config.operator,
        shard=shard,
    )


def open_manifest(folder: Path, manifest: M) -> M:
    """Write the manifest of a new folder, or check that an existing one describes the same work; return the stored one.

    Raises RunFolderError that says what differs, or that the folder holds something else.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        there = [one.name for one in folder.iterdir()] if folder.is_dir() else []
        others = [name for name in there if not name.startswith(".") and name not in WRITTEN_BEFORE]
        if others:
            raise RunFolderError(
                f"{str(folder)!r} is not empty and not {manifest.work} (it holds {others[0]!r}); choose another --out"
            )
        write_json(path, manifest.model_dump(mode="json"))
        return manifest
    stored = _read(path, type(manifest))
    if found := list(stored.differences(manifest)):
        raise RunFolderError(
            f"{str(folder)!r} holds {manifest.work} with other options: {'; '.join(found)}. Give the options that it "
            "was begun with, or choose another --out"
        )
    return stored


def read_manifest(run: RunFolder) -> AuditManifest:
    """Read the manifest of an audit. Raises RunFolderError when it is not one of this version."""
    return _read(run.manifest_path, AuditManifest)


def require_whole(run: RunFolder) -> AuditManifest:
    """Read the manifest of an audit of all its images. Raises RunFolderError for a part of one, which has no verdicts.

    Also raises what `read_manifest` raises.
    """
    manifest = read_manifest(run)
    if manifest.shard is not None:
        raise RunFolderError(
            f"{str(run.path)!r} is {manifest.shard} of an audit. No verdict is final before all shards are merged, as "
            "every q-value depends on all images: imgaudit merge SHARD... --out RUN merges them"
        )
    return manifest


def _read(path: Path, kind: type[M]) -> M:
    content = read_json(path)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise RunFolderError(
            f"{str(path)!r} is not the manifest of {kind.work} of this version of imgaudit: {describe_problem(error)}"
        ) from error


def resume_portfolio(portfolio: "Portfolio", manifest: AuditManifest) -> "Portfolio":
    """Return the portfolio that a run began with, as far as its files are still there.

    Files that are gone or changed are returned as `gone`, to be skipped unless they were measured before; files that
    are new are left out, and a remark says so.
    """
    known = {target.sha256: target for target in manifest.targets}
    present = [target for target in portfolio.targets if target.image.sha256 in known]
    there = {target.image.sha256 for target in present}
    gone = {
        sha256: SkippedImage(path=target.path, skipped=GONE, passing=True)
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
    return replace(portfolio, targets=present, skipped=list(manifest.skipped), remarks=remarks, gone=gone)
