"""Statements of audits: made from what an audit is given, before anything is measured."""

from collections.abc import Mapping

from imgaudit.decision.null_bank import NullBank
from imgaudit.exceptions import InputError
from imgaudit.io.portfolio import Portfolio
from imgaudit.io.reading import format_path, hash_file
from imgaudit.models.loading import LoadedModel
from imgaudit.runs.callbacks import OnNote
from imgaudit.runs.departures import find_departures, find_notes, find_other_seed
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.inputs import AuditInputs, Origin
from imgaudit.runs.manifest import describe_targets, make_manifest
from imgaudit.runs.works import group_targets
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.manifest import SKIPPED_MEASURE, AuditManifest
from imgaudit.schema.records import Skipped
from imgaudit.schema.seal import Seal, SealedBank, SealedCollection, SealedImages, Statement, hash_json
from imgaudit.similarity.matcher import Matcher, standard_matcher

SHOWN = 40
"""Departures that a message lists."""


def make_seal(model: LoadedModel, inputs: AuditInputs, config: AuditConfig, origin: Origin) -> Seal:
    """Fix an audit in a statement.

    model:  loaded; no image is given to it
    Raises CalibrationError for a null bank of another model or protocol.
    """
    if isinstance(inputs.controls, NullBank):
        inputs.controls.require(model.denoiser.fingerprint, config.protocol.for_model(model.denoiser.prediction_type))
    manifest = make_manifest(
        origin.command, config, origin.sources, model, inputs.portfolio, policy=inputs.policy,
        groups=group_targets(inputs.portfolio, config.series),
        measures=name_measures(*standard_matcher(model.denoiser.resolution)),
    )  # fmt: skip
    return Seal.of(_state(manifest, inputs, origin))


def name_measures(matcher: Matcher, lacking: Mapping[str, Skipped]) -> dict[str, str]:
    """Return every similarity and distance with its source, or "skipped: " and the reason.

    matcher, lacking:  from `standard_matcher`
    """
    measures = {one.name: one.source for one in matcher.descriptors}
    measures |= {one.name: one.source for one in matcher.distances}
    return measures | {name: SKIPPED_MEASURE + one.skipped for name, one in lacking.items()}


def require_seal(run: RunFolder, inputs: AuditInputs, manifest: AuditManifest, origin: Origin, on_note: OnNote) -> None:
    """Refuse an audit that departs from its seal. Controls and decoys that a run holds already need not be given again.

    inputs:    of the audit, as they were given
    manifest:  that the audit would be begun with now
    on_note:   called with what the seal does not fix and is another now, such as the seed

    Raises InputError that names every departure.
    """
    if inputs.seal is None:
        return
    seal, sealed = inputs.seal, inputs.seal.statement
    now = _state(manifest, inputs, origin)
    if inputs.controls is None and run.calibration_path.is_file():
        now = now.model_copy(update={"controls": sealed.controls})
    if inputs.decoys is None and run.decoys_path.is_file():
        now = now.model_copy(update={"decoys": sealed.decoys})
    departures = list(find_departures(sealed, now))
    if departures:
        named = "; ".join(departures[:SHOWN])
        more = f"; and {len(departures) - SHOWN} more" if len(departures) > SHOWN else ""
        raise InputError(
            f"the audit would depart from the seal {seal.sha256[:16]} of {sealed.audit.started} in {len(departures)} "
            f"points: {named}{more}. Give what was sealed, or seal anew with imgaudit seal"
        )
    if other := find_other_seed(sealed.audit, manifest):
        on_note(f"note: {other}; reports and imgaudit verify say so")
    for note in find_notes(sealed.audit, manifest):
        on_note(f"note: not fixed by the seal: {note}")


def _state(manifest: AuditManifest, inputs: AuditInputs, origin: Origin) -> Statement:
    controls, reference = inputs.controls, inputs.reference
    collection = None
    if reference is not None:
        digest = hash_file(reference.folder / "manifest.json")
        collection = SealedCollection(manifest_sha256=digest, name=format_path(reference.folder.resolve().name))
    return Statement(
        audit=manifest,
        controls=_seal_bank(controls) if isinstance(controls, NullBank) else _seal_images(controls),
        decoys=_seal_images(inputs.decoys),
        reference=collection,
        inputs={name: format_path(path) for name, path in origin.inputs.items()},
    )


def _seal_bank(bank: NullBank) -> SealedBank:
    return SealedBank(bank_sha256=hash_json(bank.model_dump(mode="json")), controls=bank.files, source=bank.source)


def _seal_images(portfolio: Portfolio | None) -> SealedImages | None:
    if portfolio is None:
        return None
    return SealedImages(images=describe_targets(portfolio), skipped=list(portfolio.skipped))
