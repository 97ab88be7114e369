"""A real timestamp authority for tests: `openssl ts` with a root, an intermediate and a signing certificate."""

import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CONFIGURATION = """
[tsa]
default_tsa = authority
[authority]
serial = serial
crypto_device = builtin
signer_cert = tsa.pem
certs = chain.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
{accuracy}
ordering = no
tsa_name = no
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


class TimestampAuthority:
    """Answers requests for timestamps from the files of a folder, without a network."""

    def __init__(self, folder: Path, name: str = "Test", *, expired: bool = False, accuracy: str = "secs:1") -> None:
        """expired: the signing certificate is no longer valid, and openssl stamps with it all the same"""
        assert shutil.which("openssl"), "the tests of timestamps need the command openssl (apt-get install openssl)"
        folder.mkdir()
        self._folder = folder
        now = datetime.now(UTC)
        root, root_key = _issue(f"{name} Root", None, None, days=(now - timedelta(days=3650), now + timedelta(days=9)))
        middle, middle_key = _issue(f"{name} Intermediate", root, root_key, days=(now - timedelta(days=9),
                                    now + timedelta(days=9)))  # fmt: skip
        until = now - timedelta(days=2) if expired else now + timedelta(days=9)
        mine, key = _issue(f"{name} Stamps", middle, middle_key, days=(now - timedelta(days=9), until), stamps=True)
        self.root, self.intermediate = folder / "root.pem", folder / "chain.pem"
        self.root.write_bytes(root.public_bytes(Encoding.PEM))
        self.intermediate.write_bytes(middle.public_bytes(Encoding.PEM))
        (folder / "tsa.pem").write_bytes(mine.public_bytes(Encoding.PEM))
        (folder / "tsa.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        (folder / "serial").write_text("01\n")
        (folder / "tsa.cnf").write_text(CONFIGURATION.format(accuracy=f"accuracy = {accuracy}" if accuracy else ""))

    def answer(self, request: Path) -> Path:
        """Return the file of the response to a request."""
        response = self._folder / f"{request.name}.response"
        command = ["openssl", "ts", "-reply", "-config", "tsa.cnf", "-queryfile", str(request.resolve())]
        done = subprocess.run(
            [*command, "-out", str(response)], cwd=self._folder, capture_output=True, text=True, check=False
        )
        assert response.is_file(), done.stderr
        return response

    def request_of(self, data: bytes, *arguments: str) -> Path:
        """Return a request that openssl makes."""
        (self._folder / "data").write_bytes(data)
        request = self._folder / "other.tsq"
        command = ["openssl", "ts", "-query", "-data", "data", *arguments, "-out", request.name]
        subprocess.run(command, cwd=self._folder, capture_output=True, check=True)
        return request


def _issue(
    name: str,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey | None,
    *,
    days: tuple[datetime, datetime],
    stamps: bool = False,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(days[0])
        .not_valid_after(days[1])
        .add_extension(x509.BasicConstraints(ca=not stamps, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if stamps:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
        builder = builder.add_extension(usage, critical=True)
    return builder.sign(issuer_key or key, hashes.SHA256()), key
