"""A machine without any vocabulary."""

import tempfile

import pytest

from fastllm.vocabularies import local_files, published


@pytest.fixture(autouse=True)
def empty_machine(tmp_path, monkeypatch):
    """No folder of this machine has a vocabulary, and none is remembered."""
    monkeypatch.delenv("FASTLLM_VOCAB_DIR", raising=False)
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    monkeypatch.delenv("DATA_GYM_CACHE_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(local_files, "PACKAGES", ())
    monkeypatch.setattr(local_files, "PACKAGED", {})
    for variable in ("XDG_CACHE_HOME", "HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    published._cached.cache_clear()
    yield
    published._cached.cache_clear()
