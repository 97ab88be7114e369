"""A tiny model of Stable Diffusion 3's family and the span of its texts; the families with several streams of text."""

from typing import Any

import pytest

from imgaudit.diffusion.text_span import TextSpan, span_texts
from imgaudit.schema.protocol import SpanConfig
from tests.support.streams import ADAPTERS
from tests.support.tiny_transformers import adapt, make_sd3


@pytest.fixture(scope="package")
def denoiser() -> Any:
    return adapt(make_sd3())


@pytest.fixture(scope="package")
def span(denoiser: Any) -> TextSpan:
    return span_texts(denoiser, SpanConfig(texts=40, directions=12))


@pytest.fixture(params=ADAPTERS)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)
