"""Pipelines whose prompts are a chat model's: filled into its template for conversations, and read with it."""

from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any, cast

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.transformer import TransformerDenoiser
from imgaudit.models.files.inspection import AGAIN

ANY_PROMPT = "\ue000"
"""A character that no template has: it stands for the prompt where one is looked for."""


class ChatTextDenoiser(TransformerDenoiser):
    """A pipeline that fills prompts into the template that its tokenizer brings, and cuts the whole at a length."""

    max_sequence_length = 512

    def __init__(self, pipeline: Any, fingerprint: str, device: Any = "cpu") -> None:
        """Freeze a pipeline and move it to a device.

        Raises ModelRefusedError as the other transformers do, and for a template that leaves no room for a prompt.
        """
        super().__init__(pipeline, fingerprint, device)
        self._refuse_tokenizer()

    def _refuse_tokenizer(self) -> None:
        if ANY_PROMPT not in self._fill_in(ANY_PROMPT):
            raise ModelRefusedError(f"the tokenizer's chat template leaves out the prompt; {AGAIN}")
        if self._tokens_before >= self.max_sequence_length:
            raise ModelRefusedError(
                f"the tokenizer makes {self._tokens_before:,} tokens of the chat template before a prompt, but the "
                f"text encoder reads {self.max_sequence_length:,} in all"
            )

    @abstractmethod
    def _fill_in(self, prompt: str) -> str:
        """Return a prompt within the template, as the pipeline fills it in."""

    def _fill_in_as_user(self, content: Any, **settings: Any) -> str:
        """Return a prompt as what a user says to a model that is about to answer.

        content:   the prompt as the pipeline hands it to the template: itself, or a list of parts
        settings:  of the template
        """
        filled = self.pipeline.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True, **settings
        )
        return cast(str, filled)

    @cached_property
    def _tokens_before(self) -> int:
        """Tokens of the template before the prompt; those after it are the first that are cut."""
        before, _, _ = self._fill_in(ANY_PROMPT).partition(ANY_PROMPT)
        return len(self.pipeline.tokenizer(before, add_special_tokens=False).input_ids)

    def _text_lengths(self) -> Mapping[str, tuple[Any, int]]:
        tokenizer = self.pipeline.tokenizer
        # A prompt is counted with the special tokens that the tokenizer puts around any text; templates have their own.
        length = self.max_sequence_length - self._tokens_before + int(tokenizer.num_special_tokens_to_add())
        return {"text_encoder": (tokenizer, length)}
