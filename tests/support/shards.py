"""Three shards of an audit on a perfect memoriser, and the same audit in one piece, as a fixture."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from imgaudit.api import audit, measure_shard
from imgaudit.io.captions import CaptionSource
from imgaudit.io.framing import to_image
from imgaudit.io.portfolio import Portfolio, read_portfolio
from imgaudit.models import FiniteSetDenoiser, LoadedModel
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.protocol import Framing

IMAGES = 5


@dataclass(frozen=True)
class ShardedAudit:
    """The folder that holds `whole` and the shards `1`, `2` and `3`, and what they were made with."""

    folder: Path
    model: LoadedModel
    portfolio: Portfolio
    config: AuditConfig

    def copy(self, place: Path) -> list[Path]:
        """Copies of all shards that a test may change, in order of their numbers."""
        return [Path(shutil.copytree(self.folder / name, place / name)) for name in ("1", "2", "3")]

    def measure(self, shard: str, out: Path, **changes: Any) -> None:
        """Measure a shard as it was, or with other options."""
        config = self.config.model_copy(update=changes)
        measure_shard(self.model, self.portfolio, shard, out=out, config=config)


@pytest.fixture(scope="session")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> ShardedAudit:
    """Five images in chunks of two: three chunks, one for each shard; and a file that is no image."""
    folder, images = tmp_path_factory.mktemp("sharded"), tmp_path_factory.mktemp("images")
    coarse = torch.rand(IMAGES, 3, 4, 4, generator=torch.Generator().manual_seed(3)) * 2 - 1
    points = torch.nn.functional.interpolate(coarse, (16, 16), mode="bilinear")
    for number, point in enumerate(points):
        to_image(point).save(images / f"{number}.png")
        (images / f"{number}.txt").write_text(str(number))
    (images / "broken.png").write_bytes(b"no image")
    options: dict[str, Any] = {
        "effort": "quick", "steps": 2, "seeds": 2, "framing": "pad", "batch_size": 64, "chunk_size": 2,
    }  # fmt: skip
    config = AuditConfig.model_validate(options)
    model = LoadedModel(FiniteSetDenoiser(points), "memoriser", "FiniteSetDenoiser", {})
    portfolio = read_portfolio(images, CaptionSource(images), framing=Framing.PAD)
    made = ShardedAudit(folder, model, portfolio, config)
    audit(model, portfolio, out=folder / "whole", config=config)
    for number in ("1", "2", "3"):
        made.measure(f"{number}/3", folder / number)
    return made
