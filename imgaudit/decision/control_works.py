"""Works among controls: near copies count once, and sets of controls that are joined keep where they came from."""

import hashlib
from collections.abc import Sequence

from imgaudit.decision.controls import Control, ControlSource
from imgaudit.decision.near_duplicates import label_near_hashes


def separate_works(controls: Sequence[Control]) -> tuple[list[Control], list[Control]]:
    """Return one control of every work, and the others; both in the order given."""
    works: dict[int, list[Control]] = {}
    for control, label in zip(controls, label_near_hashes([one.pdq for one in controls]).tolist(), strict=True):
        works.setdefault(label, []).append(control)
    chosen = {id(min(work, key=_draw)) for work in works.values()}
    return [one for one in controls if id(one) in chosen], [one for one in controls if id(one) not in chosen]


def _draw(control: Control) -> str:
    """Return the number by which one of several near copies is drawn.

    It is not their SHA-256, by which controls are kept out: works with many copies would be kept out more often.
    """
    return hashlib.sha256(control.sha256.encode()).hexdigest()


def merge_sources(sources: Sequence[ControlSource]) -> list[ControlSource]:
    """Join sets of controls with the same origin and seed, in an order that depends on their content alone."""
    merged: dict[tuple[str, int], ControlSource] = {}
    for source in sorted(sources, key=lambda one: one.model_dump_json()):
        key = (source.note, source.seed)
        same = merged.get(key)
        hashes = sorted({*source.sha256s, *(same.sha256s if same else ())})
        unmeasured = sorted({*source.same_works, *(same.same_works if same else ())} - set(hashes))
        made = min(source.made, same.made) if same else source.made
        merged[key] = ControlSource(
            note=source.note, made=made, seed=source.seed, sha256s=hashes, same_works=unmeasured
        )
    return list(merged.values())
