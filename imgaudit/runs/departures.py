"""Departures from a seal: every point in which an audit is not the one that was stated before, in words."""

from collections.abc import Iterator, Sequence

from imgaudit.schema.manifest import AuditManifest, KnownModel, KnownTarget
from imgaudit.schema.records import SkippedImage
from imgaudit.schema.seal import FREE_OPTIONS, SealedBank, SealedCollection, SealedImages, Statement
from imgaudit.schema.text import file_name

Controls = SealedImages | SealedBank | None


def find_departures(sealed: Statement, now: Statement) -> Iterator[str]:
    """Yield every point in which an audit departs from its seal. Another seed is none: see `find_other_seed`.

    sealed:  the statement
    now:     the statement that would be made of the audit as it is asked for now
    """
    yield from find_manifest_departures(sealed.audit, now.audit)
    yield from _compare_controls(sealed.controls, now.controls)
    yield from _compare_sets("decoy", sealed.decoys, now.decoys)
    yield from _compare_collections(sealed.reference, now.reference)


def find_manifest_departures(sealed: AuditManifest, now: AuditManifest) -> Iterator[str]:
    """Yield every point in which the manifest of a run departs from the one that was sealed."""
    before, after = (one.versions.get("imgaudit", "unknown") for one in (sealed, now))
    if before != after:
        yield f"imgaudit {before} was sealed, but this is {after}: install that version, or seal again with this one"
    yield from _compare_models(sealed.model, now.model)
    yield from _compare_rules(sealed, now)
    yield from compare_images("target", sealed.targets, now.targets)
    yield from _compare_skipped("target", sealed.skipped, now.skipped)
    if sorted(map(sorted, sealed.groups)) != sorted(map(sorted, now.groups)):
        yield "targets are grouped as works in another way than was sealed"


def find_other_seed(sealed: AuditManifest, now: AuditManifest) -> str:
    """Return in words that a run has another seed than was sealed; empty when it has the sealed one.

    Results of a run with another seed are not those that the statement announced: whoever runs many seeds and shows
    one has chosen it.
    """
    if sealed.seed == now.seed:
        return ""
    return f"seed {now.seed} is another seed than the sealed one ({sealed.seed}): a further run of the same statement"


def find_notes(sealed: AuditManifest, now: AuditManifest) -> Iterator[str]:
    """Yield what differs from the time of sealing and is allowed to: machine, operator and other packages."""
    for name in sorted((sealed.versions.keys() | now.versions.keys()) - {"imgaudit"}):
        before, after = (one.versions.get(name, "not installed") for one in (sealed, now))
        if before != after:
            yield f"{name}: {before} when it was sealed, {after} in the run"
    for name in ("device", "threads", "platform", "operator"):
        before, after = (str(getattr(one, name)) or "not named" for one in (sealed, now))
        if before != after:
            yield f"{name}: {before:.200} when it was sealed, {after:.200} in the run"


def _compare_models(sealed: KnownModel, now: KnownModel) -> Iterator[str]:
    """Name the files of a model that are others; names and places of the model may be others."""
    if sealed.fingerprint != now.fingerprint:
        yield f"model fingerprint {now.fingerprint[:16]}, sealed {sealed.fingerprint[:16]}"
    for name in sorted(sealed.files.keys() | now.files.keys()):
        if sealed.files.get(name) != now.files.get(name):
            what = "missing" if name not in now.files else "changed" if name in sealed.files else "added"
            yield f"model file {name!r:.200} {what}"
    loras = [{f"{one.file} at weight {one.weight:g}" for one in model.loras} for model in (sealed, now)]
    if loras[0] != loras[1]:
        yield f"LoRAs {_list(loras[1])}, sealed {_list(loras[0])}"
    for name in ("pipeline_class", "variant", "quantised", "compiled", "mitigation", "resolution", "prediction_type"):
        before, after = getattr(sealed, name), getattr(now, name)
        if before != after:
            yield f"model {name.replace('_', ' ')} {after or 'none'}, sealed {before or 'none'}"


def _compare_rules(sealed: AuditManifest, now: AuditManifest) -> Iterator[str]:
    options = [
        f"option {key}: {_value(now, key)}, sealed {_value(sealed, key)}"
        for key in sorted((sealed.config.keys() | now.config.keys()) - FREE_OPTIONS)
        if _value(sealed, key) != _value(now, key)
    ]
    yield from options
    protocol = [_sealed(one) for one in now.protocol.differences(sealed.protocol)]
    # Options explain a protocol; where they are the same, it was exchanged.
    if protocol and not options:
        yield from (f"protocol {one}" for one in protocol)
    elif sealed.protocol_hash != now.protocol_hash and not options:
        yield "another protocol, by its hash"
    policy = [_sealed(one) for one in now.policy.differences(sealed.policy)]
    yield from (f"policy {one}" for one in policy)
    if sealed.policy_hash != now.policy_hash and not policy:
        yield "another policy, by its hash"
    for name in sorted(sealed.measured ^ now.measured):
        yield f"measure {name} is {'not available now' if name in sealed.measured else 'available only now'}"


def compare_images(word: str, sealed: Sequence[KnownTarget], now: Sequence[KnownTarget]) -> Iterator[str]:
    """Yield images that are missing, changed or added, and images with other prompts or captions.

    word:  "target", "control" or "decoy"
    """
    before, after = ({one.sha256: one for one in images} for images in (sealed, now))
    missing = [one for sha256, one in before.items() if sha256 not in after]
    added = {file_name(one.path): one for sha256, one in after.items() if sha256 not in before}
    for one in missing:
        changed = added.pop(file_name(one.path), None)
        yield f"{word} {one.path!r:.200} {'is missing' if changed is None else 'was changed'}"
    for one in added.values():
        yield f"{word} {one.path!r:.200} was added"
    for sha256, one in before.items():
        if sha256 in after and after[sha256].texts_sha256 != one.texts_sha256:
            yield f"{word} {one.path!r:.200} has other prompts or captions"


def _compare_skipped(word: str, sealed: Sequence[SkippedImage], now: Sequence[SkippedImage]) -> Iterator[str]:
    before, after = ({file_name(one.path) for one in files} for files in (sealed, now))
    for name in sorted(before ^ after):
        yield f"file {name!r:.200} that is no {word} {'is missing' if name in before else 'was added'}"


def _compare_sets(word: str, sealed: SealedImages | None, now: SealedImages | None) -> Iterator[str]:
    if sealed is None or now is None:
        if sealed is not now:
            count = len((sealed or now or SealedImages(images=[], skipped=[])).images)
            yield f"{count} {word}s {'are missing' if now is None else 'were added'}"
        return
    yield from compare_images(word, sealed.images, now.images)
    yield from _compare_skipped(word, sealed.skipped, now.skipped)


def _compare_controls(sealed: Controls, now: Controls) -> Iterator[str]:
    if isinstance(sealed, SealedBank) or isinstance(now, SealedBank):
        if sealed != now:
            yield f"controls: {_describe(now)}, sealed {_describe(sealed)}"
    else:
        yield from _compare_sets("control", sealed, now)


def _describe(controls: Controls) -> str:
    if isinstance(controls, SealedBank):
        return f"the null bank {controls.bank_sha256[:16]} of {controls.controls} files"
    return "none" if controls is None else f"a folder of {len(controls.images)} images"


def _compare_collections(sealed: SealedCollection | None, now: SealedCollection | None) -> Iterator[str]:
    before, after = ("" if one is None else one.manifest_sha256 for one in (sealed, now))
    if before != after:
        yield f"collection {after[:16] or 'none'}, sealed {before[:16] or 'none'}"


def _value(manifest: AuditManifest, key: str) -> str:
    known = manifest.config.get(key)
    return "unknown" if known is None else f"{known.value}"


def _list(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _sealed(difference: str) -> str:
    """Return a difference "level: 0.1 here, 0.05 there" as "level 0.1, sealed 0.05"."""
    return difference.removesuffix(" there").replace(": ", " ", 1).replace(" here, ", ", sealed ")
