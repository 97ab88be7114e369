"""Models of published sizes without a weight: real classes, real shapes, real adapters, and no data.

Every tensor is one of torch's FakeTensors, which knows its shape, type and device. Operators compute the shapes of
their results, and nothing else; a model of 20 billion parameters passes forward and back in seconds, on any machine.
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

import diffusers
import torch
import transformers
from diffusers.models.transformers.transformer_hidream_image import MOEFeedForwardSwiGLU
from torch._subclasses.fake_tensor import FakeTensorMode

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.models.families.latent import LatentDenoiser
from imgaudit.models.families.registry import FAMILIES
from imgaudit.models.published import PublishedComponent, PublishedModel
from imgaudit.models.text_processor import NoTokenizer, TextProcessor


def build_meta_model(model: PublishedModel, dtype: torch.dtype) -> LatentDenoiser:
    """Build the adapter of a model's family around networks without data, on the CPU.

    dtype:  of the weights; those that transformers keeps in float32 whatever it is asked for, such as some of T5's in
            float16, stay in it here too
    """
    # Nothing runs in half precision on the CPU here, so that the warning that it cannot is beside the point.
    diffusers.utils.logging.set_verbosity_error()
    family, mode = FAMILIES[model.pipeline_class], FakeTensorMode(allow_non_fake_inputs=True)
    parts: dict[str, Any] = dict.fromkeys(family.components)
    for name, part in model.components.items():
        if family.components[name].role != "network":
            # Timesteps are read from a scheduler, so it has its numbers, as a guider has.
            parts[name] = getattr(diffusers, part.class_name)(**part.config)
        else:
            with mode:
                parts[name] = _build_network(part, dtype)
    parts |= {name: TextProcessor(NoTokenizer()) for name, part in family.components.items() if part.is_processor}
    pipeline = getattr(diffusers, family.pipeline_class)(**parts, **family.arguments)
    if hasattr(pipeline, "_prepare_ids"):
        # Of these Ideogram 4's network makes tables of all pairs of tokens, which are too large to be there with data.
        pipeline._prepare_ids = _run_within(mode, pipeline._prepare_ids)
    return cast(LatentDenoiser, _without_data(family.load_adapter())(pipeline, _condition(model, mode)))


def _run_within(mode: FakeTensorMode, make: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose results have no data."""

    def made(*arguments: Any, **keywords: Any) -> Any:
        with mode:
            return make(*arguments, **keywords)

    return made


def _build_network(part: PublishedComponent, dtype: torch.dtype) -> torch.nn.Module:
    network_class = getattr(diffusers, part.class_name, None) or getattr(transformers, part.class_name)
    if issubclass(network_class, transformers.PreTrainedModel):
        network = network_class(network_class.config_class(**part.config))
        kept = (network._keep_in_fp32_modules or ()) if dtype == torch.float16 else ()
    else:
        network, kept = network_class.from_config(part.config), network_class._keep_in_fp32_modules or ()
    # Weights that two modules share stay one.
    seen: dict[int, torch.Tensor] = {}
    for name, module in network.named_modules():
        _convert(module, torch.float32 if set(kept) & set(name.split(".")) else dtype, seen)
    for module in network.modules():
        if isinstance(module, MOEFeedForwardSwiGLU):
            module.forward = _spread_evenly(module)
    network.to = _moves(network)
    return cast(torch.nn.Module, network)


def _spread_evenly(experts: MOEFeedForwardSwiGLU) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a replacement of a layer of experts in which each gets an equal part of the tokens.

    To which experts a token goes depends on numbers, which are not there. How much memory the layer takes depends on
    how many tokens the experts get together, which is always the same.
    """

    def forward(tokens: torch.Tensor) -> torch.Tensor:
        _, weights, _ = experts.gate(tokens)
        flat = tokens.view(-1, tokens.shape[-1]).repeat_interleave(experts.num_activated_experts, dim=0)
        parts = [
            expert(part.clone()) for expert, part in zip(experts.experts, flat.chunk(len(experts.experts)), strict=True)
        ]
        chosen = (torch.cat(parts).view(*weights.shape, -1) * weights.unsqueeze(-1)).sum(dim=1)
        return chosen.view(tokens.shape).to(tokens.dtype) + experts.shared_experts(tokens)

    return forward


def _moves(network: torch.nn.Module) -> Callable[..., torch.nn.Module]:
    """Return a replacement of a network's `to`, which cannot exchange the data of tensors that have none."""

    def to(*arguments: Any, **keywords: Any) -> torch.nn.Module:
        for dtype in (*arguments, *keywords.values()):
            if isinstance(dtype, torch.dtype):
                seen: dict[int, torch.Tensor] = {}
                for module in network.modules():
                    _convert(module, dtype, seen)
        return network

    return to


def _convert(module: torch.nn.Module, dtype: torch.dtype, seen: dict[int, torch.Tensor]) -> None:
    """Give a module's own weights another type.

    seen:  what was made of weights before, by identity
    """
    for weights in (module._parameters, module._buffers):
        for name, weight in weights.items():
            if weight is None or not weight.is_floating_point() or weight.dtype == dtype:
                continue
            if id(weight) not in seen:
                converted = weight.detach().to(dtype)
                is_parameter = isinstance(weight, torch.nn.Parameter)
                seen[id(weight)] = torch.nn.Parameter(converted, requires_grad=False) if is_parameter else converted
            weights[name] = seen[id(weight)]  # type: ignore[assignment]


def _condition(model: PublishedModel, mode: FakeTensorMode) -> PromptEmbeds:
    """Return one condition of the shapes that an inversion starts from. Masks have data, as adapters look into them."""
    with mode:
        streams = {name: torch.zeros(1, *shape) for name, shape in model.streams.items()}
    extras: Mapping[str, torch.Tensor] = {
        **{name: torch.zeros(1, *shape) for name, shape in model.extras.items()},
        **{name: (torch.arange(tokens) < visible).long()[None] for name, tokens, visible in model.list_masks()},
    }
    free = {name: torch.ones(tokens, dtype=torch.bool) for name, (tokens, _) in model.streams.items()}
    return PromptEmbeds(streams, free, extras)


def _without_data(adapter: type[LatentDenoiser]) -> Any:
    """Return an adapter without what looks at numbers: the checks of weights and tokenizer, and the text encoding."""

    class MetaAdapter(adapter):  # type: ignore[misc, valid-type]
        def __init__(self, pipeline: Any, condition: PromptEmbeds) -> None:
            self._start = condition
            super().__init__(pipeline, "")

        def _refuse_weights(self, name: str, network: torch.nn.Module) -> None:
            pass

        def _refuse_tokenizer(self) -> None:
            pass

        def start_condition(self) -> PromptEmbeds:
            """Return the condition that was given."""
            return self._start

    return MetaAdapter
