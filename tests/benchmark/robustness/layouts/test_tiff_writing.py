"""The writer of TIFFs against tifffile: what was written is what tifffile reads."""

import io

import numpy as np
import pytest
import tifffile

from imgaudit.benchmark.robustness.layouts.tiff_writing import LZW, PACKBITS, PLAIN, ZIP, TiffForm, write_tiff

VALUES = (np.arange(20 * 23 * 3).reshape(20, 23, 3) * 37).astype(np.uint16)


@pytest.mark.parametrize("compression", [PLAIN, ZIP, PACKBITS, LZW])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("tiled", [False, True])
def test_tifffile_reads_what_was_written(compression: int, order: str, separate: bool, tiled: bool) -> None:
    if compression == LZW:
        pytest.importorskip("imagecodecs")
    # A predictor goes with LZW and ZIP only.
    for predictor in (1, 2) if compression in {LZW, ZIP} else (1,):
        form = TiffForm(2, 16, "u", order, separate, compression, predictor, tiled=tiled)  # type: ignore[arg-type]
        read = tifffile.imread(io.BytesIO(write_tiff(VALUES, form)))
        assert np.array_equal(read.transpose(1, 2, 0) if separate else read, VALUES)
