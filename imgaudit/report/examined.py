"""The owner's picture with the part of it that was examined, and which two pictures a similarity is between."""

from collections.abc import Mapping

from PIL import Image, ImageDraw

from imgaudit.report.pictures import FADE
from imgaudit.schema.measures import MEASURE_NAMES
from imgaudit.schema.protocol import Framing
from imgaudit.schema.records import Frame, Measurement, Skipped

RENDERING = "the work as the model's autoencoder renders it"
"""The picture that every generated image is measured against."""

RENDERING_MEANING = (
    "The model draws every picture through its autoencoder, which loses some detail. So generated images are measured "
    "against the work as the autoencoder renders it: that is as close as this model can come to the work."
)
"""The reason for it; printed where the rendering is shown."""

NO_ORIGINAL = "The owner's picture at its own size is not in this run: versions before this one did not keep it."
"""Said in place of the picture, for older runs."""

LINE = 0.006
"""Width of the line around the frame, as a share of the longest side."""

_HOW: dict[Framing, str] = {
    Framing.CROP: "the largest square in its middle",
    Framing.PAD: "with white added at two sides to make it square",
    Framing.SQUASH: "its proportions changed to make it square",
}


def describe_frame(frame: Frame) -> str:
    """Say which part of the picture was examined.

    >>> from imgaudit.io.framing import find_frame
    >>> describe_frame(find_frame(400, 300, Framing.CROP))
    '75 % of the picture was examined: the largest square in its middle'
    >>> describe_frame(find_frame(900, 300, Framing.PAD))
    'The whole picture was examined, with white added at two sides to make it square'
    """
    if frame.share < 1:
        return f"{100 * frame.share:.0f} % of the picture was examined: {_HOW[frame.framing]}"
    square = frame.right - frame.left == frame.bottom - frame.top
    return "The whole picture was examined" + ("" if square else f", {_HOW[frame.framing]}")


def draw_frame(original: Image.Image, measurement: Measurement) -> Image.Image:
    """Return the owner's picture with what was not examined faded, and a line around what was.

    original:  RGB, the copy in the run, which can be smaller than the file was
    """
    frame = measurement.frame
    if frame is None or frame.share >= 1:
        return original
    across, down = original.width / measurement.width, original.height / measurement.height
    box = (round(frame.left * across), round(frame.top * down), round(frame.right * across), round(frame.bottom * down))
    drawn = Image.blend(original, Image.new("RGB", original.size, "white"), FADE)
    drawn.paste(original.crop(box), box[:2])
    width = max(1, round(LINE * max(original.size)))
    ImageDraw.Draw(drawn).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), outline=(200, 30, 30), width=width)
    return drawn


def similarity_text(measured: Mapping[str, float] | Skipped, first: str, second: str) -> str:
    """Return similarities with the two pictures that they are between.

    >>> similarity_text({"pixel": 0.99812}, "this image", "the work")
    'Similarity of this image and the work: pixel 0.998'
    """
    if isinstance(measured, Skipped):
        return f"Not compared with {second}: {measured.skipped}"
    numbers = ", ".join(f"{MEASURE_NAMES.get(name, name)} {value:.3f}" for name, value in measured.items())
    return f"Similarity of {first} and {second}: {numbers}"
