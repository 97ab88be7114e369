"""Numbers that the pictures contradict are found; rounding to eight bits is not taken for an edit."""

import math
import shutil
from typing import Any

import pytest
import torch

from imgaudit.io.framing import to_image, to_tensor
from imgaudit.runs.evidence import write_evidence
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.manifest import read_manifest
from imgaudit.runs.verification import verify_run
from imgaudit.runs.verification.pictures import FIXED, ROUNDING, _tolerances, check_pictures
from imgaudit.schema.records import Replica
from imgaudit.similarity.matcher import Matcher
from tests.support.tampering import Json, edit_records, measured, problems


def scored(record: Json) -> list[Json]:
    ladders = [one["replicas"] for one in record["rungs"].values() if "replicas" in one]
    return [replica for ladder in ladders for replica in ladder if "skipped" not in replica["similarity"]]


def test_an_honest_run_is_within_tolerance_and_every_picture_is_counted(copy: RunFolder) -> None:
    check = check_pictures(copy, read_manifest(copy))
    pictures = len(list(copy.path.glob("images/*/replicas/*.png")))
    assert check.problems == () and check.done.startswith(f"{pictures} generated images and 2 renderings")
    assert any("--replay" in one for one in check.not_done)


@pytest.mark.parametrize("name", ["pixel", "pdq", "aligned_rms", "tiled_rms", "dssim"])
@pytest.mark.parametrize("times", [0.9, 2.0])
def test_a_number_is_found_when_it_is_outside_of_the_tolerance(copy: RunFolder, name: str, times: float) -> None:
    """Moved from what the picture gives, not from the record, which may be at the edge already."""
    from imgaudit.io.writing import read_png

    def move(records: list[Json]) -> None:
        replica = scored(measured(records))[0]
        image = to_tensor(read_png(copy.path / replica["path"]))
        rendered = to_tensor(read_png((copy.path / replica["path"]).parent.parent / "rendered.png"))
        [values] = Matcher().compare(rendered, image[None])
        kind = "similarity" if name in values[0] else "distance"
        replica[kind][name] = (values[0] | values[1])[name] + times * _tolerances(rendered)[name]

    edit_records(copy, move)
    found = problems(copy, "pictures")
    assert bool(found) == (times > 1)
    assert all(f"gives {name}" in one and "/replicas/" in one for one in found)


def test_numbers_that_are_none_are_found(copy: RunFolder) -> None:
    def spoil(records: list[Json]) -> None:
        scored(measured(records))[0]["similarity"]["pixel"] = "NaN"

    edit_records(copy, spoil)
    assert any("gives pixel" in one for one in problems(copy, "pictures"))


def test_a_picture_that_was_exchanged_is_found(copy: RunFolder) -> None:
    # Of equal copies of one picture either may stand for the other: one of the other image's is taken.
    [one, other] = sorted(copy.path.glob("images/*"))
    for source, place in zip(sorted((other / "replicas").iterdir()), sorted((one / "replicas").iterdir()), strict=True):
        shutil.copy(source, place)
    write_evidence(copy)
    assert any(f"images/{one.name}/replicas/" in problem for problem in problems(copy, "pictures"))


@pytest.mark.parametrize("name", ["target.png", "rendered.png"])
def test_a_target_or_rendering_that_was_exchanged_is_found(copy: RunFolder, name: str) -> None:
    [one, other] = sorted(copy.path.glob("images/*"))
    shutil.copy(other / name, one / name)
    write_evidence(copy)
    assert any(f"images/{one.name}/" in problem for problem in problems(copy, "pictures"))


def test_a_copy_that_is_said_to_be_no_picture_is_found(copy: RunFolder) -> None:
    def hide(records: list[Json]) -> None:
        reason = {"skipped": "invalid frame: black"}
        scored(measured(records))[0].update(similarity=reason, distance=reason)

    edit_records(copy, hide)
    assert any("can be scored, and its record says that it cannot" in one for one in problems(copy, "pictures"))


def test_a_black_picture_that_has_scores_is_found(copy: RunFolder) -> None:
    path = next(copy.path.glob("images/*/replicas/*.png"))
    to_image(torch.full((3, 16, 16), -1.0)).save(path)
    write_evidence(copy)
    assert any("cannot be scored, as it is black, and" in one for one in problems(copy, "pictures"))


def test_features_and_complexity_of_the_target_are_measured_again(copy: RunFolder) -> None:
    def edit(records: list[Json]) -> None:
        measured(records)["features"]["red"] += 0.01
        measured(records, 1)["complexity"] += 0.2
        measured(records, 1)["vae_floor"]["pixel"] -= 0.2

    edit_records(copy, edit)
    found = "\n".join(problems(copy, "pictures"))
    assert (
        "gives red" in found and "gives complexity" in found and "rendered.png' against target.png gives pixel" in found
    )


def test_a_picture_that_cannot_be_decoded_is_a_problem_and_the_others_are_compared(copy: RunFolder) -> None:
    [first, second] = sorted(copy.path.glob("images/*"))
    for path in (first / "rendered.png", second / "rendered.png"):
        path.write_bytes(path.read_bytes()[:60])
    write_evidence(copy)
    found = problems(copy, "pictures")
    assert len(found) == 2 and all("cannot be compared" in one and "rendered.png" in one for one in found)


def test_parts_are_compared_again_with_models_large_enough() -> None:
    from imgaudit.diffusion.elicitation import compare_parts
    from imgaudit.diffusion.generation import Generated
    from imgaudit.runs.verification.pictures import _compare_part

    coarse = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
    rendered = torch.nn.functional.interpolate(coarse, (128, 128), mode="bicubic").clamp(-1, 1)[0]
    image = rendered.clone()
    image[:, :, 64:] = rendered.flip(1)[:, :, 64:]
    image = to_tensor(to_image(image))
    [before], [again] = (
        compare_parts([Generated(1, 3.0, image, None)], one) for one in (rendered, to_tensor(to_image(rendered)))
    )
    assert before is not None and before.geometric > 0

    def replica(**changes: Any) -> Replica:
        part = before.model_copy(update=changes)
        return Replica(seed=1, guidance_scale=3.0, path=f"images/{'0' * 16}/replicas/caption-g3-0000.png",
                       similarity={}, distance={}, part=part)  # fmt: skip

    assert list(_compare_part(replica(), again)) == []
    for changes in ({"geometric": 0.0}, {"photometric": 0.0}, {"area": before.area + 0.01}, {"rest": 0.99}):
        assert list(_compare_part(replica(**changes), again)), changes
    assert "was compared in parts" in next(_compare_part(replica(), None))


def test_tolerances_hold_for_pictures_of_any_contrast() -> None:
    generator = torch.Generator().manual_seed(1)
    for contrast in (0.003, 0.01, 0.03, 0.1, 0.5):
        for side in (16, 32, 64):
            coarse = torch.randn(4, 3, 4, 4, generator=generator) * contrast
            pictures = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(-1, 1)
            for rendered, other in zip(pictures, pictures.roll(1, 0), strict=True):
                image = to_tensor(to_image(rendered + 0.3 * (other - rendered)))[None]
                saved = to_tensor(to_image(rendered))
                [before], [after] = Matcher().compare(rendered, image), Matcher().compare(saved, image)
                allowed = _tolerances(saved)
                for said, again in zip(before, after, strict=True):
                    assert all(abs(said[name] - again[name]) <= allowed[name] for name in said), (contrast, side)
    assert math.isclose(ROUNDING, 0.00226, rel_tol=0.01) and FIXED["tiled_rms"] > 1 / 510


def test_verification_names_the_numbers(copy: RunFolder) -> None:
    [check] = [one for one in verify_run(copy).checks if one.name == "pictures"]
    assert "which rounding explains" in check.done
