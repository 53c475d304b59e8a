"""Kernels where Python has no source files, as in some frozen programs: right, and never stale."""

import sys

import pytest

from fastllm.fast._attention.runtime import jit, kernel_cache


@pytest.fixture
def without_sources(tmp_path, monkeypatch):
    # What is compiled from is looked for where this file says it is: in an archive, or nowhere.
    elsewhere = tmp_path / "archive" / "runtime" / "kernel_cache.py"
    monkeypatch.setattr(kernel_cache, "__file__", str(elsewhere))
    kernel_cache.version_name.cache_clear()
    yield
    kernel_cache.version_name.cache_clear()


@pytest.mark.usefixtures("without_sources")
def test_kernels_without_sources_are_not_kept():
    def double(x):
        return 2 * x

    kernel = jit.jit(double)
    assert kernel(3) == 6
    assert kernel.stats.cache_path is None


@pytest.mark.usefixtures("without_sources")
def test_kernels_of_frozen_programs_are_told_apart_by_the_program(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    names = set()
    for content in ("one", "another", "another"):
        program = tmp_path / content
        if not program.exists():
            program.write_text(content)
        monkeypatch.setattr(sys, "executable", str(program))
        kernel_cache.version_name.cache_clear()
        names.add(kernel_cache.version_name())
    assert len(names) == 2
