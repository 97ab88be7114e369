"""Manifests: what is written, what was written before, and what a folder refuses to be continued with."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from imgaudit.exceptions import RunFolderError
from imgaudit.io.captions import CaptionSource
from imgaudit.io.portfolio import read_portfolio
from imgaudit.models.loading import bundled_lab, load_model
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.manifest import describe_model, make_manifest, open_manifest, read_manifest
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.detection import PromptDetectionSettings
from imgaudit.schema.manifest import AuditManifest, DetectionManifest, KnownOption, Manifest, TriggerManifest
from imgaudit.schema.protocol import Framing
from imgaudit.schema.triggers import ImageSettings, SearchSettings

BEFORE = Path(__file__).parent / "manifests"
"""Manifests as they were written when each kind had a format of its own."""

KINDS: dict[str, type[Manifest]] = {
    "audit": AuditManifest, "detection": DetectionManifest, "triggers": TriggerManifest,
}  # fmt: skip


def stored(name: str) -> dict:  # type: ignore[type-arg]
    return json.loads((BEFORE / f"{name}.json").read_text("utf-8"))  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", KINDS)
def test_a_manifest_of_before_is_read_and_loses_nothing(name: str) -> None:
    before = stored(name)
    after = KINDS[name].model_validate(before).model_dump(mode="json")
    assert {key: after[key] for key in before if key != "model"} == {
        key: value for key, value in before.items() if key != "model"
    }
    assert {key: after["model"][key] for key in before["model"]} == before["model"]


@pytest.mark.parametrize("name", KINDS)
def test_a_folder_of_before_is_continued(name: str, tmp_path: Path) -> None:
    manifest = KINDS[name].model_validate(stored(name))
    shutil.copy(BEFORE / f"{name}.json", tmp_path / "manifest.json")
    assert open_manifest(tmp_path, manifest) == manifest
    assert json.loads((tmp_path / "manifest.json").read_text("utf-8")) == stored(name)


@pytest.mark.parametrize("name", KINDS)
def test_a_folder_of_another_kind_is_refused(name: str, tmp_path: Path) -> None:
    manifest = KINDS[name].model_validate(stored(name))
    other = "audit" if name != "audit" else "triggers"
    shutil.copy(BEFORE / f"{other}.json", tmp_path / "manifest.json")
    with pytest.raises(RunFolderError, match=f"is not the manifest of {manifest.work}"):
        open_manifest(tmp_path, manifest)
    (tmp_path / "manifest.json").rename(tmp_path / "notes.json")
    with pytest.raises(RunFolderError, match=f"is not empty and not {manifest.work} .it holds 'notes.json'.; choose"):
        open_manifest(tmp_path, manifest)


def test_the_manifest_of_the_same_audit_is_as_before_and_six_keys_more(tmp_path: Path) -> None:
    model = load_model("demo", "cpu")
    folder = tmp_path / "pictures"
    folder.mkdir()
    for path in sorted((bundled_lab("demo") / "portfolio").glob("*.png"))[:2]:
        shutil.copy(path, folder)
    (folder / "broken.png").write_bytes(b"no image")
    portfolio = read_portfolio(folder, CaptionSource(folder))
    manifest = make_manifest(
        ["imgaudit", "audit", "pictures", "--model", "demo"], AuditConfig(operator="A. Auditor", framing=Framing.CROP),
        {"operator": "command line"}, model, portfolio, groups=[[one.image.id for one in portfolio.targets]],
        measures={"pixel": "imgaudit", "lpips": "skipped: its weights are not there"},
    )  # fmt: skip
    run = RunFolder(tmp_path / "run")
    open_manifest(run.path, manifest)
    assert read_manifest(run) == manifest and manifest.batch_size == "auto" and manifest.measured == {"pixel"}
    before, after = stored("audit"), json.loads(run.manifest_path.read_text("utf-8").replace(str(folder), "pictures"))
    machine = ("versions", "threads", "platform", "started")
    assert {key: value for key, value in after.items() if key not in machine} == {
        **{key: value for key, value in before.items() if key not in machine}, "kind": "audit",
        "model": before["model"] | {"dtype": "float32", "notes": []},
        "skipped": [one | {"sha256": hashlib.sha256(b"no image").hexdigest()} for one in before["skipped"]],
        "config": before["config"] | {
            key: {"value": value, "source": "default"}
            for key, value in (("series", "none"), ("no_controls", False), ("search", None), ("funnel", None))
        },
    }  # fmt: skip
    assert describe_model(model).files == before["model"]["files"]


def test_what_differs_is_said_in_words() -> None:
    audit = AuditManifest.model_validate(stored("audit"))
    protocol = AuditConfig(steps=2, framing=Framing.CROP).protocol.for_model("epsilon")
    changed = audit.model_copy(update={"protocol": protocol, "protocol_hash": protocol.hash, "seed": 1})
    assert list(audit.differences(audit)) == []
    declared = audit.model_copy(update={"config": {"series": KnownOption(value="folders", source="environment")}})
    assert list(audit.differences(declared)) == ["series none, now folders"]
    assert list(audit.differences(changed)) == [
        "inversion.steps 50, now 2",
        "error.after_steps 8, now 2",
        "seed 0, now 1",
    ]
    detection = DetectionManifest.model_validate(stored("detection"))
    other = detection.model_copy(update={"settings": PromptDetectionSettings(seeds=2), "prompts_sha256": ""})
    assert list(detection.differences(other)) == ["seeds 4, now 2", "other prompts"]
    search = TriggerManifest.model_validate(stored("triggers"))
    other_search = search.model_copy(
        update={"search": SearchSettings(chains=3), "images": ImageSettings(images=9), "proposal_sha256": ""}
    )
    assert list(search.differences(other_search)) == [
        "other words: 2 words of words.txt, now 2 words of words.txt", "chains 8, now 3", "images 16, now 9",
    ]  # fmt: skip
