#!/usr/bin/env bash
# safetensors.numpy writes a transposed array with its numbers in the wrong places, without an error.
#
# Expected: save() of a view such as weight.T either copies it first or refuses it. (safetensors.torch refuses tensors
# that are not contiguous, and safetensors 0.7.0 writes this array correctly. The docstring asks for contiguous tensors;
# nothing checks it.)
# Seen: the file has the shape of the view and the bytes of the array under it, in memory order. What is loaded has the
# right shape, dtype, mean and sum, and wrong rows.
# Why: the address of the array's memory is handed to the writer, with the shape but without the strides.
# Why it matters: descriptors and projections are often kept transposed (one column per image, `vectors.T`, or a
# column-major array from a linear-algebra routine). Every check of shape, dtype and norm of the whole passes, but each
# "image" is then a mixture of several, so that no copy of it is ever found. Call numpy.ascontiguousarray first.
#
# Package: safetensors 0.8.0. Where: safetensors/numpy.py, _flatten (data_ptr=tensor.ctypes.data).
set -euo pipefail

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
from importlib.metadata import version

import numpy as np
from safetensors.numpy import load, save

columns = np.array([[1, 2, 3], [10, 20, 30]], dtype=np.float32)  # two numbers of three images
vectors = columns.T  # three images of two numbers
back = load(save({"vectors": vectors}))["vectors"]
copied = load(save({"vectors": np.ascontiguousarray(vectors)}))["vectors"]
print("safetensors", version("safetensors"))
print("saved ", vectors.tolist())
print("loaded", back.tolist())
print("same shape and sum:", back.shape == vectors.shape and back.sum() == vectors.sum())
print("same after ascontiguousarray:", np.array_equal(copied, vectors))
PYTHON

cat > expected.txt << 'EXPECTED'
safetensors 0.8.0
saved  [[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]
loaded [[1.0, 2.0], [3.0, 10.0], [20.0, 30.0]]
same shape and sum: True
same after ascontiguousarray: True
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi
