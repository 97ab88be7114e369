#!/usr/bin/env bash
# ray.init() writes the secret that guards its clusters to the home folder, in a file that every user may read.
#
# Expected: a key that lets its holder run programs is written for its owner alone (mode 600), as ssh and others do. A
# cluster that one program starts for itself leaves no key behind when it has ended.
# Seen: a local ray.init() without any setting writes ~/.ray/auth_token. With the usual umask of 022 its mode is 644, and
# that of its folder 755. It stays after ray.shutdown(), and later clusters of the same user are guarded by it as well.
# Why: the file is opened as any other, and no mode is set.
# Why it matters: a local cluster listens on the machine's network, and whoever has the token may run code in it as the
# user who started it. On a machine that several people use, where home folders can be entered (mode 755), they all have
# it. Set umask 077 before the first ray.init(), or chmod 600 ~/.ray/auth_token.
#
# Package: ray 2.60.0. Where: ray/_private/authentication/authentication_token_setup.py, generate_and_save_token.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check ray==2.60.0 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"
mkdir home

cat > show.py << 'PYTHON'
import os
from importlib.metadata import version
from pathlib import Path

import ray

os.umask(0o022)
token = Path.home() / ".ray" / "auth_token"
print("ray", version("ray"))
print("token before:", token.exists())
for number in ("first", "second"):
    ray.init(num_cpus=1, include_dashboard=False, configure_logging=False, log_to_driver=False)
    ray.shutdown()
    if number == "first":
        secret = token.read_text()
print(f"token after: mode {token.stat().st_mode & 0o777:o}, folder {token.parent.stat().st_mode & 0o777:o}")
print("the second cluster has the same token:", token.read_text() == secret)
PYTHON
cat > expected.txt << 'EXPECTED'
ray 2.60.0
token before: False
token after: mode 644, folder 755
the second cluster has the same token: True
EXPECTED

env -u RAY_AUTH_MODE -u RAY_AUTH_TOKEN -u RAY_AUTH_TOKEN_PATH HOME="$work/home" RAY_TMPDIR="$work" RAY_USAGE_STATS_ENABLED=0 \
    "$work/venv/bin/python" show.py 2> ray.log | tee seen.txt || { cat ray.log >&2; exit 1; }
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi
