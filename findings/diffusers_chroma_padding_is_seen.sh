#!/usr/bin/env bash
# diffusers' Chroma sees the padding that its mask is meant to hide, and loses the mask where gradients are checkpointed.
#
# Expected: the mask that `ChromaPipeline` makes of a prompt keeps the network from looking at padding, as masks of
# attention do. Gradient checkpointing saves memory and changes no number.
# Seen: 1. The images depend on the rows that the mask marks with 0. With a mask of true and false they do not.
# 2. With `enable_gradient_checkpointing()` the same call, with gradients on, gives another prediction: in its blocks of
# one stream the mask is left out.
# Why: the pipeline makes a mask of ones and zeros as floats (`_get_t5_prompt_embeds`), and attention adds a mask of
# floats to its scores. So padding counts for 1/e of what it would, and not for nothing. `ChromaTransformer2DModel.forward`
# gives its single blocks no mask when they are checkpointed.
# Why it matters: an inversion, or training, through a checkpointed Chroma optimises for another function than the one
# that makes the images. And what stands in the padding is part of the condition.
#
# Packages: diffusers 0.42.1, torch 2.14.1.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check diffusers==0.42.1 torch==2.14.1 transformers==5.24.0 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"
export HF_HUB_OFFLINE=1

cat > show.py << 'PYTHON'
import warnings

warnings.simplefilter("ignore")
from importlib.metadata import version

import torch
from diffusers import ChromaTransformer2DModel

torch.manual_seed(0)
network = ChromaTransformer2DModel(
    in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
    joint_attention_dim=32, axes_dims_rope=(4, 4, 8), approximator_num_channels=16, approximator_hidden_dim=32,
    approximator_layers=1,
)
with torch.no_grad():
    for weight in network.parameters():
        weight.add_(torch.randn(weight.shape) * 0.05)
TOKENS, SQUARES = 8, 16
latents, text = torch.randn(1, SQUARES, 16), torch.randn(1, TOKENS, 32)
# Four tokens of a prompt and four of padding, then the image, which the pipeline always shows.
shown = torch.cat([torch.arange(TOKENS) < 4, torch.ones(SQUARES, dtype=torch.bool)])[None]


def predict(text, mask):
    return network(
        hidden_states=latents, encoder_hidden_states=text, timestep=torch.tensor([0.5]), attention_mask=mask,
        img_ids=torch.zeros(SQUARES, 3), txt_ids=torch.zeros(TOKENS, 3), return_dict=False,
    )[0]


def differ(first, second):
    return "the same" if bool(((first - second).abs() < 1e-4).all()) else "another"


print("diffusers", version("diffusers"), "torch", version("torch"))
other = text.clone()
other[:, 4:] += torch.randn(1, 4, 32)
with torch.no_grad():
    # Both masks as the network itself multiplies them out; a row that sees nothing at all is of the padding.
    print("other padding, mask as the pipeline makes it:", differ(predict(text, shown.float()), predict(other, shown.float())))
    print("other padding, mask of true and false:", differ(predict(text, shown), predict(other, shown)))
plain = predict(text, shown.float())
network.enable_gradient_checkpointing()
print("gradients checkpointed, with the mask:", differ(plain, predict(text, shown.float())))
network.disable_gradient_checkpointing()
without = predict(text, None)
network.enable_gradient_checkpointing()
print("gradients checkpointed, without a mask:", differ(without, predict(text, None)))
PYTHON
cat > expected.txt << 'EXPECTED'
diffusers 0.42.1 torch 2.14.1
other padding, mask as the pipeline makes it: another
other padding, mask of true and false: the same
gradients checkpointed, with the mask: another
gradients checkpointed, without a mask: the same
EXPECTED

"$work/venv/bin/python" show.py 2> messages.txt | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    cat messages.txt >&2
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi
