"""A picture with what does not agree dimmed: nothing is drawn over the evidence."""

from PIL import Image

from imgaudit.schema.pairs import Region

DIMMED = 0.75
"""How far what does not agree is blended into white."""


def dimmed(picture: Image.Image, region: Region) -> Image.Image:
    """An RGB picture of the same size, everything outside the region faded; unchanged when the region is empty."""
    if not region.area:
        return picture
    mask = Image.fromarray(region.mask()).convert("L").resize(picture.size, Image.Resampling.NEAREST)
    return Image.composite(picture, Image.blend(picture, Image.new("RGB", picture.size, "white"), DIMMED), mask)
