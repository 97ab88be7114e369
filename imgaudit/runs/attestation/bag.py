"""A bag for handing a run over (BagIt, RFC 8493): a copy of the run in data/, lists of digests, and a README."""

import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from imgaudit.exceptions import RunFolderError
from imgaudit.io.new_file import require_new_output, write_new
from imgaudit.io.reading import open_regular
from imgaudit.runs.attestation.libraries import needs_evidence_extra
from imgaudit.runs.attestation.place import ENVELOPE, FOLDER, Place
from imgaudit.runs.attestation.zip_archive import write_zip
from imgaudit.runs.evidence import read_evidence
from imgaudit.runs.finished import run_id
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.inventory import list_run
from imgaudit.runs.verification.files import find_changes

README = "README.txt"


def make_bag(run: RunFolder, output: Path) -> Path:
    """Copy a finished run with its signatures and timestamps into a new bag; return its folder or zip file.

    output:  a new folder, or a file whose name ends in .zip
    The run itself is not touched. Raises InputError when something is there already or the place lies in the run,
    RunFolderError when the run is not finished or not as its evidence says.
    """
    with needs_evidence_extra("making a bag"):
        import bagit
    require_new_output(output, run.path)
    head = read_evidence(run).head
    if changes := find_changes(run):
        raise RunFolderError(f"{str(run.path)!r} is not as its evidence says, and is not packed: {changes[0]}")
    place = Place.of_run(run)
    name = run_id(run)
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        _copy(run, place, unfinished)
        with quiet_bagit():
            information = {
                "External-Identifier": name,
                "External-Description": "An audit by imgaudit; README.txt says how to verify it",
                "Imgaudit-Head": head,
                "Imgaudit-Version": metadata.version("imgaudit"),
            }
            made = bagit.make_bag(str(unfinished), information, checksums=["sha256"])
            write_new(unfinished / README, _describe(name, head, place).encode("utf-8"))
            # The README is listed as well.
            made.save()
        if output.suffix.lower() == ".zip":
            write_zip(unfinished, output, output.stem)
            shutil.rmtree(unfinished)
        else:
            # mkdtemp's folder is its owner's alone; a bag is to be handed on.
            unfinished.chmod(0o755)
            (unfinished / "data").chmod(0o755)
            unfinished.rename(output)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return output


@contextmanager
def quiet_bagit() -> Iterator[None]:
    """Keep bagit from printing what it raises as well, and from warning of Python's own deprecations."""
    logger = logging.getLogger("bagit")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)


def _copy(run: RunFolder, place: Place, folder: Path) -> None:
    """Copy the files of a run, and its attestations, without following a link."""
    inventory = list_run(run.path)
    if inventory.refused:
        raise RunFolderError(f"{str(run.path)!r} cannot be copied: {'; '.join(inventory.refused)}")
    for name in [*inventory.files, *(f"{FOLDER}/{one}" for one in place.names())]:
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open_regular(run.path / name) as source, copy.open("xb") as target:
                shutil.copyfileobj(source, target)
        except OSError as error:
            raise RunFolderError(f"{str(run.path / name)!r} cannot be copied: {error.strerror}") from error


def _describe(name: str, head: str, place: Place) -> str:
    """Return the README of a bag: what it is, and how to verify it, with imgaudit and without."""
    signed = bool(place.envelopes())
    stamped = [(file, about) for file, about in place.responses() if place.target(about) is not None]
    options = " --key PUBLIC.pem" * signed + " --tsa-root ROOT.pem" * bool(stamped)
    lines = [
        "The run of an audit by imgaudit, packed as a bag (BagIt, RFC 8493).",
        "",
        f"run   {name}",
        f"head  {head}",
        "",
        "data/ is the run as it was finished. data/report/index.html is its report. data/evidence.json lists the",
        "SHA-256 of every file.",
        "",
        "To verify it, with imgaudit and its extra packages (pip install 'imgaudit[evidence]'), in the folder above:",
        "",
        f"    imgaudit verify THIS-FOLDER --head {head[:16]}{options}",
        "",
        "Take the head, the public key and the root certificate from their owners, not from whoever gave you this bag.",
        "",
        "Without imgaudit, in this folder: whether any file changed since it was packed:",
        "",
        # Not in one command: sha256sum wants all lists in one form, and bagit writes the second in another.
        "    sha256sum -c manifest-sha256.txt",
        "    sha256sum -c tagmanifest-sha256.txt",
    ]
    if stamped:
        lines += ["", "and the time of the timestamps, with the root certificate of the authority:", ""]
        for file, about in stamped:
            inside = f"{FOLDER}/{about}" if about.endswith(ENVELOPE) else about
            lines.append(f"    openssl ts -verify -in data/{FOLDER}/{file} -data data/{inside} -CAfile ROOT.pem")
    if signed:
        lines += [
            "",
            f"Signatures are data/{FOLDER}/*{ENVELOPE}: in-toto statements in DSSE envelopes, which other tools verify",
            "as well.",
        ]
    return "\n".join([*lines, ""])
