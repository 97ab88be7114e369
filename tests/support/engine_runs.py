"""Small audits by any engine, and what is compared of them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from imgaudit.io.captions import CaptionSource
from imgaudit.io.portfolio import read_portfolio
from imgaudit.models import LoadedModel
from imgaudit.runs.callbacks import OnStep, ignore_step
from imgaudit.runs.conclusion import conclude
from imgaudit.runs.engine.pool import Engine
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.manifest import make_manifest, open_manifest, resume_portfolio
from imgaudit.runs.measurement import measure_targets
from imgaudit.runs.sealing import name_measures
from imgaudit.schema.config import AuditConfig
from imgaudit.similarity.matcher import standard_matcher

CONFIG = AuditConfig.model_validate(
    {
        "steps": 2, "draws": 2, "score_after": 1, "seeds": 2, "num_inference_steps": 2, "chunk_size": 2,
        "device": "cpu", "framing": "pad", "batch_size": 64, "guidance_scales": (3.0,),
    }
)  # fmt: skip


def measure_run(
    folder: Path,
    model: LoadedModel,
    out: Path,
    engine: Engine | None,
    *,
    on_step: OnStep = ignore_step,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Measure and decide as the command does; return the findings without what clocks decide."""
    portfolio, run = read_portfolio(folder, CaptionSource(folder)), RunFolder(out)
    matcher, lacking = standard_matcher(model.denoiser.resolution, "cpu")
    with run.lock():
        manifest = make_manifest(
            ["imgaudit"], CONFIG, {}, model, portfolio, measures=name_measures(matcher, lacking)
        )  # fmt: skip
        portfolio = resume_portfolio(portfolio, open_manifest(run.path, manifest))
        for _ in measure_targets(
            run, portfolio, model, CONFIG, matcher=matcher, engine=engine, on_step=on_step, on_progress=on_progress
        ):
            pass
        conclude(run)
    return read_findings(out)


def read_findings(run: Path) -> list[dict[str, Any]]:
    """The findings of a run by path, without the time that was spent."""
    findings = json.loads((run / "report.json").read_text(encoding="utf-8"))["findings"]
    kept = [{key: value for key, value in one.items() if key != "seconds"} for one in findings]
    return sorted(kept, key=lambda one: str(one["path"]))


def read_records(run: Path) -> list[dict[str, Any]]:
    """The records of a run, in the order in which they were written."""
    path = run / "records.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def read_files(run: Path, names: Sequence[str] = ("images",)) -> dict[str, bytes]:
    """Every file of parts of a run by its path."""
    return {
        str(path.relative_to(run)): path.read_bytes()
        for name in names
        for path in sorted((run / name).rglob("*"))
        if path.is_file()
    }


def add_deadly_image(folder: Path, *, failing: bool = False) -> Path:
    """Add a picture that is nearly all white, or nearly all black, with a little that it can be recognised by."""
    base, others = (0, ((5, 0, 15), (0, 15, 5))) if failing else (255, ((250, 255, 240), (255, 240, 250)))
    picture = Image.new("RGB", (24, 24), (base, base, base))
    picture.putpixel((3, 4), others[0])
    picture.putpixel((20, 9), others[1])
    path = folder / ("black.png" if failing else "white.png")
    picture.save(path)
    return path
