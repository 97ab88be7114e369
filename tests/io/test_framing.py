"""Images as the model meets them: framed, as tensors, measured and refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from imgaudit.io.framing import (
    copy_original,
    find_frame,
    find_unusable_reason,
    frame_image,
    measure_complexity,
    to_image,
    to_tensor,
)
from imgaudit.schema.protocol import Framing
from tests.conftest import random_image


def test_framing_keeps_what_it_promises() -> None:
    wide = Image.new("RGB", (30, 10), (255, 0, 0))
    wide.paste((0, 255, 0), (10, 0, 20, 10))
    crop = frame_image(wide, 10, Framing.CROP)
    assert crop.getpixel((5, 5)) == (0, 255, 0) and crop.getpixel((0, 5))[1] > 200  # type: ignore[index]
    pad = frame_image(wide, 30, Framing.PAD)
    assert pad.getpixel((15, 2)) == (255, 255, 255) and pad.getpixel((2, 15)) == (255, 0, 0)
    squash = frame_image(wide, 9, Framing.SQUASH)
    assert squash.size == (9, 9) and squash.getpixel((0, 4)) == pytest.approx((255, 0, 0), abs=3)
    assert all(frame_image(wide, 8, framing).size == (8, 8) for framing in Framing)


@pytest.mark.parametrize(
    ("size", "used", "share"),
    [((40, 40), "crop", 1.0), ((40, 30), "crop", 0.75), ((30, 40), "crop", 0.75), ((41, 30), "pad", 1.0),
     ((30, 41), "pad", 1.0)],
)  # fmt: skip
def test_a_crop_that_would_lose_more_than_a_quarter_is_a_pad(size: tuple[int, int], used: str, share: float) -> None:
    frame, picture = find_frame(*size, Framing.CROP_OR_PAD), random_image(2, size)
    assert (frame.framing.value, frame.share) == (used, share)
    assert (frame.right - frame.left) * (frame.bottom - frame.top) == share * size[0] * size[1]
    assert frame_image(picture, 16, Framing.CROP_OR_PAD).tobytes() == frame_image(picture, 16, frame.framing).tobytes()


def test_the_frame_is_the_part_that_is_cropped() -> None:
    picture, frame = random_image(3, (53, 40)), find_frame(53, 40, Framing.CROP)
    part = picture.crop((frame.left, frame.top, frame.right, frame.bottom))
    assert part.size == (40, 40) and frame_image(picture, 40, Framing.CROP).tobytes() == part.tobytes()
    assert find_frame(53, 40, Framing.SQUASH).share == 1.0


def test_the_copy_of_an_original_keeps_its_shape_within_a_bound() -> None:
    assert copy_original(random_image(1, (90, 20))).size == (90, 20)
    assert copy_original(Image.new("RGB", (5000, 1))).size == (2048, 1)


def test_tensors_round_trip_and_unusable_frames_are_named() -> None:
    image = random_image(4)
    assert to_image(to_tensor(image)).tobytes() == image.tobytes()
    assert find_unusable_reason(to_tensor(image)) is None
    assert find_unusable_reason(torch.full((3, 4, 4), -1.0)) == "black"
    assert find_unusable_reason(torch.full((3, 4, 4), 0.3)) == "constant"
    assert find_unusable_reason(torch.full((3, 4, 4), float("nan"))) == "not finite"


def test_noise_is_more_complex_than_a_plain_surface() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    assert (
        measure_complexity(noise)
        > measure_complexity(random_image(1, (32, 32)))
        > measure_complexity(Image.new("RGB", (32, 32)))
    )
