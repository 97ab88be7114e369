"""From measured controls to a null bank."""

from collections.abc import Sequence

from imgaudit.decision.controls import ControlSource, make_control
from imgaudit.decision.null_bank import NullBank, split_controls
from imgaudit.schema.protocol import Protocol
from imgaudit.schema.records import Measurement


def build_bank(
    measurements: Sequence[Measurement],
    *,
    model: str,
    model_fingerprint: str,
    protocol: Protocol,
    seed: int,
    note: str,
    made: str,
    same_works: Sequence[str] = (),
    copy_descriptor: str = "",
) -> NullBank:
    """Freeze a bank from measured controls. Identical files and near copies count once.

    model:  name of the model, for the reader
    seed:   run seed of the calibration
    note:   where the controls came from, and why they cannot have been in the training set
    made:   UTC time of the calibration
    same_works:  SHA-256 of files that were not measured, because they are of the same works
    copy_descriptor:  name and origin of the copy descriptor of all measurements; empty without one
    """
    unique = {measurement.sha256: measurement for measurement in measurements}
    controls = [make_control(unique[sha256]) for sha256 in sorted(unique)]
    source = ControlSource(
        note=note, made=made, seed=seed, sha256s=sorted(unique), same_works=sorted(set(same_works) - unique.keys())
    )
    empty = NullBank(
        model=model, model_fingerprint=model_fingerprint, protocol=protocol, sources=[], kept_out=[], controls=[],
        copy_descriptor=copy_descriptor,
    )  # fmt: skip
    return split_controls(empty, controls, [source])
