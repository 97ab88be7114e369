"""The certificates of a timestamp authority, as the recipient of a run got them from the authority itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imgaudit.exceptions import InputError
from imgaudit.io.reading import read_bounded
from imgaudit.runs.attestation.libraries import needs_evidence_extra

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

MAX_BYTES = 2**20
MAX_CERTIFICATES = 100


@dataclass(frozen=True)
class Authority:
    """Certificates that are trusted, and others that may be needed to reach them."""

    roots: tuple["Certificate", ...]
    """Certificates that are issued by themselves, and trusted."""
    intermediates: tuple["Certificate", ...]
    """Further certificates from the same files; they are not trusted by themselves."""
    names: tuple[str, ...]
    """Names of the files."""


def read_authority(paths: Sequence[Path]) -> Authority:
    """Read root certificates of timestamp authorities, in PEM or DER; further certificates may stand beside them.

    Raises InputError when a file holds no certificate, or none that is a root.
    """
    with needs_evidence_extra("checking a timestamp"):
        from cryptography.x509 import load_der_x509_certificate, load_pem_x509_certificates
    roots: list[Certificate] = []
    intermediates: list[Certificate] = []
    for path in paths:
        try:
            data = read_bounded(path, MAX_BYTES)
        except InputError as error:
            raise InputError(f"the certificate {str(path)!r} {error}") from error
        try:
            pem = b"-----BEGIN" in data
            found = load_pem_x509_certificates(data) if pem else [load_der_x509_certificate(data)]
        except ValueError as error:
            raise InputError(
                f"{str(path)!r} holds no certificate: expected the root certificate of a timestamp authority, as PEM "
                f"or DER ({error})"
            ) from error
        if len(found) > MAX_CERTIFICATES:
            raise InputError(f"{str(path)!r} holds {len(found)} certificates; at most {MAX_CERTIFICATES} are read")
        roots += (one for one in found if _is_root(one) and one not in roots)
        intermediates += (one for one in found if not _is_root(one) and one not in intermediates)
        if not any(map(_is_root, found)):
            raise InputError(
                f"{str(path)!r} holds no root certificate: {found[0].subject.rfc4514_string()!r:.200} was issued by "
                f"{found[0].issuer.rfc4514_string()!r:.200}; give the certificate of that issuer's root"
            )
    return Authority(tuple(roots), tuple(intermediates), tuple(path.name for path in paths))


def _is_root(certificate: "Certificate") -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
