"""Tell text that machines write into files by themselves from what a person wrote about a picture.

Fields for captions also hold defaults of cameras, notes of programs about a file's layout, and data: JSON, XML,
settings of a generator. None of that describes a picture in words, and a model asked for it would be asked for nothing.
"""

import json
import re

MAX_LOOKED_AT = 20_000
"""Characters of a text that are looked at."""

_MAKERS = (
    "olympus|(?:konica )?minolta|samsung|sony|kodak|vivitar|medion|polaroid|pentax|jenoptik|maginon|ricoh|casio|aiptek"
)
_MODES = (
    "cof|edf|hdrpl|hdr|mde|mdn|oznor(?:cof|cf|wo)?|ozedf(?:b?(?:back|front))?|rhdr|fhdr|dav|sdr|btr|btf|bty|rbt|fbt"
    "|(?:btf|rbt|fbt)(?:hdr|mdn)|rptr|rpt|ptr|ptf|ptfbty|fptr|fshbty|frem|qrf|mfnr|nor|_?cuva|frontbhdp"
)
_DEFAULTS = re.compile(
    rf"<?(?:(?:{_MAKERS}) )?digital (?:still )?camera>?|sony dsc|(?:konica )?minolta dsc|samsung(?: camera pictures)?"
    r"|exif[_ -]jpeg(?:[_ -]picture)?|<(?:digimax|kenox|samsung) [^<>]{1,80}>|hp photosmart(?: \w{1,10})?|pentax image"
    r"|casio computer co\.,? ?ltd\.?|dcim(?:[\\/].*)?|screen ?shots?(?:[ _-](?:at )?\d{4}-?\d\d-?\d\d.*)?"
    r"|charset=\"?\w*\"?|default(?: description)?|untitled(?:[- ]\d+| design)?|user ?comments?|image ?description|ascii"
    r"|binary comment|\(?null\)?|undefined|no (?:comments?|description|caption|title)"
    r"|scanned (?:image|document)|digital image|tiff image data|idl tiff file|applemark|(?:oplus|oppo)_\d+|cameraid_\d+"
    rf"|xl toolbox|ai[ -]generated(?: image| content)?|(?:{_MODES})(?:_\w{{2,12}})*"
)
"""Defaults of cameras and telephones, in lower case."""

_ADOBE = "(?:adobe )?(?:photoshop|lightroom|illustrator|indesign|bridge|acrobat|firefly|express)"
_PROGRAMS = (
    rf"(?:the )?(?:{_ADOBE}(?: (?:elements|express|lightroom|classic|cs|cc))*"
    "|gimp|inkscape|krita|imagemagick|graphicsmagick|blender|paint\\.net|canva|snapseed|procreate|matplotlib|gnuplot"
    "|ffmpeg|lavc|gd-jpeg|jpegmini|imageoptim|sketch|figma|pixelmator|affinity (?:photo|designer|publisher)|irfanview"
    "|xnview|acdsee|picasa|darktable|rawtherapee|digikam|(?:microsoft )?(?:paint|office|powerpoint|photo editor)"
    "|corel ?(?:draw|photo-paint|paint shop pro)?|paint shop pro|vuescan|silverfast|epson scan|fiji|imagej|napari|qgis"
    "|arcgis|r|idl|matlab|vsco|moldiv|picsart|camera ?360|meitu|instagram|snapchat|facetune|photoroom|camscanner|imlib"
    "|imagegear|accusoft corp|jpeg-recompress|google ai|ai|midjourney|dall[\u00b7-]?e|stable diffusion|comfyui|chatgpt"
    "|grok)"
)
_VERBS = (
    "created|made|generated|exported|produced|edited|processed|optimi[sz]ed|compressed|scanned|saved|converted|rendered"
    "|written|drawn|captured"
)
_BANNER = re.compile(
    rf"(?:(?:photo|image|picture|file) )?(?:{_VERBS}) (?:with|by|using|in|from) {_PROGRAMS}"
    r"(?:\W? ?[,/(v]*\d[\w.\-+]*\)?| with \w{1,9} preset)?"
    r"(?: \(?(?:https?://|www\.)\S+| (?:on|for) (?:a )?(?:mac|windows|linux))?[.!]?"
    rf"|(?:software|creator): ?\S.*|{_PROGRAMS}(?: version)?[ ,/]*(?:v|cs)?\d+\.\d[\w.\-+]*(?:[ ,].*)?"
    r"|adobe photoshop (?:cs\d?|cc)(?: .*)?|optimi[sz]ed by jpegmini.*|processed by ebay.*|lead technologies inc\..*"
    r"|intel\(r\) jpeg library.*|jpeg encoder copyright.*|handmade software.*|acd systems digital imaging"
    r"|u-lead systems.*|imagegear, .*"
)
"""Names that programs leave of themselves, in lower case."""

_JOB = re.compile(r"\bJob ID: [0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}\s*\Z")
"""End of a prompt as Midjourney stores it."""

_SETTINGS = re.compile(r"\bSteps: \d+, (?:Sampler|Size|Seed|Schedule type|CFG scale|Model)\b[^\n]*: ", re.ASCII)
"""The line of settings that generators write below a prompt: a name for each number, in one line."""

_FILE_NAME = re.compile(
    r"_?(?:img|dsc|dscn|dscf|mg|pict|mvimg|pxl|vid|dji|gopr|wp|wa|p|scan|burst)[_-]?e?\d{3}[\d_-]*"
    r"(?:-wa\d+|\.[a-z]+|[_-]d)?|mvc-\d{3}[a-z]?|(?:19|20)\d{6}[_-]\d{6,9}|whatsapp image \d{4}-.*"
    r"|[a-z]:\\\S.*|file:///\S.*|/(?:storage|home|users|mnt|media)/\S.*"
    r"|[\w()-]+\.(?:jpe?g|png|tiff?|webp|heic|gif|bmp|cr2|cr3|nef|arw|dng|psd)",
    re.IGNORECASE,
)
_TOKEN = re.compile(
    r"(?:https?://|www\.)\S+|(?:signature: )?(?=\D*\d)[a-z0-9+/=_-]{40,}|[0-9a-f]{32}|fbmd[0-9a-f]{8,}"
    r"|(?:job id: |xmp\.[di]id:|uuid:)?[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}",
    re.IGNORECASE,
)
_XML = re.compile(r"<(?:\?xml|!--|!DOCTYPE|\?xpacket)|<([A-Za-z_][\w.:-]*)(?=[\s/>])", re.ASCII)
_HTML_WORDS = frozenset(
    ["a", "b", "br", "div", "em", "font", "h1", "h2", "i", "p", "script", "small", "span", "strong"]
)
_PAIR = re.compile(r"\s*([A-Za-z_][\w.\[\]{}/()~ -]{0,60}?)\s*([:=])\s*(.*?)\s*")
_VERSION = re.compile(r"[\w.]+ ?= ?(?:\d\S*|true|false|null|nan)")
_DATA = re.compile(
    r"|[-+]?[\d.,]+(?:e[-+]?\d+)?\s*[a-z%\u00b5\u03bcx]{0,4}|true|false|null|none|nan|yes|no"
    r"|[\[({<].*[\])}>]|0x[0-9a-f]+|\\u[0-9a-f]{4}m|\u00b5m|micron|inch|pixel",
    re.IGNORECASE,
)


def is_machine_text(text: str) -> bool:
    """Return whether a text was written by a machine: a camera's default, a program's name, or data.

    >>> [is_machine_text(text) for text in ('{"shape": [4, 4]}', "OLYMPUS DIGITAL CAMERA", "a fox {asleep}")]
    [True, True, False]
    """
    text = text[:MAX_LOOKED_AT].strip()
    line = " ".join(text.split())
    lower = line.lower()
    return bool(
        (line.isascii() and line and not any(map(str.isalnum, line)))
        or _DEFAULTS.fullmatch(lower)
        or re.fullmatch(r"[A-Z0-9-]+(?: [A-Z0-9-]+)? DIGITAL (?:STILL )?CAMERA", line)
        or _BANNER.fullmatch(lower)
        or _FILE_NAME.fullmatch(line)
        or _TOKEN.fullmatch(line)
        or _JOB.search(line)
        or is_generator_settings(text)
        or _is_json(text)
        or _is_xml(text)
        or _is_list_of_pairs(text)
    )


def is_generator_settings(text: str) -> bool:
    """Return whether a text holds the line of settings that image generators write: steps, sampler, seed and so on.

    >>> is_generator_settings("a castle\\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1")
    True
    >>> is_generator_settings("Steps: 3, then a door")
    False
    """
    return bool(_SETTINGS.search(text))


def _is_json(text: str) -> bool:
    """Return whether a text is JSON or a Python dictionary, whole or cut, also behind a name ("Workflow: {...}")."""
    text = re.sub(r"\A[\w .-]{1,40}[:=]\s*(?=[{\[])", "", text)
    if re.match(r"\{\s*(?:[\"'][^\"'\n]{0,200}[\"']\s*:|\})|\[\s*(?:[{\[\"]|\]|[-\d.]+\s*,)", text):
        return True
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False


def _is_xml(text: str) -> bool:
    """Return whether a text is a document of tags; words in HTML's own tags are words."""
    found = _XML.match(text)
    if found is None:
        return False
    name = found[1]
    if name is None or "xmlns" in text[:2000]:
        return True
    return name.lower() not in _HTML_WORDS and (f"</{name}>" in text or text.endswith(("/>", ">")))


def _is_list_of_pairs(text: str) -> bool:
    """Return whether a text is a list of names and values, most of them data ("ImageJ=1.54f", "images=3")."""
    for separator in ("\n", ";", "|", ","):
        parts = [part for part in re.split(re.escape(separator), text.replace("\r", "\n")) if part.strip()]
        if separator == "|" and len(parts) > 1 and not _PAIR.fullmatch(parts[0]):
            parts = parts[1:]  # A scanner's name stands before its values.
        pairs = [_PAIR.fullmatch(part) for part in parts]
        if not parts or any(pair is None for pair in pairs):
            continue
        found = [pair for pair in pairs if pair is not None]
        equals = all(pair[2] == "=" for pair in found)
        data = sum(bool(_DATA.fullmatch(pair[3])) for pair in found)
        if equals and (data * 2 >= len(found) > 1 or (len(found) == 1 and _VERSION.fullmatch(text))):
            return True
        if len(found) > 2 and (data * 3 >= 2 * len(found) or (equals and data)):
            return True
    return False
