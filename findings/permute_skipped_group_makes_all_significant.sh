#!/usr/bin/env bash
# In permute's stratified test one group without a control gives any data the smallest p-value there can be.
#
# Expected: "Groups in which all cases are assigned to the same condition are skipped; they do not contribute to the
# p-value" (docstring). So the p-value is the one that the same data have without that group, and by chance 5 % of tests
# of pure noise are at or below 0.05.
# Seen: of 60 tests of noise with 99 permutations each, 2 are at or below 0.05. With one more group, in which all images
# are of one condition, all 60 have p = 0.01, and 0.02 if the test is two-sided. The other way round ("less") all have
# 0.99. It is the same in stratified_two_sample with the statistic mean_within_strata.
# Why: the mean of no responses is NaN, and so is the sum over the groups, for the data and for each permutation of
# them. No permutation then counts as being at least as large as the data, which is taken for the strongest result.
# Why it matters: groups are, for example, prompts, and the conditions images that were or were not in the training set.
# A prompt for which there is only one kind is common. The statistic NaN stands in the second place of the answer, where
# few look; the p-value says that the model was shown to have memorised, at the limit of what the number of permutations
# can show. Leave out such groups, and refuse an answer whose statistic is not finite.
#
# Package: permute 0.2. NumPy warns of a mean of an empty slice, permute does not. Source that is relied on: the
# docstring of permute.stratified.stratified_permutationtest. Where: stratified_permutationtest_mean in
# permute/stratified.py, and right_pv.
set -euo pipefail

export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check permute==0.2 cryptorandom==0.4 numpy==2.4.6 scipy==1.17.1 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"

cat > show.py << 'PYTHON'
import warnings
from importlib.metadata import version

import numpy as np
from permute.stratified import stratified_permutationtest, stratified_two_sample

warnings.simplefilter("ignore")  # RuntimeWarning: Mean of empty slice
TESTS, PERMUTATIONS = 60, 99
PROMPT = np.repeat([0, 1, 2], 8)
IN_TRAINING = np.tile([0, 1], 12)
WITH_ONE_KIND = np.append(PROMPT, [3] * 4), np.append(IN_TRAINING, [1] * 4)


def show(title, test):
    random = np.random.default_rng(0)
    answers = [test(random, seed) for seed in range(TESTS)]
    p = np.array([answer[0] for answer in answers])
    finite = sum(bool(np.isfinite(answer[1])) for answer in answers)
    print(f"{title}: {(p <= 0.05).sum()} of {TESTS} at or below 0.05,", end=" ")
    print(f"p from {p.min():.3f} to {p.max():.3f}, statistic finite in {finite}")


def stratified(prompt, in_training, alternative="greater"):
    return lambda random, seed: stratified_permutationtest(
        prompt, in_training, random.standard_normal(len(prompt)), alternative, reps=PERMUTATIONS, seed=seed
    )


def two_sample(prompt, in_training):
    return lambda random, seed: stratified_two_sample(
        prompt, in_training, random.standard_normal(len(prompt)), "mean_within_strata", reps=PERMUTATIONS, seed=seed
    )


print("permute", version("permute"))
show("three prompts", stratified(PROMPT, IN_TRAINING))
show("and one with one kind", stratified(*WITH_ONE_KIND))
show("the same, two-sided", stratified(*WITH_ONE_KIND, "two-sided"))
show("the same, less", stratified(*WITH_ONE_KIND, "less"))
show("two samples", two_sample(PROMPT, IN_TRAINING))
show("and one with one kind", two_sample(*WITH_ONE_KIND))
PYTHON

cat > expected.txt << 'EXPECTED'
permute 0.2
three prompts: 2 of 60 at or below 0.05, p from 0.020 to 0.930, statistic finite in 60
and one with one kind: 60 of 60 at or below 0.05, p from 0.010 to 0.010, statistic finite in 0
the same, two-sided: 60 of 60 at or below 0.05, p from 0.020 to 0.020, statistic finite in 0
the same, less: 0 of 60 at or below 0.05, p from 0.990 to 0.990, statistic finite in 0
two samples: 2 of 60 at or below 0.05, p from 0.020 to 0.940, statistic finite in 60
and one with one kind: 60 of 60 at or below 0.05, p from 0.010 to 0.010, statistic finite in 0
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi
