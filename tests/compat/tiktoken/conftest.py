"""The encodings that tests ask for."""

import pytest
import tiktoken as theirs
from compat.tiktoken.encodings import settings_of

from fastllm.compat import tiktoken as ours


@pytest.fixture(scope="module", params=["small", "gaps", "cl100k", "o200k"])
def pair(request):
    """An encoding of ours, and theirs."""
    settings = settings_of(request.param)
    return ours.Encoding(request.param, **settings), theirs.Encoding(request.param, **settings)


@pytest.fixture(scope="module")
def gaps():
    return ours.Encoding("gaps", **settings_of("gaps"))


@pytest.fixture(scope="module")
def cl100k():
    return ours.Encoding("cl100k", **settings_of("cl100k"))
