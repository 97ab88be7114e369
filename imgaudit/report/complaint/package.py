"""The package of a complaint: a statement on one image with its pictures and records, as a folder or a zip file.

It names one work. Other images of the run, and the folders of the machine it ran on, are left out.
"""

import hashlib
import io
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imgaudit.exceptions import InputError, RunFolderError
from imgaudit.io.new_file import require_new_output
from imgaudit.io.reading import hash_file, read_bounded
from imgaudit.io.writing import MAX_JSON_BYTES, format_json, read_json, write_atomically
from imgaudit.report.audit.outputs import outputs_of, render_outputs_csv
from imgaudit.report.complaint.blocks import PictureBlock, render_statement_html, render_statement_markdown
from imgaudit.report.complaint.material import ComplaintMaterial
from imgaudit.report.complaint.statement import make_statement
from imgaudit.report.examined import draw_frame
from imgaudit.report.pages import read_asset
from imgaudit.report.pictures import fade_outside, png_bytes, read_picture
from imgaudit.report.print_foot import style_print_foot
from imgaudit.report.redaction import folders_of, without_folders
from imgaudit.report.review import DecisionLedger, write_decisions_file
from imgaudit.runs.finished import FinishedRun, result_digest, run_id
from imgaudit.runs.history import read_history
from imgaudit.schema.findings import Finding
from imgaudit.schema.records import Measurement
from imgaudit.schema.text import file_name

HEAD = "Head of the evidence"
"""Name of the head among digests."""

REDUCED = "of the whole file, of which this copy leaves out folders and all other images"
"""Words for what the digest beside a reduced manifest covers."""


def find_image(run: FinishedRun, name: str) -> Finding:
    """Find an image by its id, SHA-256 or file name. Raises InputError when none or several fit."""
    readable = [finding for finding in run.result.findings if finding.sha256]
    found = [one for one in readable if name.lower() in (one.id, one.sha256)]
    found = found or [one for one in readable if name in (one.path, file_name(one.path))]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(one.id for one in found[:10])
        raise InputError(f"{name!r:.200} is the name of {len(found)} images: give one's id instead ({ids})")
    raise InputError(
        f"expected the id, SHA-256 or file name of one of the {len(readable)} images of the run that could be read, "
        f"but got {name!r:.200}; imgaudit report RUN --format csv lists them"
    )


def make_package(run: FinishedRun, finding: Finding, *, whole_manifest: bool = False) -> dict[str, bytes]:
    """Make every file of the package, by name; the same run and decisions give the same bytes.

    whole_manifest:  whether manifest.json is the run's own, with every folder and file that was audited
    """
    manifest = read_json(run.folder.manifest_path)
    folders = list_folders(run)
    measurement = run.measurements.get(finding.id)
    name = run_id(run.folder)
    decisions = DecisionLedger(run.folder, name).read().of_image(finding.id)
    outputs = outputs_of(finding, measurement) if measurement else []
    wanted = {f"images/{finding.id}/{name}": f"work/{name}" for name in ("original.png", "target.png", "rendered.png")}
    wanted |= {one.replica.path: f"outputs/{one.name}" for one in outputs if one.role}
    files = {to: picture for path, to in wanted.items() if (picture := _picture(run, path)) is not None}
    if measurement and (framed := _draw_frame(run, measurement)):
        files["work/examined.png"] = framed
    regions = _draw_regions(run, finding, files)
    material = ComplaintMaterial(
        run, finding, measurement, outputs, {path: to for path, to in wanted.items() if to in files},
        "work/examined.png" if "work/examined.png" in files else "", regions,
        decisions, collect_digests(run), folders,
    )  # fmt: skip
    statement = make_statement(material)
    reduced = _reduced_manifest(manifest, finding, folders, run.folder.manifest_path)
    whole = read_bounded(run.folder.manifest_path, MAX_JSON_BYTES).decode("utf-8")
    texts = {
        "complaint.md": render_statement_markdown(statement),
        "complaint.html": render_statement_html(statement),
        "finding.json": format_json(without_folders(_named(finding.model_dump(mode="json")), folders)),
        "manifest.json": whole if whole_manifest else format_json(reduced),
        "decisions.json": write_decisions_file(name, decisions),
        "outputs.csv": render_outputs_csv(outputs),
    }
    if measurement:
        texts["measurement.json"] = format_json(without_folders(_named(measurement.model_dump(mode="json")), folders))
    files |= {path: text.encode("utf-8") for path, text in texts.items()}
    foot = style_print_foot(run.manifest.model.fingerprint, finding.sha256)
    files["complaint.css"] = (read_asset("complaint.css") or b"") + f"{foot}\n".encode()
    sums = "".join(f"{hashlib.sha256(files[path]).hexdigest()}  {path}\n" for path in sorted(files))
    return files | {"SHA256SUMS": sums.encode()}


def write_package(files: Mapping[str, bytes], output: Path, run: FinishedRun) -> Path:
    """Write the package into a new folder, or as a zip file when the name ends so; all of it or nothing.

    In a zip file everything lies in one folder of its name, so that unpacking it leaves one folder behind.

    Raises InputError when there is something already, or the place lies in the run, which is evidence.
    """
    require_new_output(output, run.folder.path)
    if output.suffix.lower() == ".zip":
        folder = output.stem.strip(".") or "complaint"
        write_atomically(output, zip_bytes({f"{folder}/{path}": content for path, content in files.items()}))
        return output
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        for path, content in files.items():
            write_atomically(unfinished / path, content)
        # mkdtemp's folder is its owner's alone; a package is to be handed on.
        unfinished.chmod(0o755)
        unfinished.rename(output)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return output


def zip_bytes(files: Mapping[str, bytes]) -> bytes:
    """Return a zip file whose bytes depend on names and contents alone.

    It has no times and no owners, and stores files uncompressed, because compressors differ.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(files):
            entry = zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            entry.create_system = 3
            archive.writestr(entry, files[path])
    return buffer.getvalue()


def _picture(run: FinishedRun, path: str) -> bytes | None:
    """Return a picture's bytes as the run's evidence has them; None when they cannot be read."""
    try:
        return read_picture(run.folder, path)[0]
    except InputError:
        return None


def _draw_frame(run: FinishedRun, measurement: Measurement) -> bytes:
    """Return the owner's picture with the part that was examined marked; empty where that is all of it."""
    if measurement.frame is None or measurement.frame.share >= 1:
        return b""
    try:
        _, original = read_picture(run.folder, f"images/{measurement.id}/original.png")
    except InputError:
        return b""
    return png_bytes(draw_frame(original, measurement))


def _draw_regions(run: FinishedRun, finding: Finding, files: dict[str, bytes]) -> list[PictureBlock]:
    """Add the two pictures that show which part was returned."""
    if finding.part is None:
        return []
    pair = finding.part.pair
    drawn = []
    for path, region, name, caption in (
        (f"images/{finding.id}/target.png", pair.region, "work", "The work; everything that does not agree is faded"),
        (finding.part.path, pair.candidate_region, "output", "The generated image, faded in the same way"),
    ):
        try:
            _, image = read_picture(run.folder, path)
        except InputError:
            continue
        files[f"part/{name}.png"] = png_bytes(fade_outside(image, region))
        drawn.append(PictureBlock(f"part/{name}.png", caption))
    return drawn


def list_folders(run: FinishedRun) -> list[str]:
    """List the folders of the machine that a run names, in its commands, files and controls, for their removal."""
    commands = [run.manifest.command, *(one.start.command for one in read_history(run.folder).entries)]
    commands += [command for shard in run.manifest.merged for command in shard.commands]
    given = [str(part).partition("=")[2] or str(part) for command in commands for part in command]
    # A bank says "folder PATH" or "--controls PATH" where nobody gave a note.
    notes = [source.note.partition(" ")[2] for source in run.bank.sources] if run.bank else []
    paths = [target.path for target in run.manifest.targets] + [one.path for one in run.manifest.skipped]
    return folders_of([*paths, *(finding.path for finding in run.result.findings), *given, *notes])


def _reduced_manifest(manifest: dict[str, Any], finding: Finding, folders: list[str], path: Path) -> dict[str, Any]:
    own = {
        "targets": [_named(one) for one in manifest["targets"] if one["sha256"] == finding.sha256],
        "groups": [group for group in manifest["groups"] if finding.id in group],
        "skipped": [],
        "remarks": [],
    }
    whole = hash_file(path)
    left_out = {"targets": len(manifest["targets"]) - 1, "skipped": len(manifest["skipped"])}
    reduced: dict[str, Any] = without_folders(manifest | own, folders)
    return {"reduced": {"sha256": whole, "is": REDUCED, "left_out": left_out}} | reduced


def _named(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record of an image with the file name in place of its path."""
    return record | {"path": file_name(record["path"])}


def collect_digests(run: FinishedRun) -> dict[str, str]:
    """Return the SHA-256 of manifest.json and report.json, and the head of the evidence where there is one."""
    digests = {
        "manifest.json": hash_file(run.folder.manifest_path),
        "report.json": result_digest(run.folder),
    }
    try:
        head = read_json(run.folder.path / "evidence.json")["head"]
    except (RunFolderError, KeyError, TypeError):
        return digests
    return digests | {HEAD: str(head)}
