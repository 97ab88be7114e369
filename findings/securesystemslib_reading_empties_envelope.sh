#!/usr/bin/env bash
# Reading a DSSE envelope takes the signatures out of the dictionary that it was read from.
#
# Expected: Envelope.from_dict(data) reads data and leaves it alone.
# Seen: afterwards data["signatures"] is a list of empty dictionaries. Reading it a second time raises KeyError: 'sig'.
# Whoever writes data back to a file, for instance with one more signature, has lost those that were there. The
# docstring does not say so; that of Signature.from_dict, which it calls, does.
# Why: the fields are taken out with pop, and what is left counts as unrecognized fields.
# Why it matters: one checks an envelope that came with a run, and then keeps it. The kept file is unsigned, which only
# the next reader sees. Read from a copy (copy.deepcopy), or keep the bytes.
#
# Package: securesystemslib 1.6.0. Where: securesystemslib/dsse.py, Envelope.from_dict.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check 'securesystemslib[crypto]==1.6.0' cryptography==50.0.2 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
import copy
import json
from importlib.metadata import version

from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner

signer = CryptoSigner.generate_ed25519()
envelope = Envelope(b"statement", "application/vnd.in-toto+json", {})
envelope.sign(signer)
received = json.loads(json.dumps(envelope.to_dict()))
kept = copy.deepcopy(received)

print("securesystemslib", version("securesystemslib"))
print("signatures received:", [sorted(one) for one in received["signatures"]])
print("keys that signed:", len(Envelope.from_dict(received).verify([signer.public_key], 1)))
print("signatures after that:", received["signatures"])
try:
    Envelope.from_dict(received)
except KeyError as error:
    print("read again: KeyError", error)
print("read from a copy, twice:", [len(Envelope.from_dict(copy.deepcopy(kept)).signatures) for _ in range(2)])
PYTHON
cat > expected.txt << 'EXPECTED'
securesystemslib 1.6.0
signatures received: [['keyid', 'sig']]
keys that signed: 1
signatures after that: [{}]
read again: KeyError 'sig'
read from a copy, twice: [1, 1]
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi
