"""DSSE envelopes: a statement with its signatures, as one JSON file. Anybody's are read; only ours are written."""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgaudit.exceptions import InputError
from imgaudit.io.writing import format_json
from imgaudit.runs.attestation.keys import PublicKey
from imgaudit.runs.attestation.libraries import needs_evidence_extra
from imgaudit.schema.attestation import PAYLOAD_TYPE

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

MAX_SIGNATURES = 16


@dataclass(frozen=True)
class Envelope:
    """One file of signatures over one statement."""

    payload: bytes
    """The statement, as it was signed."""
    signatures: tuple[tuple[str, bytes], ...]
    """For each signature the id of its key, which is a hint and may be empty, and its bytes."""

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Ids of the keys that are said to have signed."""
        return tuple(key_id for key_id, _ in self.signatures)


def sign_payload(payload: bytes, signer: "CryptoSigner") -> bytes:
    """Return the envelope of a statement that a key has signed, as JSON."""
    with needs_evidence_extra("signing"):
        from securesystemslib.dsse import Envelope as DsseEnvelope
    envelope = DsseEnvelope(payload, PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return format_json(envelope.to_dict()).encode("utf-8")


def read_envelope(data: bytes) -> Envelope:
    """Read an envelope without checking it. Raises InputError, whose message completes "the file ..."."""
    try:
        content = json.loads(data)
        kind, signatures = content["payloadType"], content["signatures"]
        if kind != PAYLOAD_TYPE:
            raise InputError(f"is no signature of a statement: its payloadType is {kind!r:.80}, not {PAYLOAD_TYPE!r}")
        if not signatures or len(signatures) > MAX_SIGNATURES:
            raise InputError(f"holds {len(signatures)} signatures; expected 1 to {MAX_SIGNATURES}")
        read = tuple((str(one.get("keyid", "")), _decode(one["sig"])) for one in signatures)
        return Envelope(_decode(content["payload"]), read)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(f"is no DSSE envelope: {type(error).__name__} ({error!s:.80})") from error


def find_signers(envelope: Envelope, keys: Sequence[PublicKey]) -> list[PublicKey]:
    """Return those of the keys that have signed an envelope.

    Every signature is tried with every key: the id that an envelope gives is a hint, which anybody could have edited.
    """
    with needs_evidence_extra("checking a signature"):
        from securesystemslib.dsse import Envelope as DsseEnvelope
        from securesystemslib.exceptions import UnverifiedSignatureError
        from securesystemslib.signer import Signature
    signed = DsseEnvelope(envelope.payload, PAYLOAD_TYPE, {}).pae()
    found = []
    for public in keys:
        for _, signature in envelope.signatures:
            try:
                public.key.verify_signature(Signature(public.id, signature.hex()), signed)
            except UnverifiedSignatureError:
                continue
            found.append(public)
            break
    return found


def _decode(text: object) -> bytes:
    """Decode base64, standard or for addresses: DSSE allows both."""
    if not isinstance(text, str):
        raise InputError("is no DSSE envelope: expected text in base64")
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"is no DSSE envelope: a text in it is not base64 ({error})") from error
