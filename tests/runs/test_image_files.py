"""The files of a measured image: complete, small enough to be sent, and written as they were made."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from imgaudit.io.captions import CaptionSource
from imgaudit.io.portfolio import read_portfolio
from imgaudit.models import load_model
from imgaudit.runs.callbacks import ignore_step
from imgaudit.runs.engine.chunk import AskingRule, ChunkWork, measure_images, never_a_copy
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.image_files import EncodedImage, write_image
from imgaudit.similarity.matcher import Matcher
from tests.support.engine_runs import CONFIG


@pytest.mark.parametrize("keep_files", [True, False])
def test_an_image_that_was_sent_is_written_complete(
    keep_files: bool, model_folder: Path, make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    model, folder = load_model(str(model_folder), "cpu"), make_folder("images", [3])
    portfolio = read_portfolio(folder, CaptionSource(folder))
    work = ChunkWork(CONFIG, never_a_copy, AskingRule(), keep_files, model.denoiser.fingerprint)
    context = work.make_context(model, Matcher(), ignore_step)
    [made] = measure_images(context, portfolio.targets, keep_files=keep_files)
    sent = pickle.loads(pickle.dumps(made))
    assert isinstance(sent, EncodedImage) and sent.measurement == made.measurement  # type: ignore[union-attr]
    run = RunFolder(tmp_path / "run")
    write_image(run, sent)
    assert run.has_images(sent.measurement) is keep_files
    written = {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()}
    assert set(sent.files) <= written and len(sent.files) == (0 if not keep_files else len(written) - 2)
