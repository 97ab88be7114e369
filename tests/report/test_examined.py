"""The owner's picture, the part of it that was examined, and what similarities are between."""

from pathlib import Path

from PIL import Image

from imgaudit.io.framing import find_frame
from imgaudit.io.writing import decode_png
from imgaudit.report.audit.html import write_html
from imgaudit.report.complaint.package import find_image, make_package
from imgaudit.report.examined import NO_ORIGINAL, draw_frame, similarity_text
from imgaudit.report.review.context import review_context
from imgaudit.runs.finished import read_finished_run
from imgaudit.runs.folder import RunFolder
from imgaudit.schema.findings import AuditResult
from imgaudit.schema.protocol import Framing
from imgaudit.schema.records import Measurement, Skipped
from tests.conftest import random_image


def framed(run: RunFolder, width: int, height: int) -> Measurement:
    measurement = next(one for one in run.read_measurements()[0] if "plain" in one.path)
    frame = find_frame(width, height, Framing.CROP)
    return measurement.model_copy(update={"width": width, "height": height, "frame": frame})


def test_what_was_not_examined_is_faded_and_the_rest_stays(run: RunFolder) -> None:
    original, measurement = random_image(5, (400, 200)), framed(run, 800, 400)
    drawn = draw_frame(original, measurement)
    assert drawn.size == original.size
    assert drawn.crop((110, 10, 290, 190)).tobytes() == original.crop((110, 10, 290, 190)).tobytes()
    assert drawn.getpixel((100, 100)) == (200, 30, 30) and drawn.getpixel((50, 100)) != original.getpixel((50, 100))
    assert draw_frame(original, measurement.model_copy(update={"frame": None})) is original


def test_a_similarity_names_its_two_pictures() -> None:
    assert similarity_text(Skipped(skipped="black"), "a", "b") == "Not compared with b: black"


def test_pages_show_the_frame_and_runs_without_an_original_say_so(
    run: RunFolder, result: AuditResult, tmp_path: Path
) -> None:
    measurement = framed(run, 30, 20)
    finding = next(one for one in result.findings if one.id == measurement.id)
    copy = RunFolder(tmp_path / "run")
    for path in run.path.rglob("*"):
        if path.is_file() and "report/" not in path.as_posix():
            to = copy.path / path.relative_to(run.path)
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(path.read_bytes())

    def rewrite(one: Measurement) -> str:
        copy.records_path.write_bytes(b"")
        copy.append_record({"stage": "measured", **one.model_dump(mode="json")})
        write_html(copy, result, copy.path / "report", review_context(copy))
        return (copy.path / "report" / f"{finding.id}.html").read_text()

    page = rewrite(measurement)
    assert "67 % of the picture was examined: the largest square in its middle" in page
    assert 'd="M0 0H30V20H0ZM5 0H25V20H5Z"' in page and "original.png" in page
    assert "this generated image and the rendering below (not the picture beside it): pixel" in page
    assert "the image and this rendering: pixel" in page
    old = rewrite(measurement.model_copy(update={"frame": None}))
    assert NO_ORIGINAL.replace("'", "&#39;") in old and "original.png" not in old


def test_a_package_marks_the_examined_part(folder: RunFolder) -> None:
    finished = read_finished_run(folder.path)
    finding = find_image(finished, "plain.png")
    measurement = framed(folder, 30, 20)
    picture = random_image(1, (30, 20))
    picture.save(folder.image_folder(finding.id) / "original.png")
    folder.append_record({"stage": "measured", **measurement.model_dump(mode="json")})
    files = make_package(read_finished_run(folder.path), finding)
    assert decode_png(files["work/original.png"]).tobytes() == picture.tobytes()
    assert decode_png(files["work/examined.png"]).getpixel((12, 10)) == picture.getpixel((12, 10))
    assert b"work/examined.png" in files["complaint.html"] and b"67 % of the picture" in files["complaint.html"]
    assert isinstance(decode_png(files["work/rendered.png"]), Image.Image)
