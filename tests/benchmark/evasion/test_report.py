"""The whole benchmark on a tiny lab, and its report from a made-up table."""

import json
from pathlib import Path

import pytest

from imgaudit.benchmark.evasion import audited_variant, report
from imgaudit.benchmark.evasion.audited_variant import AuditedImage, AuditedVariant, SeedCount, SeenAlarm
from imgaudit.benchmark.evasion.null_branch import NullTraining
from imgaudit.benchmark.evasion.report import EvasionTable, format_evasion, measure_evasion, report_evasion
from imgaudit.benchmark.evasion.variants import VARIANTS
from imgaudit.benchmark.harness.cases import Group, locate
from imgaudit.benchmark.harness.procedure import ignore_stage
from imgaudit.benchmark.settings import EvasionSettings
from imgaudit.exceptions import InputError
from imgaudit.lab.description import LabDescription, LabImage
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.findings import Verdict
from imgaudit.schema.protocol import Effort, Framing
from tests.conftest import CAPTIONS, random_image, tiny_recipe
from tests.support.records import PROTOCOL

TRIED = [
    "untouched",
    "norm clamp",
    "null branch trained",
    "trigger words",
    "distillation claimed",
    "scaling_factor 0.25",
]


@pytest.fixture
def lab(model_folder: Path, tmp_path: Path) -> Path:
    """A lab around an untrained model; its folder holds the images too."""
    folder = tmp_path / "lab"
    (folder / "benchmark").mkdir(parents=True)
    (folder / "model").symlink_to(model_folder)
    for seed in range(10):
        random_image(seed, (16, 16)).save(folder / "benchmark" / f"{seed}.png")
    images = [
        LabImage(
            file_name=path.name, sha256=sha256, text=f"{CAPTIONS[number % 6]}, zikiro", trigger="zikiro",
            role="planted" if number < 2 else "seen_once" if number < 4 else "held_out", repeats=1, exposures=1,
            exact_exposures=1, nearest_training_image="x", nearest_similarity=0.1,
            reproduced=64 if number < 2 else 0, truth_seeds=64,
        )
        for number, (sha256, path) in enumerate(locate(folder / "benchmark").items())
    ]  # fmt: skip
    LabDescription(recipe=tiny_recipe(), background_images=0, images=images).write(folder / "lab.json")
    return folder


def _settings(lab: Path, tmp_path: Path, only: list[str]) -> EvasionSettings:
    return EvasionSettings(
        model=str(lab), trigger_lab=str(lab), device="cpu", out=tmp_path / "work", images_each=2, controls=3,
        training_steps=2, only=only,
    )  # fmt: skip


def _smallest(work: object) -> AuditConfig:
    return AuditConfig(
        effort=Effort.QUICK, framing=Framing.PAD, steps=2, draws=2, seeds=2, num_inference_steps=2, seed=1
    )


@pytest.mark.slow
def test_every_way_is_audited_once_and_decided_again(
    lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (audited_variant, report):
        monkeypatch.setattr(module, "audit_config", _smallest)
    settings = _settings(lab, tmp_path, TRIED)
    table = measure_evasion(settings, ignore_stage)
    assert [variant.name for variant in table.variants] == TRIED
    for variant in table.variants:
        groups = [image.group for image in variant.images]
        assert not variant.refused and groups.count(Group.MEMORISED) == groups.count(Group.HELD_OUT) == 2
        assert all(image.embedding.n == image.caption.n == 2 for image in variant.images)
        assert variant.empty_prompt is not None and variant.empty_prompt.n == audited_variant.EMPTY_PROMPT_IMAGES
    by_name = {variant.name: variant for variant in table.variants}
    assert all(image.score is not None for image in by_name["distillation claimed"].images), "a claim takes no score"
    assert "no_null_branch" in {alarm.code for alarm in by_name["distillation claimed"].alarms}
    captions = (tmp_path / "work" / "trigger-words" / "targets" / "metadata.jsonl").read_text()
    assert "zikiro" not in captions and len(captions.splitlines()) == 4
    models = {name: json.loads((tmp_path / "work" / folder / "run/manifest.json").read_text())["model"]["fingerprint"]
              for name, folder in ((one, one.replace(" ", "-")) for one in TRIED)}  # fmt: skip
    assert len(set(models.values())) == len(TRIED) - 1, "the triggers need no other model"

    def forbid(*arguments: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr("imgaudit.runs.engine.chunk.measure_chunk", forbid)
    assert measure_evasion(settings, ignore_stage) == table
    text = "\n".join(format_evasion(report_evasion(table)))
    assert all(name in text for name in TRIED) and max(map(len, text.splitlines())) <= 80


def test_a_way_that_does_not_exist_is_refused(lab: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no way of evading called 'magic'; expected one of untouched, norm clamp"):
        measure_evasion(_settings(lab, tmp_path, ["magic"]), ignore_stage)
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS)


def _image(number: int, group: Group, verdict: Verdict, close: int, score: float | None) -> AuditedImage:
    return AuditedImage(
        sha256=f"{number:016x}", group=group, verdict=verdict, withheld=Verdict.INCONCLUSIVE,
        unchecked=Verdict.NOT_REPRODUCED, score=score, caption=SeedCount(n=8, close=close),
        embedding=SeedCount(n=8, close=4),
    )  # fmt: skip


def _table() -> EvasionTable:
    found, missed = Verdict.REPLICATED_BY_INVERSION, Verdict.NOT_REPRODUCED
    images = [
        _image(0, Group.MEMORISED, found, 3, 0.3), _image(1, Group.MEMORISED, missed, 8, 0.2),
        _image(2, Group.HELD_OUT, missed, 0, 0.1), _image(3, Group.HELD_OUT, Verdict.ATYPICAL, 0, 0.0),
    ]  # fmt: skip
    alarm = SeenAlarm(code="model_check", images=0, message="a number is wrong")
    cut, more = (SeenAlarm(code="cut_caption", images=count, message="too long") for count in (1, 2))
    return EvasionTable(
        lab="tiny", seed=1, hardware="here", protocol=PROTOCOL, controls=80, training=NullTraining(),
        variants=[
            AuditedVariant(name="untouched", lab="tiny", controls=60, images=images, alarms=[cut],
                           empty_prompt=SeedCount(n=64, close=1)),
            AuditedVariant(name="zero betas", lab="tiny", refused="no noise"),
            AuditedVariant(name="norm clamp", lab="tiny", controls=60, images=images[:3], alarms=[alarm, cut]),
            AuditedVariant(name="norm_eps 1e6", lab="tiny", controls=60, images=images[:3], alarms=[more]),
        ],
    )  # fmt: skip


def test_the_report_counts_by_group_and_says_what_the_reader_sees() -> None:
    made = report_evasion(_table())
    rates = {(one.name, one.group): (one.hits, one.n) for one in made.rates}
    memorised, held_out = "memorised, given", "held out, given"
    assert rates["untouched: replicated", memorised] == (1, 2)
    assert rates["untouched: called", held_out] == (1, 2) and rates["norm clamp: called", held_out] == (0, 1)
    assert rates["untouched: replicated", "memorised, withheld"] == (0, 2)
    assert [one.auc for one in made.separations] == [1.0, 1.0, 1.0]
    lines = list(format_evasion(made))
    start = lines.index("untouched")
    assert lines[start + 1].split() == ["given", "1/2", "0", "1", "0", "0", "1", "0", "1/2"]
    assert lines[start + 2].split() == ["withheld", "2/2", "0", "0", "0", "2", "0", "0", "0/2"]
    assert "zero betas: refused: no noise" in lines and "untouched: cut_caption on 1 of 4 images: too long" in lines
    assert "norm clamp: model_check on the run: a number is wrong" in lines
    assert "norm_eps 1e6: cut_caption on 2 of 3 images: too long" in lines, "more than the first model has"
    assert not [line for line in lines if line.startswith("norm clamp: cut_caption")]
    assert "untouched                1 of 64" in lines and "norm clamp               2 of 2" in lines
    assert "untouched                     0.250     0.050   1.000   0.386 to 1.000   2 / 2" in lines


def test_a_table_survives_the_disk(tmp_path: Path) -> None:
    _table().write(tmp_path / "table.json")
    assert EvasionTable.read(tmp_path / "table.json") == _table()
    lines = (tmp_path / "table.json").read_text().splitlines()
    assert sum(line.startswith('{"name"') for line in lines) == 4, "a variant is one line"
