"""Coverage-guided fuzzing of the image reader: `python tests/support/fuzz_images.py [seconds] [seed]` needs atheris.

Every input is either decoded to RGB or refused with an ImageError; anything else ends the process with a crash report.
"""

import io
import sys

import atheris

with atheris.instrument_imports(include=["imgaudit", "PIL"]):
    from imgaudit.exceptions import ImageError
    from imgaudit.io.images import decode_image
    from tests.conftest import random_image

FORMATS = ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "TGA")


def one_input(data: bytes) -> None:
    """Mutate a sound file, or take the input as it is."""
    provider = atheris.FuzzedDataProvider(data)
    kind = provider.ConsumeIntInRange(0, len(FORMATS))
    if kind < len(FORMATS):
        buffer = io.BytesIO()
        random_image(kind, (9, 7)).save(buffer, format=FORMATS[kind])
        content = bytearray(buffer.getvalue())
        for _ in range(provider.ConsumeIntInRange(1, 8)):
            content[provider.ConsumeIntInRange(0, len(content) - 1)] = provider.ConsumeIntInRange(0, 255)
        rest = provider.ConsumeBytes(64)
        place = provider.ConsumeIntInRange(0, len(content))
        content[place:place] = rest
        data = bytes(content)
    try:
        assert decode_image(data).pixels.mode == "RGB"
    except ImageError as error:
        assert str(error)


if __name__ == "__main__":
    seconds, seed = (*sys.argv[1:], "60", "1")[:2] if len(sys.argv) < 3 else sys.argv[1:3]
    atheris.Setup(
        [sys.argv[0], f"-max_total_time={seconds}", f"-seed={seed}", "-rss_limit_mb=4096", "-timeout=20",
         "-print_final_stats=1"], one_input,
    )  # fmt: skip
    atheris.Fuzz()
