import hashlib
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path

import lpips
import pytest
import torch
import torchvision
from torch.nn.functional import interpolate

from imgaudit.exceptions import ModelRefusedError
from imgaudit.io.captions import CaptionSource
from imgaudit.io.framing import to_tensor
from imgaudit.io.portfolio import read_portfolio
from imgaudit.models import load_model
from imgaudit.report import write_report
from imgaudit.runs import environment as doctor
from imgaudit.runs.conclusion import conclude
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.manifest import make_manifest, open_manifest
from imgaudit.runs.measurement import measure_targets
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.records import Rung, RungMeasurement, Skipped
from imgaudit.similarity import matcher as matching
from imgaudit.similarity.distances import DEFAULT_DISTANCES, Distance
from imgaudit.similarity.lpips import BACKBONE, BACKBONE_SHA256, LpipsDistance, load_lpips
from imgaudit.similarity.matcher import Matcher, standard_matcher
from tests.conftest import random_image


def digest_of(folder: Path) -> str:
    return hashlib.sha256((folder / BACKBONE).read_bytes()).hexdigest()


def random_backbone() -> dict[str, torch.Tensor]:
    """A whole AlexNet checkpoint; the classifier, which LPIPS never looks at, takes one number per tensor on disk."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = torchvision.models.alexnet()
    return {
        name: value if name.startswith("features.") else torch.zeros(1).expand(value.shape)
        for name, value in network.state_dict().items()
    }


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """torch's hub folder with a random AlexNet under the published name."""
    home = tmp_path_factory.mktemp("torch")
    folder = home / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(random_backbone(), folder / BACKBONE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(home))
        yield folder


@pytest.fixture(scope="module")
def distance(hub: Path) -> LpipsDistance:
    loaded = load_lpips(sha256=digest_of(hub))
    assert isinstance(loaded, LpipsDistance)
    return loaded


@pytest.fixture(scope="module")
def oracle(hub: Path) -> torch.nn.Module:
    """lpips as its authors call it; it takes the backbone from the hub folder itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        network: torch.nn.Module = lpips.LPIPS(net="alex", verbose=False)
    return network


def pictures(first: int, count: int, size: tuple[int, int]) -> torch.Tensor:
    return torch.stack([to_tensor(random_image(seed, size)) for seed in range(first, first + count)])


@pytest.mark.parametrize("size", [(64, 64), (80, 112)], ids=str)
def test_distances_are_those_of_lpips(distance: LpipsDistance, oracle: torch.nn.Module, size: tuple[int, int]) -> None:
    left, right = pictures(0, 3, size), pictures(3, 3, size)
    measured = distance.measure(left, right)
    assert measured.shape == (3,) and measured.dtype == torch.float32 and not measured.requires_grad
    assert torch.equal(measured, oracle(left, right).detach().flatten())
    assert measured.min() > 0 and torch.equal(measured, distance.measure(right, left))


@pytest.mark.parametrize(("size", "enlarged"), [((32, 32), (64, 64)), ((48, 16), (64, 192))], ids=str)
def test_small_images_are_enlarged(
    distance: LpipsDistance, oracle: torch.nn.Module, size: tuple[int, int], enlarged: tuple[int, int]
) -> None:
    left, right = pictures(0, 2, size), pictures(2, 2, size)
    expected = oracle(interpolate(left, enlarged, mode="bilinear"), interpolate(right, enlarged, mode="bilinear"))
    assert torch.equal(distance.measure(left, right), expected.detach().flatten())


def test_any_number_of_pairs_is_measured(distance: LpipsDistance) -> None:
    as_distance: Distance = distance
    images = pictures(0, 35, (64, 64))
    target = images[:1].expand_as(images)
    measured = as_distance.measure(target, images)
    assert as_distance.name == "lpips" and measured.shape == (35,) and measured[0] == 0 < measured[1:].min()
    alone = torch.cat([distance.measure(images[:1], image[None]) for image in images])
    assert torch.allclose(measured, alone, atol=1e-6)
    assert distance.measure(images[:0], images[:0]).shape == (0,)
    with pytest.raises(ValueError, match="one shape"):
        distance.measure(images[:1], images)


def test_more_noise_is_further_away(distance: LpipsDistance) -> None:
    image = pictures(7, 1, (64, 64))
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    noisy = torch.cat([(image + sigma * noise).clamp(-1, 1) for sigma in (0, 0.02, 0.1, 0.4)])
    measured = distance.measure(image.expand_as(noisy), noisy)
    assert measured[0] == 0 and bool((measured.diff() > 0).all())


def test_loading_is_frozen_silent_and_leaves_random_numbers_alone(hub: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = torch.get_rng_state()
    # A prefix is enough, as it is for torch; a folder may be given; warnings are errors here.
    loaded = load_lpips(hub, sha256=digest_of(hub)[:8])
    assert isinstance(loaded, LpipsDistance) and torch.equal(before, torch.get_rng_state())
    assert not any(module.training for module in loaded.network.modules())
    assert not any(parameter.requires_grad for parameter in loaded.network.parameters())
    assert loaded.source == f"lpips {version('lpips')}, AlexNet {BACKBONE} SHA-256 {digest_of(hub)}"
    assert capfd.readouterr() == ("", "")


def test_a_missing_backbone_is_skipped_with_what_to_do(tmp_path: Path) -> None:
    loaded = load_lpips(tmp_path / "checkpoints")
    assert isinstance(loaded, Skipped)
    assert BACKBONE in loaded.skipped and str(tmp_path) not in loaded.skipped
    assert BACKBONE_SHA256.startswith(BACKBONE.removesuffix(".pth").rpartition("-")[2])
    assert not (tmp_path / "checkpoints").exists()


def test_a_missing_package_is_skipped_with_what_to_do(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lpips", None)
    loaded = load_lpips(hub, sha256=digest_of(hub))
    assert isinstance(loaded, Skipped) and "pip install lpips" in loaded.skipped


def test_another_checkpoint_is_refused(hub: Path) -> None:
    with pytest.raises(ModelRefusedError, match=f"is {digest_of(hub)} and should begin with {BACKBONE_SHA256}"):
        load_lpips(hub)


class Planted:
    """Unpickling it makes a folder."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_refused_before_it_runs(tmp_path: Path, zipped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save({"features.0.weight": Planted(tmp_path / "trace")}, tmp_path / BACKBONE,
               _use_new_zipfile_serialization=zipped)  # fmt: skip
    with pytest.raises(ModelRefusedError, match="cannot be read as plain weights"):
        load_lpips(tmp_path, sha256=digest_of(tmp_path))
    with pytest.raises(ModelRefusedError, match="should begin with"):
        load_lpips(tmp_path)
    assert not (tmp_path / "trace").exists()
    # The trap is live: whoever loads this file without weights_only springs it.
    torch.load(tmp_path / BACKBONE, weights_only=False)
    assert (tmp_path / "trace").is_dir()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda good: {"features.0.weight": good["features.0.weight"]}, "cannot be built: KeyError"),
        (lambda good: good | {"features.3.bias": torch.zeros(5)}, "cannot be built"),
        (lambda good: good | {"features.3.bias": torch.zeros(192).half()}, "its backbone is not the one"),
        (lambda good: {name: value * 0 for name, value in good.items()}, "0 from its noisy copy"),
        (lambda good: list(good.values()), "cannot be read as plain weights"),
    ],
    ids=["incomplete", "another shape", "another precision", "dead", "no names"],
)
def test_weights_that_do_not_make_lpips_are_refused(
    hub: Path, tmp_path: Path, spoil: Callable[[dict[str, torch.Tensor]], object], message: str
) -> None:
    torch.save(spoil(torch.load(hub / BACKBONE)), tmp_path / BACKBONE)
    with pytest.raises(ModelRefusedError, match=message):
        load_lpips(tmp_path, sha256="")


def test_a_file_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / BACKBONE).write_bytes(b"<html>not found</html>")
    with pytest.raises(ModelRefusedError, match="cannot be read as plain weights"):
        load_lpips(tmp_path, sha256="")


def test_the_older_file_format_is_read(hub: Path, distance: LpipsDistance, tmp_path: Path) -> None:
    torch.save(torch.load(hub / BACKBONE), tmp_path / BACKBONE, _use_new_zipfile_serialization=False)
    loaded = load_lpips(tmp_path, sha256="")
    left, right = pictures(0, 2, (64, 64)), pictures(2, 2, (64, 64))
    assert isinstance(loaded, LpipsDistance)
    assert torch.equal(loaded.measure(left, right), distance.measure(left, right))


def test_random_heads_are_refused_and_the_doctor_says_failed(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # lpips renames its heads without dropout, and loads them with strict=False: random ones stay, without a word.
    monkeypatch.setattr(lpips, "LPIPS", partial(lpips.LPIPS, use_dropout=False))
    with pytest.raises(ModelRefusedError, match="heads are not those"):
        load_lpips(hub, sha256=digest_of(hub))
    monkeypatch.setattr(doctor, "load_lpips", partial(load_lpips, hub, sha256=digest_of(hub)))
    check = doctor._lpips()
    assert check.state == "failed" and "heads are not those" in check.detail


def test_untrained_heads_of_the_right_names_are_refused(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lpips, "LPIPS", partial(lpips.LPIPS, pretrained=False))
    with pytest.raises(ModelRefusedError, match="heads are not those"):
        load_lpips(hub, sha256=digest_of(hub))


def test_a_backbone_that_was_not_filled_is_refused(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lpips.pn.alexnet, "load_state_dict", lambda *_: None)
    with pytest.raises(ModelRefusedError, match="backbone is not the one"):
        load_lpips(hub, sha256=digest_of(hub))


def test_a_library_that_does_not_import_is_refused(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(lpips, "LPIPS", broken)
    with pytest.raises(ModelRefusedError, match="torchvision::nms"):
        load_lpips(hub, sha256=digest_of(hub))


def test_the_doctor_tells_ok_from_skipped_from_failed(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._lpips().state == "failed"
    monkeypatch.setattr(doctor, "load_lpips", partial(load_lpips, hub.parent))
    skipped = doctor._lpips()
    assert skipped.state == "skipped" and BACKBONE in skipped.detail
    monkeypatch.setattr(doctor, "load_lpips", partial(load_lpips, sha256=digest_of(hub)))
    assert doctor._lpips().state == "ok" and digest_of(hub) in doctor._lpips().detail


def test_the_doctor_names_the_image_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.features, "check", lambda name: name != "avif")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    without = doctor._images()
    assert without.state == "skipped" and "WebP" in without.detail and "JPEG 2000" in without.detail
    assert "AVIF is skipped" in without.detail and "HEIC is skipped: pip install imgaudit[heif]" in without.detail
    monkeypatch.undo()
    monkeypatch.setattr(doctor.features, "check", lambda name: True)
    monkeypatch.setitem(sys.modules, "pillow_heif", torch)
    found = doctor._images()
    assert found.state == "ok" and "AVIF" in found.detail and "HEIC" in found.detail


def test_the_module_imports_neither_lpips_nor_torchvision() -> None:
    program = "import sys, imgaudit.similarity.lpips; print({'lpips', 'torchvision'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_an_audit_records_it_for_every_replica_and_the_report_says_where_it_is_from(
    distance: LpipsDistance, model_folder: Path, make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_folder("portfolio", range(2))
    model = load_model(str(model_folder), "cpu")
    config = AuditConfig(steps=3, draws=2, seeds=2, num_inference_steps=2, device="cpu")
    portfolio, run = read_portfolio(folder, CaptionSource(folder)), RunFolder(tmp_path / "run")
    matcher = Matcher(distances=(*DEFAULT_DISTANCES, distance))
    with run.lock():
        measures = {"lpips": distance.source}
        open_manifest(run.path, make_manifest(["imgaudit"], config, {}, model, portfolio, measures=measures))
        measured = list(measure_targets(run, portfolio, model, config, matcher=matcher))
        write_report(run, conclude(run))
    for measurement in measured:
        embedding = measurement.rungs[Rung.EMBEDDING]
        assert isinstance(embedding, RungMeasurement)
        assert all(isinstance(one.distance, dict) and one.distance["lpips"] > 0 for one in embedding.replicas)
        page = (run.path / "report" / f"{measurement.id}.html").read_text(encoding="utf-8")
        assert "lpips: lpips 0.1.4, AlexNet" in page and ", lpips 0." in page


def test_the_standard_measures_are_those_that_can_be_trusted(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matcher, lacking = standard_matcher(32)
    assert "begin with" in lacking["lpips"].skipped and len(matcher.distances) == 3
    monkeypatch.setattr(matching, "load_lpips", partial(load_lpips, sha256=digest_of(hub)))
    matcher, lacking = standard_matcher(32)
    assert "lpips" not in lacking and [one.name for one in matcher.distances][-1] == "lpips"
