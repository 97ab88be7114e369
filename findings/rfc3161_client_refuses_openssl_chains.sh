#!/usr/bin/env bash
# rfc3161-client cannot read the timestamps of an `openssl ts` authority that sends its chain; openssl verifies them.
#
# Expected: a response that `openssl ts -verify` accepts is decoded, and then verified or not.
# Seen: decode_timestamp_response raises "InvalidSetOrdering". It depends on the bytes of the certificates: of two
# authorities with the same settings one can be read and the other cannot, and a renewed certificate can change that.
# Why: the certificates of a response are a SET OF, which DER wants sorted by its bytes. OpenSSL writes the signer's and
# then those of its `certs` file, and other authorities do so too; the parser accepts only the sorted order.
# Why it matters: the response was paid for and shows a time that cannot be shown a second time. No signature covers the
# order of the certificates, so sorting them by their bytes makes the same response readable, with the same result.
#
# Package: rfc3161-client 1.0.9. Where: rfc3161_client._rust.parse_timestamp_response, SignedData::certificates.
# Needs the command openssl; seen with OpenSSL 3.0.19.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check rfc3161-client==1.0.9 cryptography==50.0.2 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > tsa.cnf << 'CONFIGURATION'
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical,CA:TRUE
[stamps]
extendedKeyUsage = critical,timeStamping
[tsa]
default_tsa = authority
[authority]
serial = serial
signer_cert = stamps.pem
certs = between.pem
signer_key = stamps.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
CONFIGURATION
key="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -config tsa.cnf"
{
    openssl req -x509 $key -keyout root.key -out root.pem -days 30 -subj "/CN=Root" -extensions ca
    openssl req $key -keyout between.key -out between.csr -subj "/CN=Between"
    openssl x509 -req -in between.csr -CA root.pem -CAkey root.key -CAcreateserial -days 30 -out between.pem -extfile tsa.cnf -extensions ca
    # A longer name makes the signer's certificate longer than the other one, and a longer element sorts last.
    openssl req $key -keyout stamps.key -out stamps.csr -subj "/CN=The stamps of an authority with a rather long name"
    openssl x509 -req -in stamps.csr -CA between.pem -CAkey between.key -CAcreateserial -days 30 -out stamps.pem -extfile tsa.cnf -extensions stamps
    echo 01 > serial
    echo statement > statement.txt
    openssl ts -query -data statement.txt -sha256 -cert -out request.tsq
    openssl ts -reply -config tsa.cnf -queryfile request.tsq -out response.tsr
} 2> openssl.log || { cat openssl.log >&2; exit 1; }

cat > show.py << 'PYTHON'
import subprocess
from importlib.metadata import version
from pathlib import Path

from cryptography.x509 import load_pem_x509_certificate
from rfc3161_client import VerifierBuilder, decode_timestamp_response


def elements(data, start, end):
    while start < end:
        length, content = data[start + 1], start + 2
        if length > 0x80:
            digits = length & 0x7F
            length, content = int.from_bytes(data[content : content + digits], "big"), content + digits
        yield data[start], start, content, content + length
        start = content + length


def sort_certificates(data):
    """The same response with its certificates sorted by their bytes."""
    (_, _, start, end), = elements(data, 0, len(data))
    _, token = elements(data, start, end)
    _, tagged = elements(data, token[2], token[3])
    (_, _, start, end), = elements(data, tagged[2], tagged[3])
    _, _, start, end = next(part for part in elements(data, start, end) if part[0] == 0xA0)
    return data[:start] + b"".join(sorted(data[a:b] for _, a, _, b in elements(data, start, end))) + data[end:]


print("rfc3161-client", version("rfc3161-client"))
command = "openssl ts -verify -in response.tsr -data statement.txt -CAfile root.pem"
print("openssl verifies it:", subprocess.run(command.split(), capture_output=True).returncode == 0)
response = Path("response.tsr").read_bytes()
try:
    decode_timestamp_response(response)
    print("as it is: decoded")
except ValueError as error:
    print("as it is:", "InvalidSetOrdering" if "InvalidSetOrdering" in str(error) else error)
ordered = sort_certificates(response)
root = load_pem_x509_certificate(Path("root.pem").read_bytes())
verifier = VerifierBuilder().add_root_certificate(root).build()
statement = Path("statement.txt").read_bytes()
print("with sorted certificates: verified", verifier.verify_message(decode_timestamp_response(ordered), statement))
print("same bytes in another order:", sorted(ordered) == sorted(response))
PYTHON
cat > expected.txt << 'EXPECTED'
rfc3161-client 1.0.9
openssl verifies it: True
as it is: InvalidSetOrdering
with sorted certificates: verified True
same bytes in another order: True
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi
