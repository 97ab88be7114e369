"""The model of a replay against the one that a run names, and what differs between the two machines."""

from collections.abc import Iterator

import torch

from imgaudit.exceptions import VerificationError
from imgaudit.models.loading import LoadedModel
from imgaudit.runs.manifest import describe_model, device_of, package_versions
from imgaudit.schema.manifest import AuditManifest, KnownModel

DECIDING_PACKAGES = ("imgaudit", "torch", "diffusers", "transformers", "numpy")
"""Packages whose version can change pixels."""


def require_same_model(manifest: AuditManifest, model: LoadedModel) -> None:
    """Refuse a model that is not the run's: other weights, LoRAs, mitigation, rounding or precision.

    Another device is allowed, and the precision that imgaudit uses on it. Raises VerificationError that names both
    models and what differs.
    """
    there, here = manifest.model, describe_model(model)
    differences = list(_differences(there, here))
    same_kind = device_kind(manifest.device) == device_kind(device_of(model))
    if same_kind and there.dtype and here.dtype and there.dtype != here.dtype:
        differences.append(f"precision {there.dtype} there, {here.dtype} here")
    if differences:
        raise VerificationError(
            f"the run was made with the model {there.name!r:.200} (fingerprint {there.fingerprint:.16}), and "
            f"{here.name!r:.200} (fingerprint {here.fingerprint:.16}) is another one: {'; '.join(differences)}. Give "
            "the model that the run names, with the same --lora, --variant and --mitigation"
        )


def _differences(there: KnownModel, here: KnownModel) -> Iterator[str]:
    """Yield what makes another model, in words; nothing when it is the same."""
    for name in ("quantised", "mitigation"):
        before, now = getattr(there, name), getattr(here, name)
        if before != now:
            yield f"{name} {before or 'none'!r:.80} there, {now or 'none'!r:.80} here"
    loras = [[(one.sha256, one.weight) for one in known.loras] for known in (there, here)]
    if loras[0] != loras[1]:
        names = [", ".join(f"{one.file} x {one.weight:g}" for one in known.loras) or "none" for known in (there, here)]
        yield f"LoRAs {names[0]!r:.200} there, {names[1]!r:.200} here"
    if there.fingerprint != here.fingerprint:
        files = there.files.keys() | here.files.keys()
        changed = [name for name in files if there.files.get(name) != here.files.get(name)]
        yield f"{len(changed)} files differ" + (f" (such as {min(changed)!r:.200})" if changed else "")


def device_kind(device: str) -> str:
    """Return the kind of a device.

    >>> device_kind("cuda:1")
    'cuda'
    """
    return device.partition(":")[0]


def describe_machines(manifest: AuditManifest, model: LoadedModel, batch_size: int) -> list[str]:
    """List what may change the last digits, as it was in the run and as it is here; what is the same, once."""
    unknown = "not recorded"
    pairs = [
        ("device", manifest.device, device_of(model)),
        ("precision", manifest.model.dtype or unknown, describe_model(model).dtype or unknown),
        ("compiled", _words(manifest.model.compiled), _words(model.compiled)),
        ("processor threads", str(manifest.threads), str(torch.get_num_threads())),
        ("largest batch", str(manifest.batch_size), str(batch_size)),
    ]
    here = package_versions()
    pairs += [(name, manifest.versions.get(name, unknown), here.get(name, unknown)) for name in DECIDING_PACKAGES]
    return [
        f"{name} {there}" if there == now else f"{name} {there:.80} there, {now} here" for name, there, now in pairs
    ]


def _words(value: bool) -> str:
    return "yes" if value else "no"
