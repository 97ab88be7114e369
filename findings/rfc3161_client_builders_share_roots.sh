#!/usr/bin/env bash
# A verifier of timestamps that was built for one authority also accepts stamps of another, built from the same start.
#
# Expected: VerifierBuilder's methods return a builder and leave the one they are called on as it was, as those that set
# the nonce, the policy or the name do. Two builders made from a common one then each have the root they were given.
# Seen: both have both roots. The verifier for authority A accepts what authority B stamped, and the common builder has
# roots, too. The same holds for intermediate certificates.
# Why: the builder is copied, but its list of certificates is not; the new certificate is added to the one shared list.
# Why it matters: who must show by which of two authorities a time was stated gets "verified" for both. Give the lists
# to the constructor, VerifierBuilder(roots=[...], intermediates=[...]), once per verifier.
#
# Package: rfc3161-client 1.0.9. Where: rfc3161_client/verify.py, VerifierBuilder.add_root_certificate and
# add_intermediate_certificate. No stamp is needed to see it: the roots of the verifiers are shown.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check rfc3161-client==1.0.9 cryptography==50.0.2 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
from datetime import datetime
from importlib.metadata import version

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from rfc3161_client import VerifierBuilder


def root(name):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(datetime(2026, 1, 1))
    return builder.not_valid_after(datetime(2027, 1, 1)).sign(key, hashes.SHA256())


def roots(verifier):
    return [one.subject.rfc4514_string() for one in verifier._roots]


print("rfc3161-client", version("rfc3161-client"))
common = VerifierBuilder().common_name("CN=Stamps")
for_a = common.add_root_certificate(root("A"))
for_b = common.add_root_certificate(root("B"))
print("roots of the verifier for A:", roots(for_a.build()))
print("roots of the verifier for B:", roots(for_b.build()))
print("roots of the common builder:", roots(common.build()))
other = common.nonce(7)
print("nonce of a builder with one, and of the common one:", other._nonce, common._nonce)
PYTHON
cat > expected.txt << 'EXPECTED'
rfc3161-client 1.0.9
roots of the verifier for A: ['CN=A', 'CN=B']
roots of the verifier for B: ['CN=A', 'CN=B']
roots of the common builder: ['CN=A', 'CN=B']
nonce of a builder with one, and of the common one: 7 None
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi
