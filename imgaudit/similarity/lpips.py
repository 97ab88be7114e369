"""LPIPS, the learned perceptual distance of Zhang et al. 2018, from its authors' package; loaded without the network.

Its heads are shipped inside the `lpips` package. Its AlexNet backbone is not: torchvision publishes it, 233 MB.
"""

import hashlib
import importlib.metadata
import importlib.util
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch.nn.functional import interpolate

from imgaudit.exceptions import ModelRefusedError
from imgaudit.schema.records import Skipped

BACKBONE = "alexnet-owt-7be5be79.pth"
"""File name of torchvision's AlexNet; its eight hexadecimal digits begin the file's SHA-256."""

BACKBONE_SHA256 = "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02"
"""SHA-256 of the published file. Eight digits alone could be met by trying a few billion files."""

SMALLEST_SIDE = 64
"""Images whose shorter side has fewer pixels are enlarged to it: at 32, AlexNet's last features see one position."""

BATCH_SIZE = 16
"""Pairs that go through the network together; part of what makes the numbers repeat."""


@dataclass(frozen=True)
class LpipsDistance:
    """Distance of AlexNet's features, weighted by how much people notice them; 0 for equal images, lower is closer.

    Images with a shorter side below 64 pixels are first enlarged to 64, bilinear, their aspect ratio kept, because
    AlexNet shrinks an image sixteenfold. Values depend on the images' size: compare only those of one size.
    """

    network: torch.nn.Module
    """An `lpips.LPIPS`, in evaluation mode."""
    source: str
    """Names of package and backbone, with the backbone's SHA-256."""
    name = "lpips"

    def measure(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Measure two (N, 3, H, W) batches in [-1, 1]: (N,) float32 on the CPU, >= 0.

        Raises ValueError when the shapes differ.
        """
        if left.shape != right.shape:
            raise ValueError(f"expected two batches of one shape, but got {tuple(left.shape)} and {tuple(right.shape)}")
        batches = zip(torch.split(left, BATCH_SIZE), torch.split(right, BATCH_SIZE), strict=True)
        with torch.no_grad():
            distances = [self.network(_enlarge(one), _enlarge(other)).flatten() for one, other in batches]
        return torch.cat(distances).float().cpu()


def _enlarge(images: torch.Tensor) -> torch.Tensor:
    height, width = images.shape[-2:]
    shorter = min(height, width)
    if shorter >= SMALLEST_SIDE:
        return images.float()
    size = [round(side * SMALLEST_SIDE / shorter) for side in (height, width)]
    return interpolate(images.float(), size, mode="bilinear", align_corners=False)


def load_lpips(folder: Path | None = None, *, sha256: str = BACKBONE_SHA256) -> LpipsDistance | Skipped:
    """Load LPIPS when its package and backbone are on this machine, else Skipped with advice; never download.

    folder:  where the backbone lies; by default `checkpoints` in torch's hub folder, where torchvision keeps it
    sha256:  what the backbone's SHA-256 must begin with

    Raises ModelRefusedError when the parts are there but not to be trusted: another checksum, a file that holds more
    than tensors, weights that did not reach the network, distances that break the known answers.

    >>> isinstance(load_lpips(Path("nowhere")), Skipped)
    True
    """
    missing = [name for name in ("lpips", "torchvision") if importlib.util.find_spec(name) is None]
    if missing:
        return Skipped(skipped=f"LPIPS needs packages that are not installed: pip install {' '.join(missing)}")
    path = (Path(torch.hub.get_dir()) / "checkpoints" if folder is None else folder) / BACKBONE
    if not path.is_file():
        return Skipped(
            skipped=f"LPIPS' AlexNet backbone is not on this machine: put {BACKBONE}, which torchvision publishes, "
            "into the folder that `imgaudit doctor` names"
        )
    digest, backbone = _read_backbone(path, sha256)
    network, heads = _build(backbone)
    distance = LpipsDistance(
        network, f"lpips {importlib.metadata.version('lpips')}, AlexNet {BACKBONE} SHA-256 {digest}"
    )
    wrong = _find_wrong_parts(network.state_dict(), heads, backbone) or _find_wrong_answers(distance)
    if wrong:
        raise ModelRefusedError(f"LPIPS would give meaningless distances: {wrong}; reinstall lpips and torchvision")
    return distance


def _load_tensors(file: BinaryIO | Path) -> dict[str, torch.Tensor]:
    # weights_only is spelled out: it holds even where an environment variable turns torch's default off.
    loaded: Any = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(loaded, Mapping) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise ValueError("expected names with tensors")
    return dict(loaded)


def _read_backbone(path: Path, sha256: str) -> tuple[str, dict[str, torch.Tensor]]:
    """Return the checkpoint's SHA-256 and its convolutions: `features.<layer>.<weight or bias>` to tensor."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if not digest.startswith(sha256):
                raise ModelRefusedError(
                    f"{path} is not the AlexNet that torchvision publishes: its SHA-256 is {digest} and should "
                    f"begin with {sha256}; delete it and put the file that torchvision publishes there"
                )
            file.seek(0)
            tensors = _load_tensors(file)
    except ModelRefusedError:
        raise
    except Exception as error:  # torch.load raises almost anything on a file that is not a checkpoint
        raise ModelRefusedError(f"{path} cannot be read as plain weights: {type(error).__name__}: {error}") from error
    return digest, {name: value for name, value in tensors.items() if name.startswith("features.")}


def _name_layer(name: str) -> str:
    """Return the backbone's own name for a tensor of LPIPS' network: slice2.3.weight to features.3.weight."""
    return f"features.{name.partition('.')[2]}"


def _build(backbone: Mapping[str, torch.Tensor]) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """Build `lpips.LPIPS` around this backbone; return it and the tensors of the heads file in its package.

    Every option that changes distances keeps its default. (use_dropout=False renames the heads' tensors; their file is
    loaded with strict=False, so random heads would stay.)
    """
    try:
        # Constructing draws random weights; the caller's random numbers must not depend on it.
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            # lpips asks torchvision by its legacy option `pretrained`; only its authors could change that.
            warnings.filterwarnings("ignore", category=UserWarning, module=r"torchvision\.models\._utils")
            import lpips

            # A random backbone, filled below: torchvision's own loader fetches what it does not find, and unpickles
            # without weights_only.
            network: torch.nn.Module = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
        convolutions: Any = network.net
        convolutions.load_state_dict({name: backbone[_name_layer(name)] for name in convolutions.state_dict()})
        heads = _load_tensors(Path(lpips.__file__).parent / "weights" / "v0.1" / "alex.pth")
    except Exception as error:  # mismatched builds of torch and torchvision fail in many ways, on import too
        raise ModelRefusedError(f"LPIPS cannot be built: {type(error).__name__}: {error}") from error
    return network.eval().requires_grad_(False), heads


def _are_equal(left: torch.Tensor | None, right: torch.Tensor | None) -> bool:
    return left is not None and right is not None and left.dtype == right.dtype and torch.equal(left, right)


def _find_wrong_parts(
    state: Mapping[str, torch.Tensor], heads: Mapping[str, torch.Tensor], backbone: Mapping[str, torch.Tensor]
) -> str | None:
    """Return what in a network differs from the files it should come from, or None."""
    # lins.* are the same tensors as lin0.* to lin4.* under a second name.
    own_heads = {name: value for name, value in state.items() if name.startswith("lin") and name[:5] != "lins."}
    if own_heads.keys() != heads.keys() or not all(_are_equal(own_heads[name], heads[name]) for name in heads):
        return "its heads are not those that the lpips package ships"
    own_layers = {name.removeprefix("net."): value for name, value in state.items() if name.startswith("net.")}
    if not all(_are_equal(value, backbone.get(_name_layer(name))) for name, value in own_layers.items()):
        return "its backbone is not the one in the checkpoint"
    return None


def _find_wrong_answers(distance: LpipsDistance) -> str | None:
    """Check known answers: 0 to itself, more to its noisy copy, most to an unrelated image; return what is wrong."""
    generator = torch.Generator().manual_seed(2)
    image, other = torch.rand(2, 3, SMALLEST_SIDE, SMALLEST_SIDE, generator=generator) * 2 - 1
    noisy = (image + 0.05 * torch.randn(image.shape, generator=generator)).clamp(-1, 1)
    same, near, far = distance.measure(image.expand(3, -1, -1, -1), torch.stack([image, noisy, other])).tolist()
    if 0 == same < near < far:
        return None
    return f"an image is {same:.3g} from itself, {near:.3g} from its noisy copy, {far:.3g} from an unrelated one"
