"""The optional packages behind signatures, timestamps and bags."""

from collections.abc import Iterator
from contextlib import contextmanager

from imgaudit.exceptions import InputError

PACKAGES = {
    "bagit": "bagit",
    "cryptography": "cryptography",
    "google": "protobuf",
    "in_toto_attestation": "in-toto-attestation",
    "rfc3161_client": "rfc3161-client",
    "securesystemslib": "securesystemslib",
}
"""Packages of the extra `evidence` by the modules that they bring."""


@contextmanager
def needs_evidence_extra(what: str) -> Iterator[None]:
    """Import the extra's packages in this block. Raises InputError that says how to install them when one is missing.

    what:  what they are needed for, as the subject of the message
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = PACKAGES.get((error.name or "").partition(".")[0])
        if package is None:
            raise
        raise InputError(
            f"{what} needs the package {package}, which is not installed: pip install 'imgaudit[evidence]'"
        ) from error
