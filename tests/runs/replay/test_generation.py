"""Pictures of learned noise come back as well, and what cannot be read of it is a problem that names the file."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from imgaudit.io.captions import CaptionSource
from imgaudit.io.framing import to_image
from imgaudit.io.portfolio import read_portfolio
from imgaudit.models import FiniteSetDenoiser, LoadedModel
from imgaudit.runs.conclusion import conclude
from imgaudit.runs.finished import FinishedRun, read_finished_run
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.manifest import make_manifest, open_manifest
from imgaudit.runs.measurement import measure_targets
from imgaudit.runs.replay.replay import replay_run
from imgaudit.runs.replay.request import ReplayRequest
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.records import Rung

CONFIG = AuditConfig.model_validate(
    {"effort": "quick", "steps": 8, "draws": 2, "seeds": 2, "num_inference_steps": 4, "measures": ("invmm",),
     "invmm_steps": 25, "no_controls": True}
)  # fmt: skip


def make_run(folder: Path, model: LoadedModel, picture: torch.Tensor) -> FinishedRun:
    """Audit one picture with InvMM, without controls."""
    (folder / "targets").mkdir()
    to_image(picture).save(folder / "targets" / "one.png")
    run = RunFolder(folder / "run")
    portfolio = read_portfolio(folder / "targets", CaptionSource(folder / "targets"))
    run.path.mkdir()
    open_manifest(run.path, make_manifest(["imgaudit"], CONFIG, {}, model, portfolio))
    assert len(list(measure_targets(run, portfolio, model, CONFIG))) == 1
    conclude(run)
    return read_finished_run(run.path)


def test_learned_noise_is_sampled_again(tmp_path: Path) -> None:
    coarse = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    points = torch.nn.functional.interpolate(coarse, (16, 16), mode="bilinear")
    model = LoadedModel(FiniteSetDenoiser(points), "memoriser", "FiniteSetDenoiser", {})
    run = make_run(tmp_path, model, points[0])
    replay, check = replay_run(run, ReplayRequest(model, None, 0, 4))
    again = [one for one in replay.replayed if one.rung is Rung.EMBEDDING_NOISE]
    assert len(again) == 2 and not check.problems and all(one.largest == 0 for one in replay.replayed)
    path = next(run.folder.path.glob("images/*/noise.safetensors"))
    tensors = load_file(path)
    save_file({name: one for name, one in tensors.items() if name != "mu"}, path)
    _, check = replay_run(run, ReplayRequest(model, None, 0, 4))
    assert len(check.problems) == 1 and "noise.safetensors' lacks 'mu'" in check.problems[0]
    save_file(tensors | {"mu": tensors["mu"][:, :2].contiguous()}, path)
    _, check = replay_run(run, ReplayRequest(model, None, 0, 4))
    assert "noise.safetensors' is learned noise of another size" in check.problems[0]
