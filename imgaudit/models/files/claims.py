"""What a file of weights says of itself: marker tensors, and the notes of its writer (modelspec, sd-scripts, GGUF).

A configuration may say something else. Then the file is honoured, or the model is refused with both values.
Sources: https://github.com/Stability-AI/ModelSpec, sd-scripts, and the marker tensors that ComfyUI reads and writes.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.files.gguf_file import read_gguf_notes
from imgaudit.models.files.inspection import quote
from imgaudit.models.files.weights import read_metadata, read_shapes

UNET = "model.diffusion_model."
"""Prefix that most authors put before the names of the network that denoises, UNet or not."""

VELOCITY, ZERO_SNR = "v_pred", "ztsnr"
"""Empty tensors by which a file says that it predicts velocity, and that its schedule ends in pure noise."""

MARKERS = frozenset({VELOCITY, ZERO_SNR, UNET + VELOCITY, UNET + ZERO_SNR})
"""Names of the markers, as programs write them."""

OTHER_NOISE = re.compile(r"(^|\.)(edm_mean|edm_std|edm_vpred\.sigma_(max|min))$")
"""Tensors of models that scale their input by the noise's spread (EDM, Karras et al. 2022), such as CosXL."""

PREDICTION_KEYS = ("modelspec.prediction_type", "modelspec.predict_key")
"""Keys by which a header says what the network predicts: the specification's, and the one that ComfyUI writes."""

ALL_STEPS = range(1000)
"""Steps of training that modelspec.timestep_range has to cover."""

PREDICTIONS: Mapping[str, str] = {
    "v": "v_prediction", "v-prediction": "v_prediction", "v_prediction": "v_prediction", "velocity": "v_prediction",
    "epsilon": "epsilon", "eps": "epsilon", "sample": "sample",
}  # fmt: skip
"""Kinds of output in diffusers' words, by modelspec.prediction_type."""

_SD, _SDXL, _SD3, _FLUX = (
    frozenset({f"{name}Pipeline"}) for name in ("StableDiffusion", "StableDiffusionXL", "StableDiffusion3", "Flux")
)
_FLUX2, _AURA = frozenset({"Flux2Pipeline", "Flux2KleinPipeline"}), frozenset({"AuraFlowPipeline"})
_CHROMA = frozenset({"ChromaPipeline"})

ARCHITECTURES: Mapping[str, frozenset[str]] = {
    "stable-diffusion-v1": _SD, "stable-diffusion-v2": _SD, "sd1": _SD, "stable-diffusion-xl": _SDXL, "sdxl": _SDXL,
    "stable-diffusion-v3": _SD3, "stable-diffusion-3": _SD3, "sd3": _SD3, "flux-1": _FLUX, "flux-2": _FLUX2,
    "flux2": _FLUX2, "aura": _AURA, "chroma": _CHROMA, "hidream": frozenset({"HiDreamImagePipeline"}),
    # Programs that write GGUF name these by their blocks, which others have too.
    "flux": _FLUX | _FLUX2 | _CHROMA, "lumina": frozenset({"Lumina2Pipeline", "ZImagePipeline"}),
    "hunyuan": frozenset({"HunyuanDiTPipeline", "HunyuanImagePipeline"}),
    **dict.fromkeys(
        (
            "stable-diffusion-xl-v1-refiner", "stable-cascade", "stable-video", "hunyuan-video",
            "hunyuanvideo", "kolors", "ltxv", "hyvid", "wan", "cosmos",
        ),
        frozenset(),
    ),
}  # fmt: skip
"""Pipeline classes by the beginnings of modelspec.architecture and of GGUF's general.architecture, of which the longest
counts; none for architectures whose files may look like another one's, or of which no file can be audited."""


@dataclass(frozen=True)
class Claims:
    """What one file of weights says of itself, as far as a configuration may say otherwise."""

    file: str = ""
    """Its name in messages."""
    prediction_type: str = ""
    """Kind of the network's output in diffusers' words; empty when it does not say."""
    is_marked: bool = False
    """True where marker tensors say what the network predicts; its header may be a copy of another file's."""
    has_zero_snr: bool = False
    """True where it says that its schedule ends in pure noise."""
    architecture: str = ""
    """Its architecture, in its own words."""
    side: int = 0
    """Side of its images in pixels; 0 when it does not say, or names an oblong."""
    notes: tuple[str, ...] = ()
    """Statements that change nothing here, for the user."""


def read_claims(path: Path) -> Claims:
    """Read what a safetensors or GGUF file, whose header was checked, says of itself.

    Raises ModelRefusedError where it contradicts itself, or says that it is of a kind that cannot be measured.
    """
    if path.suffix == ".gguf":
        return Claims(quote(path), architecture=read_gguf_notes(path).get("general.architecture", ""))
    if path.suffix != ".safetensors":
        return Claims()
    return collect_claims(quote(path), read_shapes(path), read_metadata(path))


def collect_claims(file: str, names: Iterable[str], metadata: Mapping[str, Any]) -> Claims:
    """Collect the claims of a file from the names of its tensors and the notes in its header.

    Raises ModelRefusedError as `read_claims` does.

    >>> collect_claims("a.safetensors", ["v_pred"], {}).prediction_type
    'v_prediction'
    """
    marks = {name.removeprefix(UNET) for name in names if name in MARKERS or OTHER_NOISE.search(name)}
    if other := sorted(marks - {VELOCITY, ZERO_SNR}):
        raise ModelRefusedError(
            f"{file} holds {other[0]!r:.99}, by which models say that their noise has another scale (EDM); "
            "this version cannot measure these"
        )
    noted = {key: value.strip() for key, value in metadata.items() if isinstance(value, str) and value.strip()}
    said = _read_prediction(file, noted)
    _refuse_some_steps(file, noted.get("modelspec.timestep_range", ""))
    if VELOCITY in marks and said not in ("", "v_prediction"):
        raise ModelRefusedError(
            f"{file} contradicts itself: its tensor {VELOCITY!r} says that it predicts velocity, but its header says "
            f"{said!r}; ask its author which it is, and save it without the other"
        )
    return Claims(
        file, "v_prediction" if VELOCITY in marks else said, VELOCITY in marks,
        ZERO_SNR in marks or noted.get("ss_zero_terminal_snr", "").lower() == "true",
        noted.get("modelspec.architecture", ""), _read_side(noted), tuple(_list_notes(file, noted)),
    )  # fmt: skip


def _read_prediction(file: str, noted: Mapping[str, str]) -> str:
    said = {key: noted[key].lower() for key in PREDICTION_KEYS if key in noted}
    for key, named in said.items():
        if named not in PREDICTIONS:
            raise ModelRefusedError(
                f"{file} says in its header that {key} is {named!r:.80}; this version knows "
                f"{', '.join(sorted(PREDICTIONS))}"
            )
    found = {PREDICTIONS[named] for named in said.values()}
    if noted.get("ss_v_parameterization", "").lower() == "true":
        found.add("v_prediction")
    if re.fullmatch(r"stable-diffusion-v2-.*-v", _plain(noted.get("modelspec.architecture", "").partition("/")[0])):
        found.add("v_prediction")
    if len(found) > 1:
        raise ModelRefusedError(
            f"{file} contradicts itself: its header says that it predicts {' and '.join(sorted(found))}; ask its "
            "author which it is"
        )
    return found.pop() if found else ""


def _refuse_some_steps(file: str, steps: str) -> None:
    """Refuse a network that was trained for a part of the steps only (a timestep expert)."""
    found = re.fullmatch(r"(\d{1,6})\s*,\s*(\d{1,6})", steps)
    if found and (int(found[1]) > ALL_STEPS[0] or int(found[2]) < ALL_STEPS[-1]):
        raise ModelRefusedError(
            f"{file} says in its header that it was trained for the steps {steps!r} only (modelspec.timestep_range); "
            "an audit measures all of them, so it needs a model for all of them"
        )


def _read_side(noted: Mapping[str, str]) -> int:
    found = re.fullmatch(r"(\d{2,5})(?:\s*[x×,]\s*(\d{2,5}))?", noted.get("modelspec.resolution", ""))
    return int(found[1]) if found and found[2] in (None, found[1]) else 0


def _list_notes(file: str, noted: Mapping[str, str]) -> Iterable[str]:
    size, layer = noted.get("modelspec.resolution", ""), noted.get("modelspec.encoder_layer", "")
    if size and not _read_side(noted):
        yield f"{file} says that it was trained at {size!r:.40}; images are measured as squares of the model's own size"
    # 1 is the last layer, which Stable Diffusion 1 uses; in 2 and XL the last but one is built in.
    is_first = _plain(noted.get("modelspec.architecture", "")).startswith("stable-diffusion-v1")
    if is_first and layer not in ("", "1"):
        yield (
            f"{file} says that it was trained on layer {layer!r:.20} from the end of its text encoder (clip skip); it "
            "is measured with the last layer, as its pipeline uses it"
        )


def refuse_other_architecture(claims: Claims, pipeline_class: str, *, is_lora: bool = False) -> None:
    """Refuse a file that says it belongs to another family than the one it is loaded as: ModelRefusedError."""
    named, _, kind = claims.architecture.partition("/")
    if kind and not is_lora:
        raise ModelRefusedError(
            f"{claims.file} says in its header that it is {claims.architecture!r:.99}, which is an addition to a "
            "model, not a model: name a LoRA with --lora"
        )
    plain = _plain(named)
    known = max((start for start in ARCHITECTURES if plain.startswith(start)), key=len, default="")
    if known and pipeline_class not in ARCHITECTURES[known]:
        raise ModelRefusedError(
            f"{claims.file} says in its header that its architecture is {claims.architecture!r:.99}, but it would be "
            f"loaded as a {pipeline_class}: one of them is wrong"
        )


def _plain(text: str) -> str:
    return re.sub(r"[\s_.]+", "-", text.lower())


def refuse_other_prediction(claims: Claims, prediction_type: str) -> None:
    """Refuse a LoRA that says it was trained on a model with another kind of output: ModelRefusedError.

    prediction_type:  of the model that it would be applied to
    """
    if claims.prediction_type and prediction_type in PREDICTIONS.values() and claims.prediction_type != prediction_type:
        raise ModelRefusedError(
            f"LoRA {claims.file} says in its header that it was trained on a model that predicts "
            f"{claims.prediction_type!r}, but this model predicts {prediction_type!r}"
        )


def refuse_other_size(claims: Claims, side: int) -> None:
    """Refuse a file that says it was trained at another size than its configuration: ModelRefusedError.

    side:  of the model's images in pixels, as its configuration gives it
    """
    if claims.side and claims.side != side:
        raise ModelRefusedError(
            f"{claims.file} says in its header that it was trained at {claims.side} x {claims.side} pixels, but "
            f"sample_size in its configuration makes images of {side} x {side}: name a configuration of the right size "
            "with --model-config, or correct sample_size in the network's config.json"
        )
