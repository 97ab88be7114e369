"""Signs in a file that an image generator made it, read only from fields that are made for saying so.

These are: the program's name (EXIF, PNG and XMP), IPTC's digital source type (XMP), the actions of the active C2PA
manifest, and the settings that generators keep in text of PNG or EXIF. What a caption, title or keyword says counts
for nothing: it says what a picture shows.
"""

import contextlib
import json
import re

from PIL import Image

from imgaudit.io.c2pa import was_generated
from imgaudit.io.machine_text import is_generator_settings
from imgaudit.io.metadata_bytes import decode_field, take_bytes
from imgaudit.io.xmp import read_xmp

_SOFTWARE, _PROCESSING_SOFTWARE, _MAKE, _MODEL, _DESCRIPTION = 0x0131, 0x000B, 0x010F, 0x0110, 0x010E
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286

GENERATED = "trainedAlgorithmicMedia"
"""IPTC's term for a picture that a trained model made; one that was only changed by a model has a longer term."""

_PRODUCTS = (
    r"stable ?diffusion|stablediffusion-webui|sd[ .-]?next|midjourney|dall[-\u00b7 ]?e|adobe firefly|comfyui|invoke ?ai"
    r"|novelai|automatic1111|a1111|(?:hugging ?face )?diffusers|flux[ .]?[12]|google imagen|imagen [1-4]|fooocus"
    r"|swarmui|stableswarmui"
    r"|draw things|diffusionbee|easy diffusion|mochi diffusion|leonardo[. ]?ai|ideogram(?: ai)?|bing image creator"
    r"|craiyon|stable cascade|kandinsky|playground ai|nightcafe|black forest labs|chatgpt|google gemini|recraft|krea ai"
    r"|grok imagine|qwen[- ]image|hunyuan ?image|seedream"
)
_VERSION_WORDS = (
    r"(?:v|version )?\d[\w.+-]*|xl|sd|sdxl|turbo|lightning|cascade|webui|web|ui|forge|core|ultra|large|medium|small|pro"
    r"|dev|schnell|preview|beta|alpha|api|studio|creator|[0-9a-f]{7,40}"
)
_PRODUCT = re.compile(rf"(?:{_PRODUCTS})(?:[ ,:/_-]*[(\[]?(?:{_VERSION_WORDS})[)\]]?|\.\d[\w.]*)*", re.IGNORECASE)
"""The whole name of a generator, with its version. "Imagen AI for Lightroom" develops photographs and is none."""

_OWN_KEYS = (
    "sd-metadata", "invokeai_metadata", "invokeai_graph", "dream", "Dream", "sui_image_params", "fooocus_scheme",
    "generation_data", "use_stable_diffusion_model",
)  # fmt: skip
"""Keys of PNG text that only generators use."""


_SETTINGS = frozenset({"steps", "seed", "sampler", "cfg_scale", "guidance_scale", "negative_prompt"})
"""Names of settings, of which one alone says nothing."""


def find_generator_mark(image: Image.Image, data: bytes) -> str:
    """Return the sign of an image generator in words; empty where there is none.

    image:  as Image.open returns it, its pixels loaded
    data:   the file's bytes, for the C2PA manifest

    >>> import io
    >>> file, exif = io.BytesIO(), Image.Exif()
    >>> exif[0x0131] = "Stable Diffusion XL 1.0"
    >>> Image.new("RGB", (2, 2)).save(file, "JPEG", exif=exif)
    >>> find_generator_mark(Image.open(file), file.getvalue())
    "software 'Stable Diffusion XL 1.0'"
    """
    for read in (_find_settings, _find_software, _find_source_type):
        # Pillow and the codecs raise almost anything on hostile bytes; what cannot be read says nothing.
        with contextlib.suppress(Exception):
            if mark := read(image):
                return mark
    return "C2PA digital source type" if was_generated(data) else ""


def _find_settings(image: Image.Image) -> str:
    """Look for settings of a generator: in PNG text under its keys, in EXIF where generators put them."""
    texts = {key: value for key, value in image.info.items() if isinstance(key, str) and isinstance(value, str)}
    if own := next((key for key in _OWN_KEYS if key in texts), ""):
        return f"metadata {own!r}"
    for key in ("parameters", "prompt", "workflow"):
        if key in texts and (is_generator_settings(texts[key]) or _is_graph(texts[key])):
            return f"metadata {key!r}"
    exif = image.getexif()
    for tag in (_MAKE, _MODEL, _DESCRIPTION):
        name, _, value = str(exif.get(tag, "")).partition(":")
        if name.strip().lower() in {"prompt", "workflow"} and _is_graph(value.strip("\0 ")):
            return f"metadata {name.strip().lower()!r}"
    comment = take_bytes(exif.get_ifd(_EXIF_IFD).get(_USER_COMMENT))[8:]
    readings = [comment.decode(encoding, "replace") for encoding in ("utf-8", "utf-16-be", "utf-16-le")]
    found = any(is_generator_settings(one) or _is_graph(one.strip("\0 ")) for one in readings)
    return "settings in the user comment" if found else ""


def _is_graph(text: str) -> bool:
    """Return whether a text is the graph of a generator's steps, or its settings, as JSON, also within an object."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if not isinstance(found, dict):
        return False
    inner = [one for one in found.values() if isinstance(one, dict)]
    nodes = [one for part in (found, *inner) for one in part.values() if isinstance(one, dict)]
    named = {key.lower() for key in found}
    graph = any("class_type" in one for one in nodes) or {"nodes", "links"} <= named
    return graph or "sui_image_params" in named or len(named & _SETTINGS) > 1


def _find_software(image: Image.Image) -> str:
    exif = image.getexif()
    named = [exif.get(tag) for tag in (_SOFTWARE, _PROCESSING_SOFTWARE)] + [image.info.get("Software")]
    tools = [decode_field(take_bytes(value)) for value in named if value]
    tools += read_xmp(take_bytes(image.info.get("xmp"))).creator_tools
    for tool in tools:
        name = " ".join(tool.partition("\0")[0].split())
        if _PRODUCT.fullmatch(name):
            return f"software {name[:80]!r}"
    return ""


def _find_source_type(image: Image.Image) -> str:
    types = read_xmp(take_bytes(image.info.get("xmp"))).source_types
    generated = any(re.split(r"[/:#]", one.strip())[-1] == GENERATED for one in types)
    return "IPTC digital source type" if generated else ""
