"""Keys are made with care, kept out of runs, and refused with a reason."""

import builtins
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from imgaudit.exceptions import InputError
from imgaudit.runs.attestation.keys import make_key, others_can_read, read_private_key, read_public_key


def no_question() -> str:
    raise AssertionError("an unprotected key needs no passphrase")


def save(path: Path, private: Any) -> Path:
    lock = pem.NoEncryption()
    path.write_bytes(private.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, lock))
    public = private.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
    path.with_suffix(".pub").write_bytes(public)
    return path


def test_a_key_is_readable_by_its_owner_only_and_never_overwritten(tmp_path: Path) -> None:
    made = make_key(tmp_path / "a.pem", "")
    assert stat.S_IMODE((tmp_path / "a.pem").stat().st_mode) == 0o600 and not others_can_read(tmp_path / "a.pem")
    assert made.path == tmp_path / "a.pub.pem" and others_can_read(made.path)
    before = (tmp_path / "a.pem").read_bytes()
    with pytest.raises(InputError, match="exists already"):
        make_key(tmp_path / "a.pem", "")
    made.path.unlink()
    with pytest.raises(InputError, match="exists already"):
        make_key(tmp_path / "a.pem", "")
    assert (tmp_path / "a.pem").read_bytes() == before and not made.path.exists()
    (tmp_path / "link.pem").symlink_to(tmp_path / "elsewhere.pem")
    with pytest.raises(InputError, match="is a link"):
        make_key(tmp_path / "link.pem", "")
    assert not (tmp_path / "elsewhere.pem").exists()


def test_a_passphrase_protects_the_private_key(tmp_path: Path) -> None:
    made = make_key(tmp_path / "a.pem", "correct horse")
    assert read_private_key(tmp_path / "a.pem", lambda: "correct horse").public_key.keyid == made.id
    with pytest.raises(InputError, match="with this passphrase"):
        read_private_key(tmp_path / "a.pem", lambda: "wrong")
    with pytest.raises(InputError, match="with this passphrase"):
        read_private_key(tmp_path / "a.pem", lambda: "")


@pytest.mark.parametrize("inside", ["signer.pem", "images/deep/signer.pem"])
def test_no_private_key_enters_a_run(tmp_path: Path, inside: str) -> None:
    (tmp_path / "run" / "images").mkdir(parents=True)
    (tmp_path / "run" / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="must not be in it"):
        make_key(tmp_path / "run" / inside, "")
    assert not list((tmp_path / "run").rglob("*.pem"))
    (tmp_path / "run" / "signer.pem").write_text("x")
    with pytest.raises(InputError, match="must not be in it"):
        read_private_key(tmp_path / "run" / "signer.pem", no_question)


@pytest.mark.parametrize(
    "generate",
    [
        ed25519.Ed25519PrivateKey.generate,
        lambda: ec.generate_private_key(ec.SECP256R1()),
        lambda: ec.generate_private_key(ec.SECP384R1()),
        lambda: rsa.generate_private_key(65537, 2048),
    ],
)
def test_keys_of_others_are_read(tmp_path: Path, generate: Callable[[], Any]) -> None:
    path = save(tmp_path / "a.pem", generate())
    assert read_private_key(path, no_question).public_key.keyid == read_public_key(path.with_suffix(".pub")).id


def test_what_cannot_be_used_is_refused_with_the_reason(tmp_path: Path) -> None:
    weak = save(tmp_path / "weak.pem", rsa.generate_private_key(65537, 1024))
    with pytest.raises(InputError, match="1024 bits"):
        read_private_key(weak, no_question)
    with pytest.raises(InputError, match="1024 bits"):
        read_public_key(weak.with_suffix(".pub"))
    curve = save(tmp_path / "curve.pem", ec.generate_private_key(ec.SECP256K1()))
    with pytest.raises(InputError, match="expected PEM with an Ed25519"):
        read_private_key(curve, no_question)
    with pytest.raises(InputError, match="holds no private key"):
        read_private_key(curve.with_suffix(".pub"), no_question)
    with pytest.raises(InputError, match="keep it to yourself"):
        read_public_key(curve)
    (tmp_path / "junk").write_bytes(b"\x00" * 100)
    with pytest.raises(InputError, match="expected PEM"):
        read_public_key(tmp_path / "junk")
    with pytest.raises(InputError, match="at most"):
        (tmp_path / "big").write_bytes(b"\x00" * 2**17)
        read_public_key(tmp_path / "big")


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_import = builtins.__import__

    def refuse(name: str, *arguments: Any, **more: Any) -> Any:
        if name.startswith("cryptography"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return true_import(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(InputError, match=r"needs the package cryptography.*pip install 'imgaudit\[evidence\]'"):
        make_key(tmp_path / "a.pem", "")
