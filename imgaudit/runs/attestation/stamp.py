"""Requests for timestamps (RFC 3161), and the responses of authorities: made, read, matched and verified. Offline."""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from imgaudit.exceptions import InputError
from imgaudit.runs.attestation.authority import Authority
from imgaudit.runs.attestation.der_order import sort_certificates
from imgaudit.runs.attestation.libraries import needs_evidence_extra

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from rfc3161_client import TimeStampRequest, TimeStampResponse

DIGESTS = {
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
"""Hash functions of message imprints that are accepted, by object identifier."""


@dataclass(frozen=True)
class Stamp:
    """What a timestamp says. Only `verify_stamp` shows that an authority said it."""

    response: "TimeStampResponse"
    """The response."""
    time: datetime
    """Time of the stamp, in UTC."""
    accuracy: str
    """Accuracy that the authority claims, such as "1 s"; empty when it claims none."""
    policy: str
    """Policy under which the authority stamps, as an object identifier."""
    authority: str
    """Name of the authority in its certificate."""
    nonce: int | None
    """Number that repeats the one in the request."""
    imprint: tuple[str, bytes]
    """Object identifier of the hash function, and the digest of what was stamped."""

    def __str__(self) -> str:
        near = f" (accuracy {self.accuracy})" if self.accuracy else ""
        return f"{self.time:%Y-%m-%d %H:%M:%S} UTC{near}, by {self.authority}, policy {self.policy}"


def make_request(data: bytes) -> bytes:
    """Return a request for a timestamp of some bytes: SHA-256, with a nonce, asking for the authority's certificate.

    Raises InputError for no bytes.
    """
    with needs_evidence_extra("requesting a timestamp"):
        from rfc3161_client import HashAlgorithm, TimestampRequestBuilder
    if not data:
        raise InputError("an empty file cannot be stamped")
    request = TimestampRequestBuilder(data, HashAlgorithm.SHA256, nonce=True, cert_req=True).build()
    return request.as_bytes()


def read_request(data: bytes) -> "TimeStampRequest":
    """Read a request. Raises InputError, whose message completes "the file ..."."""
    with needs_evidence_extra("reading a timestamp"):
        from rfc3161_client._rust import parse_timestamp_request
    try:
        request: TimeStampRequest = parse_timestamp_request(data)
    except ValueError as error:
        raise InputError(f"is no request for a timestamp: {error!s:.200}") from error
    return request


def read_stamp(data: bytes) -> Stamp:
    """Read the response of an authority. Raises InputError, whose message completes "the file ..."."""
    with needs_evidence_extra("reading a timestamp"):
        from rfc3161_client import decode_timestamp_response
        from rfc3161_client.tsp import PKIStatus
    try:
        response = decode_timestamp_response(sort_certificates(data))
        status = response.status
        if status == PKIStatus.GRANTED:
            return _describe(response)
        known = status in set(PKIStatus)
        said = "; ".join(response.status_string)
    except (ValueError, TypeError, IndexError) as error:
        raise InputError(f"is no timestamp: {error!s:.200}") from error
    name = PKIStatus(status).name.lower().replace("_", " ") if known else f"status {status}"
    raise InputError(f"is no timestamp but another answer of the authority: {name} ({said!r:.200})")


def find_mismatch(stamp: Stamp, request: "TimeStampRequest") -> str:
    """Return why a response does not answer a request; empty when it does."""
    imprint = request.message_imprint
    if stamp.imprint != (imprint.hash_algorithm.dotted_string, imprint.message):
        return "it stamps other content"
    if request.nonce is not None and stamp.nonce != request.nonce:
        return "it answers another request for the same content: its nonce is another"
    if request.policy is not None and stamp.policy != request.policy.dotted_string:
        return f"it was made under policy {stamp.policy}, and {request.policy.dotted_string} was requested"
    return ""


def is_stamp_of(stamp: Stamp, data: bytes) -> bool:
    """Return whether a timestamp is of these bytes. Raises InputError for a hash function that is not accepted."""
    algorithm, digest = stamp.imprint
    name = DIGESTS.get(algorithm)
    if name is None:
        raise InputError(f"uses the hash function {algorithm}; expected SHA-256, SHA-384 or SHA-512")
    return hashlib.new(name, data).digest() == digest


def verify_stamp(stamp: Stamp, data: bytes, authority: Authority) -> None:
    """Check that an authority under one of the roots stamped these bytes, with certificates valid at that time.

    Raises InputError, whose message completes "the file ...".
    """
    with needs_evidence_extra("checking a timestamp"):
        from rfc3161_client import VerificationError, VerifierBuilder
    if not is_stamp_of(stamp, data):
        raise InputError("stamps other content")
    # Built in one call: the builder's methods add to lists that builders share.
    verifier = VerifierBuilder(roots=list(authority.roots), intermediates=list(authority.intermediates)).build()
    try:
        verifier.verify_message(stamp.response, data)
    except (VerificationError, ValueError) as error:
        raise InputError(_explain(stamp, authority, str(error))) from error


def _describe(response: "TimeStampResponse") -> Stamp:
    said = response.tst_info
    imprint = said.message_imprint
    return Stamp(
        response=response,
        time=said.gen_time.astimezone(UTC),
        accuracy=_describe_accuracy(response),
        policy=said.policy.dotted_string,
        authority=_name_authority(response),
        nonce=said.nonce,
        imprint=(imprint.hash_algorithm.dotted_string, imprint.message),
    )


def _describe_accuracy(response: "TimeStampResponse") -> str:
    # None where the authority claims no accuracy, whatever the package's annotations say.
    accuracy: object = response.tst_info.accuracy
    parts = {"seconds": 1.0, "millis": 1e-3, "micros": 1e-6}
    seconds = sum((getattr(accuracy, name, 0) or 0) * unit for name, unit in parts.items())
    return f"{seconds:g} s" if seconds else ""


def _name_authority(response: "TimeStampResponse") -> str:
    """Return the name in the certificate of the signer; "an unnamed authority" where the response has none."""
    signers = {(one.issuer, one.serial_number) for one in response.signed_data.signer_infos}
    for certificate in _certificates(response):
        if (certificate.issuer, certificate.serial_number) in signers:
            return certificate.subject.rfc4514_string()
    return "an unnamed authority"


def _certificates(response: "TimeStampResponse") -> "list[Certificate]":
    from cryptography.x509 import load_der_x509_certificate

    return [load_der_x509_certificate(one) for one in sorted(response.signed_data.certificates)]


def _explain(stamp: Stamp, authority: Authority, error: str) -> str:
    """Return why a timestamp did not verify, as what completes "the file ..."."""
    found = re.search(r"Verify error: ?([^\"]+)", error)
    reason = found[1] if found else error[:200]
    if "expired" in reason or "not yet valid" in reason:
        for one in (*_certificates(stamp.response), *authority.intermediates, *authority.roots):
            if not one.not_valid_before_utc <= stamp.time <= one.not_valid_after_utc:
                return (
                    f"says {stamp.time:%Y-%m-%d %H:%M:%S} UTC, when the certificate of "
                    f"{one.subject.rfc4514_string()!r:.200} was not valid: it is valid from "
                    f"{one.not_valid_before_utc:%Y-%m-%d} to {one.not_valid_after_utc:%Y-%m-%d}"
                )
    if "issuer" in reason or "self-signed" in reason or "self signed" in reason:
        roots = ", ".join(f"{one.subject.rfc4514_string()!r:.200}" for one in authority.roots)
        return f"is by {stamp.authority!r:.200}, whose certificate does not lead to a given root ({roots}): {reason}"
    return f"is not valid: {reason}"
