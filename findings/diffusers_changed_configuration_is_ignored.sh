#!/usr/bin/env bash
# A setting that is changed in a copy of a diffusers configuration is ignored, without a warning, if it had its default.
#
# Expected: `Class.from_config({**component.config, "key": value})` makes a component like the first one, with that one
# setting changed. Unknown keys give a warning, so a known key that is given should count.
# Seen: the component has the old value. A noise scheduler is asked for v-prediction and predicts noise; a flow scheduler
# is asked for a shift of 3 and has 1; a UNet is asked to embed the guidance scale and does not. The same change counts
# when it is passed as a keyword, when the key had not been at its default, and when the file config.json is changed.
# Why: the configuration of a component in memory lists the keys that were not given when it was made
# (`_use_default_values`). Those keys are taken out of whatever dictionary carries the list, before it is used. Files on
# disk do not have the list.
# Why it matters: a model's schedule or prediction type decides what an error or a sample means. Whoever repairs a
# configuration in this way goes on with the unrepaired one. Pass changes as keywords.
#
# Packages: diffusers 0.42.1, torch 2.14.1.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check diffusers==0.42.1 torch==2.14.1 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"
export HF_HUB_OFFLINE=1

cat > show.py << 'PYTHON'
import json
from importlib.metadata import version

from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler, UNet2DConditionModel


def ask(component, key, value):
    kind, known = type(component), dict(component.config)
    print(f"{kind.__name__}, {key}, asked for {value!r}")
    print(f"  in a copy of the configuration: {kind.from_config({**known, key: value}).config[key]!r}")
    print(f"  as a keyword: {kind.from_config(known, **{key: value}).config[key]!r}")
    component.save_config("saved")
    name = "saved/" + kind.config_name
    with open(name, encoding="utf-8") as file:
        stored = json.load(file)
    print(f"  in the saved file: {kind.from_config({**stored, key: value}).config[key]!r}")


print("diffusers", version("diffusers"))
ask(DDIMScheduler(), "prediction_type", "v_prediction")
ask(DDIMScheduler(prediction_type="sample"), "prediction_type", "v_prediction")
ask(FlowMatchEulerDiscreteScheduler(), "shift", 3.0)
unet = UNet2DConditionModel(
    sample_size=8, block_out_channels=(8,), layers_per_block=1, down_block_types=("DownBlock2D",),
    up_block_types=("UpBlock2D",), cross_attention_dim=8, norm_num_groups=4, attention_head_dim=4,
)
ask(unet, "time_cond_proj_dim", 16)
PYTHON
cat > expected.txt << 'EXPECTED'
diffusers 0.42.1
DDIMScheduler, prediction_type, asked for 'v_prediction'
  in a copy of the configuration: 'epsilon'
  as a keyword: 'v_prediction'
  in the saved file: 'v_prediction'
DDIMScheduler, prediction_type, asked for 'v_prediction'
  in a copy of the configuration: 'v_prediction'
  as a keyword: 'v_prediction'
  in the saved file: 'v_prediction'
FlowMatchEulerDiscreteScheduler, shift, asked for 3.0
  in a copy of the configuration: 1.0
  as a keyword: 3.0
  in the saved file: 3.0
UNet2DConditionModel, time_cond_proj_dim, asked for 16
  in a copy of the configuration: None
  as a keyword: 16
  in the saved file: 16
EXPECTED

"$work/venv/bin/python" show.py | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi
