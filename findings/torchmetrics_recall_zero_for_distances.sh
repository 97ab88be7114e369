#!/usr/bin/env bash
# The recall of a perfect search is 0 by torchmetrics if its scores are negative distances, while its hit rate is 1.
#
# Expected: precision, recall, average precision and reciprocal rank at k depend on the order of the candidates only. So
# scores that give the same order (minus the distance, a cosine, one over 1 plus the distance) give the same figures.
# Seen: in 200 searches with two copies each, all of them in the first two places, all six figures are 1 with scores
# above 0. With minus the distance as the score, the hit rate and NDCG are 1 still, but precision, recall, average
# precision and reciprocal rank are 0. With scores from which the threshold was subtracted they are in between: the
# copies beyond the threshold are not counted, although they are in the first two places. Nothing warns.
# Why: in four of the functions a candidate counts as relevant only if its score is above 0, in the others always.
# Why it matters: distances are what a search for near-duplicates gives, and minus the distance is the usual way to make
# a score of one. An exact copy has distance 0 and is not counted either. The figures of several searches are then 0, or
# differ, for the kind of score and not for what was found. Shift the scores so that all are above 0.
#
# Package: torchmetrics 1.9.0. The classes ask for "a float tensor", the functions for "estimated probabilities", their
# check for "scores/logits"; none names a limit at 0 or refuses what is below. Where: retrieval_precision,
# retrieval_recall, retrieval_average_precision, retrieval_reciprocal_rank in torchmetrics/functional/retrieval (the
# filtered target).
set -euo pipefail

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check torchmetrics==1.9.0 torch==2.14.1 numpy==2.4.6 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
from importlib.metadata import version

import numpy as np
import torch
from torchmetrics import retrieval

SEARCHES, CANDIDATES, COPIES, THRESHOLD = 200, 20, 2, 0.25

random = np.random.default_rng(0)
distance = random.uniform(0.5, 1.5, (SEARCHES, CANDIDATES))
distance[:, :COPIES] = random.uniform(0.05, 0.45, (SEARCHES, COPIES))  # nearer than all others
is_copy = np.zeros((SEARCHES, CANDIDATES), bool)
is_copy[:, :COPIES] = True
search = np.repeat(np.arange(SEARCHES), CANDIDATES).reshape(SEARCHES, CANDIDATES)

SCORES = {
    "one over 1 plus the distance": 1 / (1 + distance),
    "2 minus the distance": 2 - distance,
    "minus the distance": -distance,
    "threshold minus the distance": THRESHOLD - distance,
}
METRICS = {
    "hit rate": retrieval.RetrievalHitRate,
    "NDCG": retrieval.RetrievalNormalizedDCG,
    "precision": retrieval.RetrievalPrecision,
    "recall": retrieval.RetrievalRecall,
    "average precision": retrieval.RetrievalMAP,
    "reciprocal rank": retrieval.RetrievalMRR,
}

print("torchmetrics", version("torchmetrics"))
copies = distance[is_copy]
print(f"copies: {copies.size}, of which nearer than the threshold: {(copies < THRESHOLD).sum()}")
for title, score in SCORES.items():
    order = np.argsort(-score, axis=1)[:, :COPIES]
    first = np.take_along_axis(is_copy, order, axis=1).all(axis=1).sum()
    print(f"{title}: copies in the first {COPIES} places in {first} of {SEARCHES} searches")
    figures = []
    for name, metric in METRICS.items():
        measured = metric(top_k=COPIES)
        measured.update(*(torch.tensor(one).flatten() for one in (score, is_copy, search)))
        figures.append(f"{name} {float(measured.compute()):.2f}")
    print("  " + ", ".join(figures))
PYTHON

cat > expected.txt << 'EXPECTED'
torchmetrics 1.9.0
copies: 400, of which nearer than the threshold: 193
one over 1 plus the distance: copies in the first 2 places in 200 of 200 searches
  hit rate 1.00, NDCG 1.00, precision 1.00, recall 1.00, average precision 1.00, reciprocal rank 1.00
2 minus the distance: copies in the first 2 places in 200 of 200 searches
  hit rate 1.00, NDCG 1.00, precision 1.00, recall 1.00, average precision 1.00, reciprocal rank 1.00
minus the distance: copies in the first 2 places in 200 of 200 searches
  hit rate 1.00, NDCG 1.00, precision 0.00, recall 0.00, average precision 0.00, reciprocal rank 0.00
threshold minus the distance: copies in the first 2 places in 200 of 200 searches
  hit rate 1.00, NDCG 1.00, precision 0.48, recall 0.48, average precision 0.73, reciprocal rank 0.73
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi
