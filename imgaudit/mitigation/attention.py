"""Cross-attention rescaled: Ren et al.'s inference-time mitigation (ECCV 2024, arXiv 2403.11052), MemBench's Ren.

When a memorised image is made, attention gathers on few tokens, mostly on those that sum a prompt up: the end token and
the padding after it. In every cross-attention of the denoising network, for keys k_0 (BOS) to k_n,

    softmax(factor q k_0 / sqrt(d), q k_1 / sqrt(d), ..., -inf, ..., -inf)

-inf for the end token and padding: the prompt's words are left, and BOS, which says nothing, gets more. A factor above
1 strengthens BOS only where its logit is positive, as published. The null half of classifier-free guidance stays as
the model was trained; an empty prompt, or a prompt cut to nothing, attends to BOS alone.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from imgaudit.diffusion.denoiser import Denoiser, PromptEmbeds
from imgaudit.exceptions import ConfigError
from imgaudit.mitigation.mitigated import MitigatedDenoiser
from imgaudit.models.families.unet import AnyUNetDenoiser

ATTENDED = "attended"
"""Name of the extra of conditions, (N, tokens) bool: BOS and the prompt's own tokens."""


class AttentionRescaling(MitigatedDenoiser):
    """The model with its cross-attention rescaled while it samples prompts.

    An embedding has no words: inverted conditions are sampled as they are.
    """

    def __init__(self, denoiser: Denoiser, *, factor: float = 1.25) -> None:
        """Wrap a model.

        factor:  of BOS's logits
        Raises ConfigError for a model without cross-attention over text that begins with BOS, or whose keys are
        normalised after they could be scaled.
        """
        if not isinstance(denoiser, AnyUNetDenoiser):
            raise ConfigError(
                f"attention needs a UNet with cross-attention over text that begins with a BOS token (Stable Diffusion "
                f"1.x, 2.x, XL), not {type(denoiser).__name__}: joint attention of text and image has no part that "
                "could be rescaled alone, and T5 has no BOS"
            )
        super().__init__(denoiser, self.identify(factor=factor))
        self.factor = factor
        self.attentions = find_cross_attentions(denoiser.network)
        if not self.attentions:
            raise ConfigError("attention needs cross-attention, which this UNet does not have in a form to be rescaled")

    @staticmethod
    def identify(*, factor: float) -> str:
        """Return the identity of the mitigation with these settings."""
        return f"attention factor={factor:g}"

    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Condition as the model does, and mark the prompts' own rows. Raises ConfigError when it cannot."""
        found = self.denoiser.condition(prompts)
        attended = torch.zeros(found.streams["text"].shape[:2], dtype=torch.bool)
        attended[:, 0] = True
        for own, prompt in zip(attended, prompts, strict=True):
            spans = self.denoiser.token_spans(prompt)
            if "text" not in spans:
                raise ConfigError("attention needs a tokenizer that tells which tokens are padding; this one does not")
            own[[row for _, _, row in spans["text"]]] = True
        extras = {**found.extras, ATTENDED: attended.to(found.streams["text"].device)}
        return PromptEmbeds(found.streams, found.free, extras)

    @contextmanager
    def sampling(
        self, prompt_embeds: PromptEmbeds, seeds: Sequence[int], latents: torch.Tensor | None
    ) -> Iterator[PromptEmbeds]:
        """Rescale the model's cross-attention; afterwards the model is unchanged."""
        with ExitStack() as stack:
            if ATTENDED in prompt_embeds.extras:
                stack.enter_context(rescale_attention(self.attentions, prompt_embeds.extras[ATTENDED], self.factor))
            yield prompt_embeds


def find_cross_attentions(network: torch.nn.Module) -> Sequence[Any]:
    """List a UNet's attentions from image to text whose logits are plain products of queries and keys."""
    return [
        module
        for module in network.modules()
        if getattr(module, "is_cross_attention", False) and getattr(module, "norm_k", None) is None
    ]


@contextmanager
def rescale_attention(attentions: Sequence[Any], attended: torch.Tensor, factor: float) -> Iterator[None]:
    """Rescale attentions for as long as the context lasts.

    attended:  (N, tokens) bool, for the last N rows of every batch; those before them are null conditions
    factor:    of the logits of each row's first token
    """
    handles = []
    try:
        for attention in attentions:
            # Keys times a factor are logits times it, under every implementation of attention.
            handles.append(attention.to_k.register_forward_hook(_scale_first(len(attended), factor)))
            handles.append(attention.register_forward_pre_hook(_mask(attended), with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _scale_first(rows: int, factor: float) -> Callable[..., torch.Tensor]:
    def hook(layer: Any, given: Any, keys: torch.Tensor) -> torch.Tensor:
        keys = keys.clone()
        keys[-rows:, 0] *= factor
        return keys

    return hook


def _mask(attended: torch.Tensor) -> Callable[..., Any]:
    def hook(attention: Any, given: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        states = keywords["encoder_hidden_states"]
        kept = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
        kept[-len(attended) :] = attended.to(states.device)
        bias = torch.zeros(kept.shape, dtype=states.dtype, device=states.device).masked_fill(~kept, -torch.inf)
        before = keywords.get("attention_mask")
        keywords["attention_mask"] = bias[:, None] if before is None else before + bias[:, None]
        return given, keywords

    return hook
