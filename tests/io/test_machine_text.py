import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from imgaudit.io.images import decode_image
from imgaudit.io.machine_text import MAX_LOOKED_AT, is_generator_settings, is_machine_text

SETTINGS = "a castle\nNegative prompt: ugly\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 123, Size: 512x512"

WRITTEN_BY_MACHINES = [
    '{"shape": [4, 4, 3]}', '{"shape": [4, 4', "{'shape': (4, 4)}", "[[1, 2], [3, 4]]", '[{"a": 1}]', "{}", "[1, 2, 3]",
    "ImageJ=1.54f\nimages=3\nslices=3\nloop=false\n", "ImageJ=1.11a\n", "ImageJ=1.53t\nunit=micron\nmin=0.0\nmax=255.0",
    '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"></OME>', '<svg width="3"/>',
    '<OME UUID="x"><Image/></OME>', "<MetaData>\n<PlaneInfo></PlaneInfo></MetaData>", "<dict><key>a</key></dict>",
    "OLYMPUS DIGITAL CAMERA         ", "SONY DSC", "KONICA MINOLTA DIGITAL CAMERA", "VTECH DIGITAL CAMERA", "cof_ptr",
    "Created with The GIMP", "Created with Inkscape 1.2 (https://inkscape.org)", "Adobe Photoshop 25.0 (Windows)",
    "CREATOR: gd-jpeg v1.0 (using IJG JPEG v62), quality = 90", "matplotlib version 3.5.1, https://matplotlib.org/",
    "Made with Krita", "Processed By eBay with ImageMagick, z1.1.0. ||B2", "Adobe Photoshop CS6 (Macintosh)",
    'Workflow: {"nodes": []}', 'prompt:{"3": {"class_type": "KSampler"}}', '{"prompt": "a castle", "steps": 20}',
    SETTINGS, "Seed=123; Steps=20; Model=sdxl", "SCANIMAGE.VERSION = 5\nframes=2",
    "filter: 0; fileterIntensity: 0.0; filterMask: 0; captureOrientation: 0; module: photo; hw-remosaic: false;",
    "Aperio Image Library v11.2.1 \r\n46000x32914 (240x240) Q=30|AppMag = 20|StripeWidth = 2040|MPP = 0.4990",
    "IMG_1234", "DSC00012.jpg", "https://example.com/x.jpg", "Screenshot", "DCIM\\100MEDIA\\DJI_0001.JPG",
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk",
]  # fmt: skip

WRITTEN_BY_PEOPLE = [
    "<3 my dog", "a fox {asleep}", "[Portrait of a man in a hat]", "{Sunset}", "[1] a fox", '"a fox"', "<p>A fox</p>",
    "An old digital camera on a table", "Samsung galaxy on a desk", "Default setting of a table", "hdr photo of a bay",
    "Time = money", "Silence = Death", "Love=Life", "a = b", "E=mc2 written on a board", "Red=stop, green=go",
    "Title: Fox; Artist: Anna; Year: 1999", "Left: Anna, right: Bob", "Sunrise: 6:30; sunset: 19:10", "Nr. 5: a fox",
    "Made with love", "Processed by hand in the darkroom", "Scanned from negative", "Created by Pablo Picasso", "1984",
    "Photoshop composite of a fox", "Adobe walls 1890", "Microsoft headquarters 1999", "Sketch 2", "R in the sand",
    "P-51", "DC-3", "IMG of a fox", "Steps: 3 to the tower", "Nor any drop to drink", "Red fox\nGreen field",
    "Portrait: Anna", "Dimensions: 30 x 40 cm", "雪地里的一只红狐狸", "x" * 200,
]  # fmt: skip


@pytest.mark.parametrize("text", WRITTEN_BY_MACHINES)
def test_what_machines_write_is_told(text: str) -> None:
    assert is_machine_text(text)


@pytest.mark.parametrize("text", WRITTEN_BY_PEOPLE)
def test_what_people_write_is_left_alone(text: str) -> None:
    assert not is_machine_text(text)


@pytest.mark.parametrize(
    "text", ["=" * 10**6, "{" * 10**6, "a=" * 10**6, "<a" * 10**6, "Steps: 1, " * 10**5, "r " * 10**6]
)
def test_long_text_takes_no_long_time(text: str) -> None:
    assert isinstance(is_machine_text(text), bool)
    assert len(text) > MAX_LOOKED_AT


def test_settings_are_told_from_steps() -> None:
    assert is_generator_settings(SETTINGS) and not is_generator_settings("Steps: 30, then the door")


def test_what_tifffile_writes_is_no_caption(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    for name, options in (("shaped", {}), ("ome", {"ome": True}), ("imagej", {"imagej": True})):
        path = tmp_path / f"{name}.tif"
        tifffile.imwrite(path, pixels, photometric="rgb", **options)  # type: ignore[arg-type]
        assert decode_image(path.read_bytes()).facts.caption == ""
    tifffile.imwrite(path, pixels, photometric="rgb", description="a red fox", metadata=None)
    assert decode_image(path.read_bytes()).facts.caption == "a red fox"


def test_a_caption_behind_machine_text_is_found() -> None:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x010E], exif[0x9C9B] = '{"shape": [2, 2]}', "a red fox".encode("utf-16-le")
    Image.effect_noise((16, 16), 90).save(file, "JPEG", exif=exif)
    assert decode_image(file.getvalue()).facts.caption == "a red fox"
