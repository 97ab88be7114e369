"""Options on processes: what contradicts itself is refused before anything takes time."""

import pytest

from imgaudit.cli.engine import PLAIN, EngineOptions
from imgaudit.exceptions import ConfigError
from imgaudit.schema.config import AuditConfig


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (EngineOptions(workers=0), "--workers must be a whole number from 1"),
        (EngineOptions(devices="cuda:0,gpu1"), "but got 'gpu1'"),
        (EngineOptions(devices="cuda:0,"), "but got ''"),
        (EngineOptions(address="auto"), "--address is for --engine ray"),
        (EngineOptions(worker_threads=2), "add --workers or --devices"),
        (EngineOptions(engine="ray", devices="cuda:0"), "leave --devices out"),
    ],
)
def test_contradictions_are_refused(options: EngineOptions, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        options.require_valid(AuditConfig())


def test_ray_cannot_be_offline() -> None:
    with pytest.raises(ConfigError, match="use --workers instead"):
        EngineOptions(engine="ray", workers=2).require_valid(AuditConfig(offline=True))


def test_workers_are_spread_over_the_devices_named() -> None:
    assert EngineOptions(workers=2).list_devices("cpu") == ["cpu", "cpu"]
    both = EngineOptions(devices="cuda:0, cuda:1")
    assert both.list_devices("cpu") == ["cuda:0", "cuda:1"] and both.find_first_device("auto") == "cuda:0"
    assert EngineOptions(devices="cuda:0,cuda:1", workers=4).list_devices("auto") == ["cuda:0", "cuda:1"] * 2


def test_auto_takes_every_gpu_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert EngineOptions(workers=3).list_devices("auto") == ["cuda:0", "cuda:1", "cuda:0"]


def test_without_options_the_command_measures_itself() -> None:
    PLAIN.require_valid(AuditConfig())
    with PLAIN.opened(None, AuditConfig()) as engine:  # type: ignore[arg-type]
        assert engine is None
