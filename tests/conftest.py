"""One fixture per topic over both backends; a missing backend is a failure, never a skip."""

import importlib
import os
import warnings
from importlib.util import find_spec

import pytest
from hypothesis import settings

# Before anything imports NumPy and PyTorch: threads of their libraries wait busily for the next
# product, beside tests that run at the same time; attention on long inputs took five times as long.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


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
        config.option.loadscopereorder = False  # `pytest_collection_modifyitems` has put them


# What breaks first comes first: twins that differ, then facts and the reference. What takes long,
# attention and whole files of ids, is begun before all the rest, which is short and fills the end.
ORDER = (
    "tests/backends",
    "tests/split/test_",
    "tests/bpe/test_",
    "tests/attention/test_facts",
    "fastllm/reference",
    "tests/attention",
    "tests/bpe",
    "tests/split",
    "tests/docs",
    "tests/explain",
    "tests/book",
    "tests/cli",
    "tests",
)


def pytest_collection_modifyitems(items):
    """Order the files by `ORDER`."""
    items.sort(key=lambda item: [item.nodeid.startswith(place) for place in ORDER], reverse=True)


settings.register_profile("fastllm", deadline=None, derandomize=True, max_examples=100)
settings.load_profile("fastllm")

# Without the extension (FASTLLM_BUILD_EXT=skip) only the reference exists: the leg that tests such
# a build says so out loud, so that a missing extension can never hide as a shorter run.
BACKENDS = os.environ.get("FASTLLM_TEST_BACKENDS", "reference,fast").split(",")
if "fast" not in BACKENDS:  # which this process and those it starts need not be warned of
    os.environ.setdefault("PYTHONWARNINGS", "ignore:tokenizers encode:RuntimeWarning")
    with warnings.catch_warnings(action="ignore"):
        importlib.import_module("fastllm")
# A folder of such a name holds what needs this, and is left out where it is not to be had.
NEEDED = {
    "fast": "fast" in BACKENDS,
    "torch": find_spec("torch") is not None,
    "sentencepiece": find_spec("sentencepiece") is not None,
    "transformers": find_spec("transformers") is not None,
    "ray": find_spec("ray") is not None,
    "pyinstaller": find_spec("PyInstaller") is not None,
    "_pyinstaller": find_spec("PyInstaller") is not None,
}


class LeftOut:
    """Leaves out what `NEEDED` says. As a hook of this file it would see the tests only."""

    def pytest_ignore_collect(self, collection_path):
        return True if not NEEDED.get(collection_path.name, True) else None


def pytest_configure(config):
    config.pluginmanager.register(LeftOut())


@pytest.fixture(params=BACKENDS)
def bpe_backend(request):
    """The byte-pair module of each backend in turn."""
    name = {"reference": "fastllm.reference.tokenization", "fast": "fastllm.fast.tokenization"}
    return importlib.import_module(name[request.param])


@pytest.fixture(params=["reference", "fast"])
def attention_backend(request):
    """The attention module of each backend in turn."""
    return importlib.import_module(f"fastllm.{request.param}.attention")


@pytest.fixture
def bpe_tokenizer(bpe_backend):
    """`BPETokenizer` on each backend in turn."""
    tokenizer = importlib.import_module("fastllm").BPETokenizer
    return type("BPETokenizer", (tokenizer,), {"_bpe": bpe_backend})


@pytest.fixture
def matrix_unit(monkeypatch):
    """Calls that would be multiplied by a matrix unit are; without the JIT, NumPy does the same."""
    kernels = importlib.import_module("fastllm.fast._attention.kernels")
    inputs = importlib.import_module("attention.inputs")
    compiled = os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")
    usable = not compiled or kernels.amx_available()
    monkeypatch.setattr(kernels, "amx_available", lambda: usable)
    inputs.forget_plans()
    yield
    inputs.forget_plans()
