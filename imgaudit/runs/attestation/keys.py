"""Keys that sign, and their public halves: made, read and named. Private keys never enter a run folder.

Files are PEM: PKCS #8 for the private key, SubjectPublicKeyInfo for the public one. Ed25519 keys are made; Ed25519,
ECDSA (P-256, P-384, P-521) and RSA keys of at least 2,048 bits are accepted.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imgaudit.exceptions import InputError
from imgaudit.io.new_file import write_new
from imgaudit.io.reading import read_bounded
from imgaudit.runs.attestation.libraries import needs_evidence_extra

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
    from securesystemslib.signer import CryptoSigner, SSlibKey

MAX_KEY_BYTES = 2**16
MIN_RSA_BITS = 2048
SHOWN_DIGITS = 16
"""Digits of a key's id in messages."""


@dataclass(frozen=True)
class PublicKey:
    """A public key and the file it came from."""

    path: Path
    """File of the key."""
    key: "SSlibKey"
    """The key."""

    @property
    def id(self) -> str:
        """SHA-256 over the key in canonical JSON, in hexadecimal: the same for the same key, whatever its file."""
        return str(self.key.keyid)

    def __str__(self) -> str:
        return f"{self.id[:SHOWN_DIGITS]} ({self.path.name})"


def make_key(path: Path, passphrase: str) -> PublicKey:
    """Make an Ed25519 key: the private half into a new file, the public half beside it as NAME.pub.pem.

    path:        file of the private key, readable by its owner only
    passphrase:  protects the file; an empty one leaves it unprotected
    Raises InputError when one of the files exists, or would lie in a run folder, which is handed over.
    """
    with needs_evidence_extra("making a key"):
        from cryptography.hazmat.primitives import serialization as pem
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    require_outside_runs(path)
    public_path = public_path_of(path)
    if public_path.exists() or public_path.is_symlink():
        raise InputError(f"{str(public_path)!r} exists already, and is never overwritten; choose another name")
    private = Ed25519PrivateKey.generate()
    lock = pem.BestAvailableEncryption(passphrase.encode("utf-8")) if passphrase else pem.NoEncryption()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_new(path, private.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, lock), mode=0o600)
    public = private.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
    write_new(public_path, public)
    return read_public_key(public_path)


def public_path_of(path: Path) -> Path:
    """Return the file of the public half of a key.

    >>> public_path_of(Path("keys/signer.pem")).as_posix(), public_path_of(Path("signer")).as_posix()
    ('keys/signer.pub.pem', 'signer.pub.pem')
    """
    return path.with_name(path.name.removesuffix(".pem") + ".pub.pem")


def read_private_key(path: Path, ask_passphrase: Callable[[], str]) -> "CryptoSigner":
    """Read a private key.

    ask_passphrase:  called only if the file is protected
    Raises InputError for a file that is no private key, a wrong passphrase, or a kind of key that cannot be used.
    """
    with needs_evidence_extra("signing"):
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
        from securesystemslib.signer import CryptoSigner
    require_outside_runs(path)
    data = _read(path, "private key")
    if b"PRIVATE KEY" not in data:
        raise InputError(f"{str(path)!r} holds no private key: expected a PEM file with -----BEGIN PRIVATE KEY-----")
    try:
        try:
            private: PrivateKeyTypes = load_pem_private_key(data, None)
        except TypeError:
            private = load_pem_private_key(data, ask_passphrase().encode("utf-8"))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"{str(path)!r} cannot be read with this passphrase, or is damaged: {error}") from error
    _require_strong(private.public_key(), path)
    try:
        return CryptoSigner(private)
    except ValueError as error:
        raise InputError(_unusable(path, error)) from error


def read_public_key(path: Path) -> PublicKey:
    """Read a public key. Raises InputError for a file that holds none, or one of a kind that cannot be used."""
    with needs_evidence_extra("checking a signature"):
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
        from securesystemslib.signer import SSlibKey
    data = _read(path, "public key")
    if b"PRIVATE KEY" in data:
        raise InputError(
            f"{str(path)!r} holds a private key: keep it to yourself, and give the public one "
            f"({public_path_of(path).name}), which is all that checking needs"
        )
    try:
        public = load_pem_public_key(data)
        _require_strong(public, path)
        return PublicKey(path, SSlibKey.from_crypto(public))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(_unusable(path, error)) from error


def others_can_read(path: Path) -> bool:
    """Return whether other accounts of the machine can read a file; False where access rights do not say so."""
    try:
        return os.name == "posix" and bool(path.stat().st_mode & 0o044)
    except OSError:
        return False


def require_outside_runs(path: Path) -> None:
    """Raise InputError when a path lies in a run folder, whose every file is handed over."""
    for folder in path.resolve().parents:
        if (folder / "manifest.json").is_file():
            raise InputError(
                f"{str(path)!r} lies in the run folder {str(folder)!r}, which is handed over: a private key must not "
                "be in it; keep it somewhere else"
            )


def _read(path: Path, what: str) -> bytes:
    try:
        return read_bounded(path, MAX_KEY_BYTES)
    except InputError as error:
        raise InputError(f"the {what} {str(path)!r} {error}") from error


def _require_strong(public: "PublicKeyTypes", path: Path) -> None:
    bits = getattr(public, "key_size", None)
    if hasattr(public, "encrypt") and isinstance(bits, int) and bits < MIN_RSA_BITS:
        raise InputError(f"the RSA key in {str(path)!r} has {bits} bits; at least {MIN_RSA_BITS} are needed")


def _unusable(path: Path, error: Exception) -> str:
    return (
        f"{str(path)!r} holds no key that can be used: {error}; expected PEM with an Ed25519, ECDSA (P-256, P-384, "
        "P-521) or RSA key"
    )
