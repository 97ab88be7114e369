#!/usr/bin/env bash
# peft's add_weighted_adapter makes an rsLoRA adapter too strong by the root of its rank: 8 times at rank 64.
#
# Expected: `add_weighted_adapter(["style"], [1.0], "copy")` is the adapter itself, and weights of 0.5 and 0.5 its mean
# with another. The docstring calls `cat` and `svd` precise and only `linear` rough. So it is for plain LoRA: 1.000.
# Seen: for adapters with `use_rslora=True` the copy with weight 1 changes the layer 2, 4 and 8 times as much at ranks
# 4, 16 and 64, with each of cat, svd and linear, and the mean of two is 8 times too strong as well. From a DoRA adapter
# (`use_dora=True`) the trained magnitudes are missing; here, where they were doubled, the copy has about a third of the
# change. Nothing warns of it.
# Why: the new adapter's numbers already hold the old scaling, and its alpha is set to its rank so that its own scaling
# is 1. But `use_rslora` is copied from the old one, by which the scaling is alpha / sqrt(rank), the root of the rank.
# Of DoRA only the two LoRA matrices are taken over.
# Why it matters: adapters are blended, or their weight is stepped from 0 to 1, to find at which strength a model gives
# back a trained image. The strengths are then not those that are written down, and differ between adapters of other
# ranks. Divide the weights by the root of the rank that the new adapter will have (with cat the sum of the ranks).
#
# Packages: peft 0.21.2, torch 2.14.1. Where: peft/tuners/lora/model.py, add_weighted_adapter.
set -euo pipefail

export OMP_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check peft==0.21.2 torch==2.14.1 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"
export HF_HUB_OFFLINE=1

cat > show.py << 'PYTHON'
from importlib.metadata import version

import torch
from peft import LoraConfig, get_peft_model

torch.set_num_threads(1)


def make(rank, **kind):
    torch.manual_seed(0)
    layer = torch.nn.Sequential(torch.nn.Linear(64, 64, bias=False))
    config = {"r": rank, "lora_alpha": rank, "target_modules": ["0"], "init_lora_weights": False, **kind}
    model = get_peft_model(layer, LoraConfig(**config), adapter_name="style")
    model.add_adapter("person", LoraConfig(**config))
    return model


@torch.no_grad()
def change(model, name):
    model.set_adapter(name)
    images = torch.randn(8, 64, generator=torch.Generator().manual_seed(1))
    changed = model(images)
    with model.disable_adapter():
        return changed - model(images)


def strength(model, adapters, weights, combination):
    expected = sum(weight * change(model, adapter) for adapter, weight in zip(adapters, weights))
    model.add_weighted_adapter(adapters, weights, combination, combination_type=combination)
    return (change(model, combination).norm() / expected.norm()).item()


print("peft", version("peft"))
for name, kind in (("LoRA", {}), ("rsLoRA", {"use_rslora": True})):
    for rank in (4, 16, 64):
        ways = ("cat", "svd", "linear")
        shares = [f"{way} {strength(make(rank, **kind), ['style'], [1.0], way):.3f}" for way in ways]
        print(f"{name}, rank {rank}, weight 1:", *shares)
for name, kind in (("LoRA", {}), ("rsLoRA", {"use_rslora": True})):
    share = strength(make(32, **kind), ["style", "person"], [0.5, 0.5], "cat")
    print(f"{name}, mean of two of rank 32: cat {share:.3f}")
model = make(4, use_dora=True)
with torch.no_grad():
    model.base_model.model[0].lora_magnitude_vector["style"].weight.mul_(2)
share = strength(model, ["style"], [1.0], "cat")
print("DoRA, rank 4, weight 1: cat below a half:", share < 0.5)
PYTHON

cat > expected.txt << 'EXPECTED'
peft 0.21.2
LoRA, rank 4, weight 1: cat 1.000 svd 1.000 linear 1.000
LoRA, rank 16, weight 1: cat 1.000 svd 1.000 linear 1.000
LoRA, rank 64, weight 1: cat 1.000 svd 1.000 linear 1.000
rsLoRA, rank 4, weight 1: cat 2.000 svd 2.000 linear 2.000
rsLoRA, rank 16, weight 1: cat 4.000 svd 4.000 linear 4.000
rsLoRA, rank 64, weight 1: cat 8.000 svd 8.000 linear 8.000
LoRA, mean of two of rank 32: cat 1.000
rsLoRA, mean of two of rank 32: cat 8.000
DoRA, rank 4, weight 1: cat below a half: True
EXPECTED

"$work/venv/bin/python" show.py 2> messages.txt | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    cat messages.txt >&2
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi
