"""The command's own process stops when its device fails, and says how to go on."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from imgaudit.exceptions import DeviceError
from imgaudit.models import load_model
from imgaudit.runs.engine.chunk import is_device_failure
from tests.support.deadly_model import FAILURE, load_deadly
from tests.support.engine_runs import add_deadly_image, measure_run, read_records


def test_a_device_that_failed_skips_nothing_and_the_run_continues(
    model_folder: Path, make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder, load = make_folder("images", range(5)), partial(load_deadly, str(model_folder))
    add_deadly_image(folder, failing=True)
    with pytest.raises(DeviceError, match=f"{FAILURE}; this process cannot use it any more.*--workers 1"):
        measure_run(folder, load("cpu"), tmp_path / "run", None)
    assert all(record["stage"] == "measured" for record in read_records(tmp_path / "run"))
    healthy = load_model(str(model_folder), "cpu")
    assert measure_run(folder, healthy, tmp_path / "run", None) == measure_run(folder, healthy, tmp_path / "new", None)


@pytest.mark.parametrize(
    ("error", "failed"),
    [
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling cublasSgemm"), True),
        (RuntimeError("HIP error: an illegal memory access was encountered"), True),
        (getattr(torch, "AcceleratorError", RuntimeError)("CUDA error: unspecified launch failure"), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), False),
        (ValueError("CUDA error: said by something else"), False),
        (RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), False),
    ],
)
def test_what_a_failed_device_raises_is_told_from_other_errors(error: Exception, failed: bool) -> None:
    assert is_device_failure(error) is failed
