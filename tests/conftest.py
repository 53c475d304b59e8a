"""One fixture per topic over both backends; a missing backend is a failure, never a skip."""

import importlib
import importlib.util
import os

import pytest
from hypothesis import settings

from fastllm import BPETokenizer


def pytest_cmdline_main(config):
    """Run the whole suite on all processors, each file on one: what it has compiled stays there."""
    processors = os.cpu_count() or 1
    whole = config.option.file_or_dir in ([], ["tests"])
    if hasattr(config, "workerinput"):  # one of those processes
        return
    if whole and processors > 1 and getattr(config.option, "numprocesses", 0) is None:
        config.option.numprocesses = processors
        config.option.tx = ["popen"] * processors
        config.option.dist = "loadfile"


settings.register_profile("fastllm", deadline=None, derandomize=True, max_examples=100)
settings.load_profile("fastllm")

# Without the extension (FASTLLM_BUILD_EXT=skip) only the reference exists: the leg that tests such
# a build says so out loud, so that a missing extension can never hide as a shorter run.
BACKENDS = os.environ.get("FASTLLM_TEST_BACKENDS", "reference,fast").split(",")
collect_ignore = []
if "fast" not in BACKENDS:
    collect_ignore += [
        "attention/fuzz_attention.py",
        "backends/test_choice.py",
        "backends/test_parity.py",
        "bpe/fuzz_encode.py",
        "bpe/test_count_words.py",
        "bpe/test_encode_agreement.py",
        "bpe/test_encode_isa.py",
        "bpe/test_train_agreement.py",
        "bpe/test_train_rivals.py",
        "split/fuzz_split.py",
        "split/test_agreement.py",
        "split/test_isa.py",
    ]
# What needs a library of its own is tested where that is installed.
if importlib.util.find_spec("torch") is None:
    collect_ignore += ["integrations/test_torch.py", "integrations/test_transformers_attention.py"]
elif importlib.util.find_spec("transformers") is None:
    collect_ignore += ["integrations/test_transformers_attention.py"]
if importlib.util.find_spec("transformers") is None:
    collect_ignore += ["integrations/test_transformers.py"]


@pytest.fixture(params=BACKENDS)
def bpe_backend(request):
    """The byte-pair module of each backend in turn."""
    name = {"reference": "fastllm.reference.bpe", "fast": "fastllm.fast.tokenization"}
    return importlib.import_module(name[request.param])


@pytest.fixture(params=["reference", "fast"])
def attention_backend(request):
    """The attention module of each backend in turn."""
    return importlib.import_module(f"fastllm.{request.param}.attention")


@pytest.fixture
def bpe_tokenizer(bpe_backend):
    """`BPETokenizer` on each backend in turn."""
    return type("BPETokenizer", (BPETokenizer,), {"_bpe": bpe_backend})


@pytest.fixture
def matrix_unit(monkeypatch):
    """Calls that would be multiplied by a matrix unit are; without the JIT, NumPy does the same."""
    kernels = importlib.import_module("fastllm.fast._attention.kernels.prefill")
    attention = importlib.import_module("fastllm.fast.attention")
    compiled = os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")
    usable = not compiled or kernels.matrices_usable()
    monkeypatch.setattr(kernels, "matrices_usable", lambda: usable)
    attention._plan.cache_clear()
    yield
    attention._plan.cache_clear()
