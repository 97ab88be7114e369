"""The part of a Qwen-VL processor that prompts pass through: its tokenizer, and none of what reads images."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any


class NoTokenizer:
    """The tokenizer of models that are built without text: it makes nothing of any."""

    def __call__(self, text: str) -> Any:
        """Return no tokens."""
        return SimpleNamespace(input_ids=[])

    def encode(self, text: str) -> list[int]:
        """Return a single token, whatever it is asked for."""
        return [0]


class TextProcessor:
    """A processor for pipelines that are given text alone.

    What reads images and films is not loaded. A processor's template of conversations is a program that the model
    brings, so it is never run: the one message that a pipeline asks for is written as Qwen's own template writes it.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __call__(self, text: Sequence[str], images: None = None, videos: None = None, **options: Any) -> Any:
        """Return the tokens of texts as the tokenizer does with the same options; images and videos are always None."""
        return self.tokenizer(list(text), **options)

    def decode(self, tokens: Any) -> str:
        """Return the text of tokens."""
        return str(self.tokenizer.decode(tokens))

    def apply_chat_template(self, conversation: Sequence[Mapping[str, Any]], **options: Any) -> list[list[int]]:
        """Return the tokens of a conversation, as a batch of one.

        conversation:  messages with a "role", and under "content" a list of parts with a "text" each
        options:       tokenize and return_dict, as pipelines set them; there is one form of answer
        """
        turns = (
            f"<|im_start|>{message['role']}\n{''.join(part['text'] for part in message['content'])}<|im_end|>\n"
            for message in conversation
        )
        return [self.tokenizer("".join(turns)).input_ids]
