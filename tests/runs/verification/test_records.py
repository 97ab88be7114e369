"""Records that were added, removed, doubled or renamed are found, although checksums and evidence.json agree."""

import copy as copies
import shutil

import pytest

from imgaudit.runs.evidence import write_evidence
from imgaudit.runs.folder import RunFolder
from imgaudit.runs.inventory import list_run
from imgaudit.runs.manifest import read_manifest
from imgaudit.runs.verification.records import check_records
from tests.support.tampering import Json, edit_records, measured, problems, read_records, write_records


def first_ladder(record: Json) -> Json:
    return next(one for one in record["rungs"].values() if "replicas" in one)


def test_honest_records_have_no_problem_and_the_limit_is_said(copy: RunFolder) -> None:
    check = check_records(copy, read_manifest(copy), list_run(copy.path))
    assert check.problems == () and check.done.startswith("2 records were compared")
    assert "owner's file" in check.not_done[0]


def test_a_second_record_of_an_image_which_would_win_is_found(copy: RunFolder) -> None:
    def double(records: list[Json]) -> None:
        other = copies.deepcopy(measured(records))
        other["error"]["log_ratio"] = -1.0
        records.append(other)

    edit_records(copy, double)
    assert any("is another record of" in problem for problem in problems(copy, "records"))


def test_an_image_that_was_measured_twice_with_one_result_is_none(copy: RunFolder) -> None:
    edit_records(copy, lambda records: records.append(measured(records) | {"seconds": 99.0}))
    assert problems(copy, "records") == []


def test_a_memorised_image_that_was_dropped_is_found_with_and_without_its_folder(copy: RunFolder) -> None:
    records = read_records(copy)
    dropped = measured(records)
    write_records(copy, [record for record in records if record is not dropped])
    found = problems(copy, "records")
    assert any("has no record of" in one and "manifest.json lists" in one for one in found)
    assert any(f"images/{dropped['id']}' is of no record" in one for one in found)
    shutil.rmtree(copy.image_folder(dropped["id"]))
    write_evidence(copy)
    [problem] = problems(copy, "records")
    assert problem.startswith("'records.jsonl' has no record of")


def test_a_record_of_another_run_is_found(copy: RunFolder) -> None:
    def merge(records: list[Json]) -> None:
        other = copies.deepcopy(measured(records))
        other |= {"id": "0" * 16, "sha256": "0" * 64, "path": "other.png"}
        records.append(other)

    edit_records(copy, merge)
    assert any("'other.png', which manifest.json does not list" in one for one in problems(copy, "records"))


def test_a_record_that_skips_a_measured_or_unknown_file_is_found(copy: RunFolder) -> None:
    edit_records(copy, lambda records: records.append({"stage": "skipped", "path": "x.png", "skipped": "gone"}))
    assert any("skips 'x.png', which manifest.json does not list" in one for one in problems(copy, "records"))


def test_a_line_that_was_edited_is_damaged_and_one_that_a_kill_cut_is_not(copy: RunFolder) -> None:
    lines = copy.records_path.read_bytes().splitlines(keepends=True)
    copy.records_path.write_bytes(lines[-1][:100] + b"\n" + b"".join(lines))
    write_evidence(copy)
    check = check_records(copy, read_manifest(copy), list_run(copy.path))
    assert check.problems == () and "1 line was cut when the audit was killed" in check.done
    copy.records_path.write_bytes(b"".join(lines).replace(b'"seconds": ', b'"seconds": 1'))
    write_evidence(copy)
    assert any("is damaged: it does not match its checksum" in one for one in problems(copy, "records"))


def test_replicas_must_be_those_of_the_records(copy: RunFolder) -> None:
    [first, second, *_] = sorted(copy.path.glob("images/*/replicas/*.png"))
    first.unlink()
    shutil.copy(second, second.with_name("caption-g3-9999.png"))
    write_evidence(copy)
    found = problems(copy, "records")
    assert f"{first.relative_to(copy.path).as_posix()!r} is missing: a record names it" in found
    assert any("caption-g3-9999.png' is named by no record" in one for one in found)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda ladder: ladder["replicas"][0].update(seed=1), "seed 1 follows neither from the run's seed"),
        (lambda ladder: ladder["replicas"][1].update(seed=ladder["replicas"][0]["seed"]), "was counted twice"),
        (lambda ladder: ladder["replicas"].pop(), "seeds are missing"),
        (lambda ladder: ladder["replicas"].reverse(), "stands in the place of another picture"),
        (lambda ladder: ladder["replicas"][0]["distance"].pop("dssim"), "lacks dssim"),
    ],
)
def test_seeds_names_and_measures_of_a_record_have_their_form(copy: RunFolder, change: object, found: str) -> None:
    manifest = read_manifest(copy)
    named = manifest.model_copy(update={"measures": {"dssim": "scikit-image"}})
    edit_records(copy, lambda records: change(first_ladder(measured(records))))  # type: ignore[operator]
    check = check_records(copy, named, list_run(copy.path))
    assert any(found in problem for problem in check.problems), check.problems


def test_curves_that_were_exchanged_are_found(copy: RunFolder) -> None:
    [first, second] = sorted(copy.path.glob("images/*/curves.json"))
    first.write_bytes(second.read_bytes())
    write_evidence(copy)
    assert any("does not hold the curves" in problem for problem in problems(copy, "records"))


@pytest.mark.parametrize("name", ["conditional", "null"])
def test_an_error_that_is_not_the_mean_of_its_curve_is_found(copy: RunFolder, name: str) -> None:
    def change(records: list[Json]) -> None:
        error = measured(records)["error"]
        error[name] = error[name] * 2 + 0.1

    edit_records(copy, change)
    assert any("not the means of those by timestep" in problem for problem in problems(copy, "records"))


def test_other_texts_than_the_manifest_has_a_digest_of_are_found(copy: RunFolder) -> None:
    def change(records: list[Json]) -> None:
        ladder = measured(records)["rungs"]["caption"]
        ladder["texts"] = ["another caption" for _ in ladder["texts"]]

    edit_records(copy, change)
    assert any("has other texts of" in problem for problem in problems(copy, "records"))
