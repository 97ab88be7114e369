#!/usr/bin/env bash
# Four diffusers solvers add most noise where least is asked for, and the least at any time that is not in their plan.
#
# Expected: `add_noise(image, noise, t)` mixes as the beta schedule says, whatever solver it is called on: with this
# schedule, t=0 leaves nearly all of the image, t=999 nearly none. The docstring says "according to the noise schedule
# at the specified timesteps". A solver that cannot do so refuses.
# Seen: DPMSolverMultistep, DPMSolverSinglestep, UniPCMultistep and DEISMultistep are upside down when they are fresh:
# t=0 leaves 0.6 % of the image and t=999 leaves all of it. After `set_timesteps(20)` the times of that plan are right,
# and every other time gets the noise of the plan's last step: t=900 leaves 98 %, as t=0 does. There is no error and no
# warning. EulerDiscrete is right when it is fresh and raises IndexError at times outside its plan.
# Why: a fresh solver holds its times in falling and its noise levels in rising order, and one is looked up by the place
# in the other. A time that is not found is given the last place.
# Why it matters: whether a model knows an image is tested by adding noise at chosen times and measuring how well the
# model removes it. With the solver that the pipeline happens to have, the loss at most times is that of another
# time, with the wrong noise for the t that the model is told. Take DDPMScheduler.from_config(pipeline.scheduler.config).
#
# Packages: diffusers 0.42.1, torch 2.14.1. Where: diffusers/schedulers/scheduling_dpmsolver_multistep.py and the three
# others of its kind: __init__ (sigmas, timesteps), add_noise, index_for_timestep.
set -euo pipefail

export OMP_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check diffusers==0.42.1 torch==2.14.1 2> "$work/pip.log" || { cat "$work/pip.log" >&2; exit 1; }
cd "$work"
export HF_HUB_OFFLINE=1

cat > show.py << 'PYTHON'
import warnings

warnings.simplefilter("ignore")
from importlib.metadata import version

import diffusers
import torch

TIMES = (0, 100, 500, 900, 999)
SOLVERS = ("DPMSolverMultistep", "DPMSolverSinglestep", "UniPCMultistep", "DEISMultistep")
BETAS = {"num_train_timesteps": 1000, "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"}
image = torch.ones(1, 1, 2, 2)
no_noise = torch.zeros(1, 1, 2, 2)


def make(name):
    return getattr(diffusers, f"{name}Scheduler")(**BETAS)


def shares(scheduler, times=TIMES):
    # Where the noise is 0, what is left is the image's share.
    return [scheduler.add_noise(image, no_noise, torch.tensor([t]))[0, 0, 0, 0].item() for t in times]


def show(name, scheduler, times=TIMES):
    print(f"{name:36}", *(f"{share:.3f}" for share in shares(scheduler, times)))


print("diffusers", version("diffusers"))
print(f"{'share of the image left at t =':36}", *(f"{t:5}" for t in TIMES))
show("DDPM", make("DDPM"))
for name in SOLVERS:
    show(f"{name}, fresh", make(name))
for name in SOLVERS:
    scheduler = make(name)
    scheduler.set_timesteps(20)
    show(f"{name}, 20 steps", scheduler)
scheduler = make(SOLVERS[0])
scheduler.set_timesteps(20)
plan = scheduler.timesteps.tolist()
right = torch.allclose(torch.tensor(shares(scheduler, plan)), torch.tensor(shares(make("DDPM"), plan)), atol=1e-3)
print("right at the 20 times of the plan:", right)
euler = make("EulerDiscrete")
euler.set_timesteps(20)
try:
    shares(euler, [100])
except IndexError:
    print("EulerDiscrete, 20 steps, t = 100: IndexError")
PYTHON

cat > expected.txt << 'EXPECTED'
diffusers 0.42.1
share of the image left at t =           0   100   500   900   999
DDPM                                 1.000 0.946 0.279 0.016 0.006
DPMSolverMultistep, fresh            0.006 0.017 0.280 0.947 1.000
DPMSolverSinglestep, fresh           0.006 0.017 0.280 0.947 1.000
UniPCMultistep, fresh                0.006 0.017 0.280 0.947 1.000
DEISMultistep, fresh                 0.006 0.017 0.280 0.947 1.000
DPMSolverMultistep, 20 steps         0.985 0.946 0.279 0.985 0.006
DPMSolverSinglestep, 20 steps        0.985 0.946 0.279 0.985 0.006
UniPCMultistep, 20 steps             0.985 0.946 0.279 0.985 0.006
DEISMultistep, 20 steps              0.985 0.946 0.279 0.985 0.006
right at the 20 times of the plan: True
EulerDiscrete, 20 steps, t = 100: IndexError
EXPECTED

"$work/venv/bin/python" show.py 2> messages.txt | tee seen.txt
if diff expected.txt seen.txt; then
    echo "as documented"
else
    cat messages.txt >&2
    echo "the behaviour is no longer what is documented above" >&2
    exit 1
fi
