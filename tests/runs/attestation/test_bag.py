"""A run is packed as a bag and verified from it; changes are named, and hostile bags are refused unopened."""

import hashlib
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import bagit
import pytest
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.cli.exit_codes import ExitCode
from imgaudit.exceptions import InputError, RunFolderError, VerificationError
from imgaudit.report.verification import verify
from imgaudit.runs.attestation.bag import make_bag
from imgaudit.runs.attestation.bag_check import check_bag, is_bag
from imgaudit.runs.attestation.signatures import sign
from imgaudit.runs.attestation.timestamps import attach, request
from imgaudit.runs.folder import RunFolder
from tests.support.timestamp_authority import TimestampAuthority
from tests.support.wrapping import unwrap


def no_question() -> str:
    raise AssertionError("an unprotected key needs no passphrase")


@pytest.fixture
def bag(copy: RunFolder, tmp_path: Path) -> Path:
    return make_bag(copy, tmp_path / "bag")


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_bag_holds_a_copy_and_verifies(copy: RunFolder, tmp_path: Path) -> None:
    (copy.path / ".lock").unlink(missing_ok=True)
    before = contents(copy.path)
    made = make_bag(copy, tmp_path / "for the court" / "bag")
    assert contents(copy.path) == before and contents(made / "data") == before
    assert is_bag(made) and not is_bag(copy.path) and not list(made.parent.glob(".bag*"))
    outcome = verify(made)
    assert outcome.matches and any(check.name == "bag" and "were compared" in check.done for check in outcome.checks)
    information = bagit.Bag(str(made)).info
    assert information["Imgaudit-Head"] == outcome.head and len(information["External-Identifier"]) == 16
    assert outcome.head in (made / "README.txt").read_text("utf-8")
    with pytest.raises(InputError, match="exists already"):
        make_bag(copy, made)
    with pytest.raises(InputError, match="lies in the run"):
        make_bag(copy, copy.path / "bag")


def test_the_readme_says_how_to_verify_with_stock_tools(copy: RunFolder, key: Path, tmp_path: Path) -> None:
    authority = TimestampAuthority(tmp_path / "authority")
    sign(copy.path, key, no_question)
    attach(copy.path, authority.answer(request(copy.path)))
    made = make_bag(copy, tmp_path / "bag")
    readme = (made / "README.txt").read_text("utf-8")
    commands = [line.strip() for line in readme.splitlines() if line.startswith("    ")]
    assert [command.split()[0] for command in commands] == ["imgaudit", "sha256sum", "sha256sum", "openssl"]
    shutil.copy(authority.root, made.parent / "ROOT.pem")
    for command in commands[1:]:
        words = command.replace("ROOT.pem", "../ROOT.pem").split()
        done = subprocess.run(words, cwd=made, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    public = key.with_name("signer.pub.pem")
    arguments = commands[0].replace("THIS-FOLDER", str(made)).replace("PUBLIC.pem", str(public))
    told = CliRunner().invoke(app, arguments.replace("ROOT.pem", str(authority.root)).split()[1:])
    assert told.exit_code == 0, told.output
    assert (
        "the result is signed by key" in unwrap(told.stdout)
        and "existed at" in unwrap(told.stdout)
        and "bag:" in unwrap(told.stdout)
    )


def test_a_zip_has_one_top_folder(copy: RunFolder, tmp_path: Path) -> None:
    made = make_bag(copy, tmp_path / "run.zip")
    with zipfile.ZipFile(made) as archive:
        assert {name.partition("/")[0] for name in archive.namelist()} == {"run"}
        archive.extractall(tmp_path / "unpacked")
    assert verify(tmp_path / "unpacked" / "run").matches and not list(tmp_path.glob(".run.zip*"))
    told = CliRunner().invoke(app, ["verify", str(made)])
    assert isinstance(told.exception, InputError) and "unpack it first" in str(told.exception)
    with pytest.raises(InputError, match="exists already"):
        make_bag(copy, made)


def test_a_changed_run_is_not_packed(copy: RunFolder, tmp_path: Path) -> None:
    copy.records_path.write_bytes(copy.records_path.read_bytes() + b"\n")
    with pytest.raises(RunFolderError, match=r"is not packed: 'records\.jsonl'"):
        make_bag(copy, tmp_path / "bag")
    assert not list(tmp_path.glob("*bag*"))


def test_every_file_that_does_not_fit_is_named(bag: Path) -> None:
    manifest = bag / "data" / "manifest.json"
    before = manifest.read_bytes()
    manifest.write_bytes(before + b" ")
    assert check_bag(bag).problems == ("'data/manifest.json' was changed since the bag was made",)
    manifest.write_bytes(before)
    (bag / "data" / "more.txt").write_text("x")
    assert check_bag(bag).problems == ("'data/more.txt' was added to the bag",)
    (bag / "data" / "more.txt").unlink()
    (bag / "data" / "evidence.json").rename(bag / "aside")
    assert check_bag(bag).problems == ("'data/evidence.json' is missing from the bag",)
    (bag / "aside").rename(bag / "data" / "evidence.json")
    (bag / "README.txt").write_text("other words")
    assert check_bag(bag).problems == ("'README.txt' was changed since the bag was made",)
    information = (bag / "bag-info.txt").read_text("utf-8").replace("Payload-Oxum: ", "Payload-Oxum: 1")
    (bag / "bag-info.txt").write_text(information)
    assert "'bag-info.txt' was changed since the bag was made" in check_bag(bag).problems
    for list_ in bag.glob("tagmanifest-*.txt"):
        list_.unlink()
    assert "for the bytes and the number of files" in check_bag(bag).problems[0]


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "link": (lambda bag: (bag / "data" / "x").symlink_to("/etc/passwd"), "is a link"),
    "link to a folder": (lambda bag: (bag / "tags").symlink_to("/etc"), "is a link"),
    "FIFO": (lambda bag: os.mkfifo(bag / "data" / "x"), "is a FIFO"),
    "fetch": (lambda bag: (bag / "fetch.txt").write_text("https://example.org/x 1 data/x\n"), "has a fetch.txt"),
    "absolute": (lambda bag: add_line(bag, "/etc/passwd"), "a file outside of it, '/etc/passwd'"),
    "above": (lambda bag: add_line(bag, "data/../../bag2/x"), "names a file outside of it"),
    "home": (lambda bag: add_line(bag, "~/.bashrc"), "names a file outside of it"),
    "Windows": (lambda bag: add_line(bag, "C:\\windows\\x"), "names a file outside of it"),
    "tab": (lambda bag: append(bag / "manifest-sha256.txt", f"{'0' * 64}\t../x y\n"), "outside of it, '../x y'"),
    "strange line": (lambda bag: add_line(bag, f"data/x\u2028{'0' * 64} ../x"), "only some programs end a line"),
    "huge count": (lambda bag: rewrite_oxum(bag, "9" * 5000), "for the size of its content"),
    "count of words": (lambda bag: rewrite_oxum(bag, "many.few"), "for the size of its content"),
    "other encoding": (
        lambda bag: (bag / "bagit.txt").write_text("BagIt-Version: 0.97\nTag-File-Character-Encoding: zlib\n"),
        "does not say that it is UTF-8",
    ),
    "old digests": (
        lambda bag: (bag / "manifest-sha256.txt").rename(bag / "manifest-md5.txt"), "no list of SHA-256 or SHA-512"
    ),
    "attestations beside": (lambda bag: (bag / "attestations").mkdir(), "belongs into data/"),
    "long declaration": (lambda bag: (bag / "bagit.txt").write_text("x" * 2**21), "at most"),
    "two values": (lambda bag: add_line(bag, "data/manifest.json"), "is a damaged bag"),
}  # fmt: skip


def append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def add_line(bag: Path, name: str) -> None:
    append(bag / "manifest-sha256.txt", f"{'0' * 64}  {name}\n")


def rewrite_oxum(bag: Path, value: str) -> None:
    text = (bag / "bag-info.txt").read_text("utf-8")
    (bag / "bag-info.txt").write_text(text.partition("Payload-Oxum")[0] + f"Payload-Oxum: {value}\n")


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_bags_are_refused(bag: Path, kind: str) -> None:
    make_hostile, message = HOSTILE[kind]
    make_hostile(bag)
    with pytest.raises(VerificationError) as caught:
        verify(bag)
    assert message in str(caught.value)


def test_from_the_command_line(copy: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = CliRunner().invoke(app, ["bag", str(copy.path)])
    assert made.exit_code == ExitCode.DECIDED and made.stdout.startswith("run-")
    folder = Path(made.stdout.strip())
    assert CliRunner().invoke(app, ["verify", str(folder)]).exit_code == ExitCode.DECIDED
    (folder / "data" / "report.json").write_text("{}")
    bad = CliRunner().invoke(app, ["verify", str(folder)])
    assert bad.exit_code != 0 and isinstance(bad.exception, VerificationError | RunFolderError)


def test_a_signed_file_is_verified_by_itself(key: Path, tmp_path: Path) -> None:
    seal = tmp_path / "seal.json"
    seal.write_text("{}")
    sign(seal, key, no_question)
    public = str(key.with_name("signer.pub.pem"))
    good = CliRunner().invoke(app, ["verify", str(seal), "--key", public])
    assert good.exit_code == 0 and "seal.json is signed by key" in unwrap(good.stdout)
    seal.write_text("{} ")
    bad = CliRunner().invoke(app, ["verify", str(seal), "--key", public])
    assert isinstance(bad.exception, VerificationError) and "is for other content" in unwrap(bad.stdout)
