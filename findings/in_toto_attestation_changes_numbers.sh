#!/usr/bin/env bash
# Whole numbers in the predicate of an in-toto statement are changed before they are signed: 430 becomes 430.0, and a
# 64-bit seed becomes another seed.
#
# Expected: Statement(subjects, predicate_type, predicate) takes a dictionary, and its JSON has the same numbers; a
# number that cannot be kept is refused.
# Seen: every number becomes a float. Whole numbers above 2**53 are rounded without an error, and validate() accepts the
# statement. Numbers in the annotations of a subject are changed in the same way.
# Why: predicate and annotations are protobuf Structs, which know no other number than a double. The statement format
# itself is JSON and has no such limit.
# Why it matters: a predicate is where one states the seed, or how many images there were. What is signed then names a
# seed that gives other images, and its signature is valid. A check that compares the signed numbers with its records
# fails or, if it compares floats, passes for both seeds. Write such numbers as text.
#
# Package: in-toto-attestation 0.9.3, protobuf 7.36.2. Where: in_toto_attestation/v1/statement.py (pb.predicate.update).
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check in-toto-attestation==0.9.3 protobuf==7.36.2 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
import json
import random
from importlib.metadata import version

from google.protobuf.json_format import MessageToDict, MessageToJson
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import Statement

seed = 0xA5A5_5A5A_1234_5677
subject = ResourceDescriptor(name="image.png", digest={"sha256": "0" * 64}, annotations={"seed": seed})
statement = Statement([subject.pb], "https://example.org/audit/v1", {"seed": seed, "images": 430, "text": str(seed)})
statement.validate()
signed = MessageToDict(statement.pb)
print("in-toto-attestation", version("in-toto-attestation"))
print("images", json.dumps(signed["predicate"]["images"]), "as JSON text", "430.0" in MessageToJson(statement.pb))
print("seed given ", seed)
print("seed signed", int(signed["predicate"]["seed"]))
print("as an annotation", int(signed["subject"][0]["annotations"]["seed"]))
print("as text", signed["predicate"]["text"])
same = random.Random(seed).random() == random.Random(int(signed["predicate"]["seed"])).random()
print("same first random number from both seeds:", same)
PYTHON
cat > expected.txt << 'EXPECTED'
in-toto-attestation 0.9.3
images 430.0 as JSON text True
seed given  11936045730314344055
seed signed 11936045730314344448
as an annotation 11936045730314344448
as text 11936045730314344055
same first random number from both seeds: False
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi
