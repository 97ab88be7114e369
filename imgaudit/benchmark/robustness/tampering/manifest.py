"""Edits of manifest.json and of the checks of the model: what was run, by whom and how."""

from collections.abc import Callable
from typing import Any

from imgaudit.benchmark.robustness.tampering.edit import Attacker, Edit, EditedRun
from imgaudit.schema.policy import Policy

NAME = "manifest.json"

EVERYBODY = tuple(Attacker)


def _set(*keys: str, value: Any) -> Callable[[EditedRun], None]:
    def make(run: EditedRun) -> None:
        content = manifest = run.read(NAME)
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value
        run.write(NAME, manifest)

    return make


def _fingerprint(run: EditedRun) -> None:
    """Name another model than the null bank was made with, which then contradicts the manifest."""
    run.name("calibration.json")
    _set("model", "fingerprint", value="0" * 64)(run)


def _level_with_hash(run: EditedRun) -> None:
    """Loosen the policy together with its hash, as if it had been fixed so before the run."""
    manifest = run.read(NAME)
    manifest["policy"]["level"] = 0.4
    manifest["policy_hash"] = Policy.model_validate(manifest["policy"]).hash
    manifest["config"]["level"]["value"] = 0.4
    run.write(NAME, manifest)


def _drop_target(run: EditedRun) -> None:
    run.change(NAME, lambda manifest: manifest["targets"].pop(0))


def _add_target(run: EditedRun) -> None:
    added = {"sha256": "f" * 64, "path": "added.png", "texts_sha256": "0" * 64}
    run.change(NAME, lambda manifest: manifest["targets"].append(added))


def _rename_target(run: EditedRun) -> None:
    run.change(NAME, lambda manifest: manifest["targets"][0].update(path="renamed.png"))


def _model_check(run: EditedRun) -> None:
    run.change("model_checks.json", lambda checks: checks["checks"][0].update(passed=False))


def _delete_model_checks(run: EditedRun) -> None:
    (run.path / "model_checks.json").unlink()
    run.name("model_checks.json")


EDITS = (
    # What nothing else in the run repeats can be rewritten by whoever makes everything again.
    Edit("manifest: another operator", _set("operator", value="Somebody Else"), by_head=(Attacker.DECIDES,)),
    Edit("manifest: another date", _set("started", value="2020-01-01T00:00:00+00:00"), by_head=(Attacker.DECIDES,)),
    Edit("manifest: another model's name", _set("model", "name", value="other-model"), by_head=(Attacker.DECIDES,)),
    Edit("manifest: another command", _set("command", value=["imgaudit", "audit", "x"]), by_head=(Attacker.DECIDES,)),
    Edit("manifest: another fingerprint", _fingerprint, EVERYBODY),
    Edit("manifest: another seed", _set("seed", value=12345), EVERYBODY),
    Edit("manifest: policy.level 0.4, hash stale", _set("policy", "level", value=0.4), EVERYBODY),
    Edit("manifest: policy.level 0.4 with its hash", _level_with_hash, by_head=(Attacker.DECIDES,)),
    Edit("manifest: another protocol, hash stale", _set("protocol", "inversion", "steps", value=1000), EVERYBODY),
    Edit("manifest: a target left out", _drop_target, EVERYBODY),
    Edit("manifest: a target added", _add_target, EVERYBODY),
    Edit("manifest: a target renamed", _rename_target, EVERYBODY),
    Edit("model checks: one failed", _model_check, by_head=(Attacker.DECIDES,)),
    Edit("model checks deleted", _delete_model_checks, by_head=(Attacker.DECIDES,)),
)
"""Edits of the manifest."""
