"""The manifest: everything needed to run an audit again, and to tell whether a resumed one is the same."""

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import torch

from imgaudit.config import AuditConfig
from imgaudit.exceptions import RunFolderError
from imgaudit.models.loading import LoadedModel
from imgaudit.policy import Policy
from imgaudit.portfolio import Portfolio
from imgaudit.records import SCHEMA_VERSION
from imgaudit.store import RunFolder, read_json, write_json

PACKAGES = (
    "imgaudit",
    "torch",
    "diffusers",
    "transformers",
    "numpy",
    "scipy",
    "pillow",
    "pdqhash",
    "faiss-gpu",
    "faiss-cpu",
)


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
) -> dict[str, Any]:
    """Everything needed to run the audit again, and to tell whether a resumed one is the same.

    policy:  how measurements will become verdicts; by default the one that follows from the configured level
    groups:  near-duplicates among the targets, representatives first
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
            "resolution": model.denoiser.resolution,
            "prediction_type": model.denoiser.prediction_type,
        },
        "targets": [target.image.sha256 for target in portfolio.targets],
        "texts_sha256": portfolio.texts_sha256,
        "files_given": portfolio.count,
        "versions": package_versions(),
        "device": str(getattr(model.denoiser, "device", "cpu")),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "seed": config.seed,
        "operator": config.operator,
        "started": utc_now(),
    }


_SAME_ON_RESUME = ("protocol_hash", "policy_hash", "targets", "texts_sha256", "seed")


def open_run(run: RunFolder, manifest: dict[str, Any]) -> dict[str, Any]:
    """Write the manifest of a new run, or check that an existing one is the same audit.

    Raises RunFolderError that says what differs, or when the folder holds something that is not a run.
    """
    if not run.manifest_path.is_file():
        strangers = [p.name for p in run.path.iterdir() if not p.name.startswith(".")] if run.path.is_dir() else []
        if strangers:
            raise RunFolderError(
                f"{str(run.path)!r} is not empty and not a run (it holds {strangers[0]!r}); choose another --out"
            )
        write_json(run.manifest_path, manifest)
        return manifest
    stored: dict[str, Any] = read_json(run.manifest_path)
    different = [key for key in _SAME_ON_RESUME if stored.get(key) != manifest[key]]
    if stored.get("model", {}).get("fingerprint") != manifest["model"]["fingerprint"]:
        different.append("model fingerprint")
    if different:
        raise RunFolderError(
            f"{str(run.path)!r} holds another audit ({', '.join(different)} differ): resume it with its own options, "
            "or choose another --out"
        )
    return stored
