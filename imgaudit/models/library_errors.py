"""Errors that the libraries raise on untrusted files, as refusals of one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from imgaudit.exceptions import ImgauditError, ModelRefusedError


@contextmanager
def refuse_errors(what: str) -> Iterator[None]:
    """Turn whatever the libraries raise on untrusted files into ModelRefusedError with a message of one line."""
    try:
        yield
    except ImgauditError:
        raise
    except BaseException as error:
        # A panic in the tokenizers' or safetensors' Rust code is no Exception, and has no public name.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = "".join(letter if letter.isprintable() else " " for letter in str(error))
        raise ModelRefusedError(f"{what}: {type(error).__name__}: {' '.join(reason.split())[:400]}") from error
