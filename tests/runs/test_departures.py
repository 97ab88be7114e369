"""Departures from a seal that need no model: every field of a manifest that decides something is compared."""

from typing import Any

import pytest

from imgaudit.runs.departures import find_departures, find_manifest_departures, find_notes, find_other_seed
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.manifest import AuditManifest
from imgaudit.schema.records import SkippedImage
from imgaudit.schema.seal import FREE_OPTIONS, SealedCollection, SealedImages, Statement

MODEL = {
    "name": "m", "pipeline_class": "P", "fingerprint": "f" * 64, "files": {"a": "1", "b": "2"}, "resolution": 64,
    "prediction_type": "epsilon",
}  # fmt: skip


def manifest(**changes: Any) -> AuditManifest:
    config = AuditConfig()
    values = {
        "command": ["imgaudit"], "model": MODEL, "versions": {"imgaudit": "1", "torch": "2"}, "device": "cpu",
        "started": "2026-01-01T00:00:00+00:00", "protocol": config.protocol, "protocol_hash": config.protocol.hash,
        "config": {key: {"value": value, "source": "x"} for key, value in config.model_dump(mode="json").items()},
        "policy": config.policy, "policy_hash": config.policy.hash, "groups": [], "measures": {"pixel": "ours"},
        "targets": [{"sha256": "1" * 64, "path": "a/1.png", "texts_sha256": "t"}], "skipped": [], "remarks": [],
        "threads": 1, "platform": "p", "seed": 0, "operator": "",
    }  # fmt: skip
    return AuditManifest.model_validate(values | changes)


SAME = manifest()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"versions": {"imgaudit": "2", "torch": "2"}}, "imgaudit 1 was sealed, but this is 2"),
        ({"model": MODEL | {"fingerprint": "e" * 64}}, "model fingerprint eeee"),
        ({"model": MODEL | {"files": {"a": "1", "c": "2"}}}, "model file 'b' missing"),
        ({"model": MODEL | {"mitigation": "noise"}}, "model mitigation noise, sealed none"),
        ({"model": MODEL | {"loras": [{"file": "l", "weight": 0.5}]}}, "LoRAs l at weight 0.5, sealed none"),
        ({"protocol_hash": "0"}, "another protocol, by its hash"),
        ({"policy_hash": "0"}, "another policy, by its hash"),
        ({"protocol": AuditConfig(seeds=3).protocol}, "protocol generation.seeds 3, sealed"),
        ({"policy": AuditConfig(level=0.1).policy}, "policy level 0.1, sealed 0.05"),
        ({"measures": {"pixel": "ours", "lpips": "x"}}, "measure lpips is available only now"),
        ({"targets": []}, "target 'a/1.png' is missing"),
        ({"targets": [{"sha256": "2" * 64, "path": "a/1.png", "texts_sha256": "t"}]}, "target 'a/1.png' was changed"),
        ({"targets": [{"sha256": "1" * 64, "path": "z.png", "texts_sha256": "u"}]}, "has other prompts or captions"),
        ({"skipped": [{"path": "b.png", "skipped": "broken"}]}, "file 'b.png' that is no target was added"),
        ({"groups": [["1", "2"]]}, "grouped as works in another way"),
    ],
)
def test_every_difference_of_manifests_is_named(changes: dict[str, Any], said: str) -> None:
    assert list(find_manifest_departures(SAME, SAME)) == []
    assert any(said in one for one in find_manifest_departures(SAME, manifest(**changes)))
    assert list(find_manifest_departures(manifest(**changes), SAME))


@pytest.mark.parametrize("key", sorted(AuditConfig.model_fields))
def test_every_option_is_fixed_unless_it_is_free(key: str) -> None:
    config = {name: one.model_dump() for name, one in SAME.config.items()} | {key: {"value": "other", "source": "x"}}
    found = list(find_manifest_departures(SAME, manifest(config=config)))
    assert bool(found) is (key not in FREE_OPTIONS)


def test_names_and_places_are_free_and_machines_are_noted() -> None:
    moved = manifest(
        model=MODEL | {"name": "elsewhere"}, device="cuda", operator="Ann", versions={"imgaudit": "1", "torch": "3"},
        targets=[{"sha256": "1" * 64, "path": "/other/1.png", "texts_sha256": "t"}],
    )  # fmt: skip
    assert list(find_manifest_departures(SAME, moved)) == []
    assert list(find_notes(SAME, moved)) == [
        "torch: 2 when it was sealed, 3 in the run",
        "device: cpu when it was sealed, cuda in the run",
        "operator: not named when it was sealed, Ann in the run",
    ]


def test_another_seed_is_no_departure_but_is_said() -> None:
    other = manifest(seed=7)
    assert list(find_manifest_departures(SAME, other)) == [] and find_other_seed(SAME, SAME) == ""
    assert "seed 7 is another seed than the sealed one (0)" in find_other_seed(SAME, other)


def test_controls_decoys_and_collections_are_compared() -> None:
    images = SealedImages(images=SAME.targets, skipped=[SkippedImage(path="c.png", skipped="broken")])
    base = Statement(audit=SAME, controls=None, decoys=None, reference=None, inputs={})
    collection = SealedCollection(manifest_sha256="a" * 64, name="c")
    for changes, said in (
        ({"controls": images}, "1 controls were added"),
        ({"decoys": images}, "1 decoys were added"),
        ({"reference": collection}, "collection aaaaaaaaaaaaaaaa, sealed none"),
    ):
        other = base.model_copy(update=changes)
        assert list(find_departures(base, base)) == [] and said in next(iter(find_departures(base, other)))
        assert list(find_departures(other, other)) == [] and list(find_departures(other, base))
