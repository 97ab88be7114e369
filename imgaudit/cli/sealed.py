"""An audit that keeps to a seal: options and files that the seal fixes need not be given again."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgaudit.cli.inputs import Folders
from imgaudit.cli.paths import check_file, check_folder
from imgaudit.exceptions import InputError
from imgaudit.schema.config import AuditConfig

if TYPE_CHECKING:
    from imgaudit.runs.folder import RunFolder
    from imgaudit.schema.seal import Seal, Statement


def find_seal(folders: Folders, run: Path) -> "Seal | None":
    """Return the seal that was given, or that of a run which is continued; None where there is none."""
    from imgaudit.runs.folder import RunFolder
    from imgaudit.runs.seal import read_run_seal, read_seal

    return read_seal(folders.seal) if folders.seal is not None else read_run_seal(RunFolder(run))


def keep_to_seal(
    statement: "Statement", folders: Folders, config: AuditConfig, sources: dict[str, str], run: Path
) -> tuple[Folders, AuditConfig, dict[str, str]]:
    """Fill in from a seal what was not given. Another seed may be given.

    sources:  where each option's value comes from
    run:      run folder; one that is continued keeps its own seed
    Returns the folders, the configuration, and its sources.

    Raises InputError that names every option which was given with another value than the seal fixes.
    """
    from imgaudit.runs.folder import RunFolder
    from imgaudit.runs.manifest import read_manifest
    from imgaudit.schema.seal import FREE_OPTIONS

    given = {key for key, source in sources.items() if source != "default"}
    here, sealed = config.model_dump(mode="json"), statement.config.model_dump(mode="json")
    fixed = here.keys() - FREE_OPTIONS
    contradicting = [key for key in sorted(given & fixed) if here[key] != sealed[key]]
    if contradicting:
        said = "; ".join(f"{key}: {here[key]} (from {sources[key]}), sealed {sealed[key]}" for key in contradicting)
        raise InputError(
            f"the seal fixes other options: {said}. Leave them out, as they are taken from the seal, or seal anew"
        )
    taken = fixed | ({"seed", "operator"} - given)
    values = here | {key: sealed[key] for key in taken}
    folder = RunFolder(run)
    if "seed" in taken and folder.manifest_path.is_file():
        values["seed"] = read_manifest(folder).seed
    sources = sources | dict.fromkeys(taken, "seal")
    return _fill_folders(statement, folders, folder), AuditConfig.model_validate(values), sources


def _fill_folders(statement: "Statement", folders: Folders, run: "RunFolder") -> Folders:
    """Name what was sealed and is not given; controls and decoys that the run holds already are not read again."""
    names = ["captions", "prompts", "reference"]
    if not (folders.has_controls or run.calibration_path.is_file()):
        names += ["controls", "calibration"]
    if not run.decoys_path.is_file():
        names.append("decoys")
    missing: dict[str, Any] = {
        name: Path(path) for name, path in statement.inputs.items() if name in names and getattr(folders, name) is None
    }
    # Those that were given are checked already.
    for name, path in missing.items():
        check = check_folder if name in ("controls", "decoys", "reference") else check_file
        check(f"{name} of the seal", path)
    return replace(folders, **missing)
