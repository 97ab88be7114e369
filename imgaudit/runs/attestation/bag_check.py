"""Bags from others: looked at before they are opened, then validated; every file that does not fit is named."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath

from imgaudit.exceptions import InputError, VerificationError
from imgaudit.io.reading import read_bounded
from imgaudit.runs.attestation.bag import quiet_bagit
from imgaudit.runs.attestation.libraries import needs_evidence_extra
from imgaudit.runs.attestation.place import FOLDER
from imgaudit.runs.inventory import list_run
from imgaudit.schema.verification import Check

NAME = "bag"
DECLARATION, INFORMATION, FETCH = "bagit.txt", "bag-info.txt", "fetch.txt"
PAYLOAD = "data"
ALGORITHMS = ("sha256", "sha512")
"""Digests of which at least one list must be there: older ones can be forged."""
MAX_TAG_BYTES = 2**20
"""Size of bagit.txt and bag-info.txt."""
MAX_LIST_BYTES = 64 * 2**20
"""Size of a list of digests."""
MAX_LINES = 1_000_000
"""Lines of a list of digests."""
SHOWN = 20
"""Files that are named."""

_LIST = re.compile(r"(tag)?manifest-[a-z0-9]+\.txt")
_STRANGE_ENDS = re.compile("[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]|\r(?!\n)")
_OXUM = re.compile(r"[0-9]{1,18}\.[0-9]{1,18}")


def is_bag(path: Path) -> bool:
    """Tell whether a folder is a bag: it has a bagit.txt, and is no run itself."""
    return (path / DECLARATION).is_file() and not (path / "manifest.json").exists()


def check_bag(path: Path) -> Check:
    """Validate a bag; files that are missing, changed or added are named.

    Raises VerificationError for a bag that is damaged, could reach outside of its folder, or is made to exhaust the
    machine; of those last, no file is opened but the lists themselves.
    """
    with needs_evidence_extra("checking a bag"):
        import bagit
    entries = _refuse_hostile(path)
    problems: list[str] = []
    try:
        with quiet_bagit():
            bag = bagit.Bag(str(path))
            # bagit stops at this count, and then names no file; so the files are compared first.
            counted = bag.info.pop("Payload-Oxum", None)
            try:
                bag.validate()
            except bagit.BagValidationError as error:
                problems = list(_name_files(error))
    except (bagit.BagError, OSError, ValueError) as error:
        raise VerificationError(f"{str(path)!r} is a damaged bag: {error!s:.300}") from error
    payload = [size for name, size in entries.items() if name.startswith(f"{PAYLOAD}/")]
    present = f"{sum(payload)}.{len(payload)}"
    if counted is not None and counted != present and not problems:
        problems.append(
            f"{INFORMATION!r} was changed: for the bytes and the number of files in {PAYLOAD}/ it says "
            f"{counted!r:.80}, and they are {present!r}"
        )
    done = f"{len(payload)} files in {PAYLOAD}/ were compared with the lists of the bag"
    return Check(name=NAME, done=done, problems=tuple(problems))


def _name_files(error: "Exception") -> Iterator[str]:
    """Say which files a validation complained of."""
    from bagit import ChecksumMismatch, FileMissing, UnexpectedFile

    words = {
        ChecksumMismatch: "was changed since the bag was made",
        FileMissing: "is missing from the bag",
        UnexpectedFile: "was added to the bag",
    }
    details = getattr(error, "details", [])
    if not details:
        yield f"the bag is not valid: {error!s:.300}"
    for one in sorted(details, key=lambda detail: str(getattr(detail, "path", "")))[:SHOWN]:
        yield f"{getattr(one, 'path', '')!r:.200} {words.get(type(one), 'is not as the bag says')}"
    if len(details) > SHOWN:
        yield f"{len(details) - SHOWN} more files of the bag are not as it says"


def _refuse_hostile(path: Path) -> Mapping[str, int]:
    """Return the bytes of every file by name. Raises VerificationError for a bag that must not be opened."""
    inventory = list_run(path)
    if inventory.refused:
        raise VerificationError(f"{str(path)!r} is not opened: {'; '.join(inventory.refused)}")
    if (path / FOLDER).exists():
        raise VerificationError(f"{str(path)!r} is not opened: {FOLDER!r} belongs into {PAYLOAD}/, and lies beside it")
    top = {name: size for name, size in inventory.files.items() if "/" not in name}
    if FETCH in top:
        raise VerificationError(
            f"{str(path)!r} is not opened: it has a {FETCH}, which names files to be fetched from elsewhere; nothing "
            "is ever fetched: ask for the complete bag"
        )
    declared = _read_text(path, DECLARATION)
    if not re.search(r"^Tag-File-Character-Encoding: *UTF-8 *$", declared, re.IGNORECASE | re.MULTILINE):
        raise VerificationError(f"{str(path)!r} is not opened: its {DECLARATION} does not say that it is UTF-8")
    if INFORMATION in top:
        for line in _read_text(path, INFORMATION).splitlines():
            key, _, value = line.partition(":")
            if key.strip().lower() == "payload-oxum" and not _OXUM.fullmatch(value.strip()):
                raise VerificationError(
                    f"{str(path)!r} is not opened: its {INFORMATION} says {value.strip()!r:.80} for the size of its "
                    "content; expected BYTES.FILES"
                )
    lists = [name for name in top if _LIST.fullmatch(name)]
    if not {f"manifest-{one}.txt" for one in ALGORITHMS} & set(lists):
        raise VerificationError(f"{str(path)!r} is not opened: it has no list of SHA-256 or SHA-512 digests")
    for name in lists:
        text = _read_text(path, name, MAX_LIST_BYTES)
        if _STRANGE_ENDS.search(text) or text.count("\n") > MAX_LINES:
            raise VerificationError(
                f"{str(path)!r} is not opened: its {name} has more than {MAX_LINES:,} lines, or characters at which "
                "only some programs end a line"
            )
        for line in text.split("\n"):
            _require_inside(path, name, line)
    return inventory.files


def _require_inside(path: Path, name: str, line: str) -> None:
    """Refuse a line of a list that names a file outside of the bag."""
    # Taken apart as bagit does.
    file = "".join(line.strip().split(None, 1)[1:]).lstrip("*")
    plain, windows = PurePosixPath(file), PureWindowsPath(file)
    if plain.is_absolute() or windows.drive or windows.root or ".." in windows.parts or file.startswith("~"):
        raise VerificationError(f"{str(path)!r} is not opened: its {name} names a file outside of it, {file!r:.200}")


def _read_text(path: Path, name: str, limit: int = MAX_TAG_BYTES) -> str:
    try:
        return read_bounded(path / name, limit, follow_links=False).decode("utf-8")
    except InputError as error:
        raise VerificationError(f"{str(path)!r} is not opened: its {name} {error}") from error
    except UnicodeDecodeError as error:
        raise VerificationError(f"{str(path)!r} is not opened: its {name} is not UTF-8") from error
