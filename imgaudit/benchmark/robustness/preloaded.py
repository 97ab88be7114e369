"""What the server of child processes imports once. Nothing is computed here: threads do not survive a fork."""

import diffusers  # noqa: F401,TID251
import transformers  # noqa: F401
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel  # noqa: F401,TID251
from transformers import CLIPTextModel, CLIPTokenizer, PreTrainedTokenizerFast  # noqa: F401

import imgaudit.audit
import imgaudit.cli.auditing
import imgaudit.conclusion
import imgaudit.models.unet
import imgaudit.report  # noqa: F401
