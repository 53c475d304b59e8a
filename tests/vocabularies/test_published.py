"""Published vocabularies: where their files are looked for, and what is refused."""

import base64
import hashlib
import http.server
import json
import re
import socketserver
import subprocess
import sys
import threading
from typing import ClassVar

import pooch
import pytest
import tiktoken_ext.openai_public
from vocabularies import published_ranks

import fastllm
from fastllm import get_encoding
from fastllm.formats.byte_level import to_characters
from fastllm.formats.tiktoken import read_tiktoken
from fastllm.patterns.named import NAMED, pattern_of_steps, split_pattern
from fastllm.vocabularies import open_vocabularies, published, published_files
from fastllm.vocabularies.open_vocabularies import OpenVocabulary
from fastllm.vocabularies.published_files import PublishedFile

BYTES = {bytes([byte]): byte for byte in range(256)}


def tiktoken_file(ranks):
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks.items())


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(autouse=True)
def empty_machine(tmp_path, monkeypatch):
    """No folder of this machine has a vocabulary, and none is remembered."""
    monkeypatch.delenv("FASTLLM_VOCAB_DIR", raising=False)
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    for variable in ("XDG_CACHE_HOME", "HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    published._cached.cache_clear()
    yield
    published._cached.cache_clear()


TOY = tiktoken_file(BYTES | {b"th": 256, b"the": 257})


@pytest.fixture
def toy(monkeypatch):
    """A vocabulary of 258 tokens, published where nobody answers."""
    file = PublishedFile("http://127.0.0.1:9/encodings/toy.tiktoken", sha256(TOY))
    encoding = published.Encoding("gpt2", ((file,),), {"<|end|>": 300})
    monkeypatch.setitem(published.ENCODINGS, "toy", encoding)
    return file


# Facts


@pytest.mark.parametrize("name", tiktoken_ext.openai_public.ENCODING_CONSTRUCTORS)
def test_facts_of_openai_encodings_are_those_of_tiktoken(name, monkeypatch):
    asked = set()

    def load(url, expected_hash):
        asked.add((url, expected_hash))
        return {}

    def load_pair(vocab_bpe_file, encoder_json_file, vocab_bpe_hash, encoder_json_hash):
        asked.update([(vocab_bpe_file, vocab_bpe_hash), (encoder_json_file, encoder_json_hash)])
        return {}

    monkeypatch.setattr(tiktoken_ext.openai_public, "load_tiktoken_bpe", load)
    monkeypatch.setattr(tiktoken_ext.openai_public, "data_gym_to_mergeable_bpe_ranks", load_pair)
    theirs = tiktoken_ext.openai_public.ENCODING_CONSTRUCTORS[name]()
    ours = published.ENCODINGS[name]
    assert asked in [{(file.url, file.sha256) for file in files} for files in ours.files]
    assert ours.special_tokens == theirs["special_tokens"]
    assert split_pattern(ours.pattern) == split_pattern(theirs["pat_str"])


def test_every_encoding_of_tiktoken_is_there_in_its_order():
    assert list(published.ENCODINGS) == list(tiktoken_ext.openai_public.ENCODING_CONSTRUCTORS)


def test_get_encoding_is_public():
    assert fastllm.get_encoding is published.get_encoding
    assert "get_encoding" in fastllm.__all__


# Reading ranks


@pytest.mark.parametrize(
    "data", [b"YQ== 0\nYg== 1\n", b"YQ== 0\nYg== 1", b"YQ== 0\r\nYg== 1\r\n", b"YQ== 0\n\nYg== 1\n"]
)
def test_ranks_are_read_whatever_ends_their_lines(data):
    assert read_tiktoken(data) == {b"a": 0, b"b": 1}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"YQ== 0\nYg==\n1 Yw== 2\n", "line 2 is not a token in base64, a space and a rank"),
        (b"YQ== 0\nYg==\t1\n", "line 2 is not a token"),
        (b"YQ== 0 Yg== 1\n", "line 1 is not a token"),
        (b"YQ== 0 \n", "line 1 is not a token"),
        (b"YQ== 1_0\n", "line 1 is not a token"),
        (b"YQ 0\n", "line 1 is not base64"),
        (b"YQ== 0\nYg== 0\n", "line 2 has the rank 0 of line 1 again"),
        (b"YQ== 0\nYQ== 1\n", "line 2 has the token b'a' of line 1 again"),
    ],
)
def test_a_wrong_line_of_ranks_is_found(data, message):
    with pytest.raises(ValueError, match=message):
        read_tiktoken(data)


# Looking for files


def test_a_folder_of_the_environment_is_looked_in_by_the_files_name(toy, tmp_path, monkeypatch):
    (tmp_path / "toy.tiktoken").write_bytes(TOY)
    monkeypatch.setenv("FASTLLM_VOCAB_DIR", str(tmp_path))
    tokenizer = get_encoding("toy")
    assert tokenizer.encode("the<|end|>", allowed_special="all") == [257, 300]
    assert tokenizer.pattern == "gpt2"


@pytest.mark.parametrize("variable", ["FASTLLM_VOCAB_DIR", "TIKTOKEN_CACHE_DIR"])
def test_a_cache_of_tiktokens_is_looked_in_by_the_hash_of_the_url(
    variable, toy, tmp_path, monkeypatch
):
    name = hashlib.sha1(toy.url.encode()).hexdigest()
    (tmp_path / name).write_bytes(TOY)
    monkeypatch.setenv(variable, str(tmp_path))
    assert get_encoding("toy").n_vocab == 301


def test_the_users_cache_is_looked_in(toy):
    folder = published_files.user_cache()
    folder.mkdir(parents=True)
    (folder / "toy.tiktoken").write_bytes(TOY)
    assert get_encoding("toy").encode("the") == [257]


def test_the_users_cache_is_where_pooch_would_put_it():
    assert published_files.user_cache() == pooch.os_cache("fastllm")


def test_folders_are_looked_in_in_order(toy, tmp_path, monkeypatch):
    for variable in ("FASTLLM_VOCAB_DIR", "TIKTOKEN_CACHE_DIR"):
        (tmp_path / variable).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / variable))
    (tmp_path / "TIKTOKEN_CACHE_DIR" / "toy.tiktoken").write_bytes(b"wrong")
    (tmp_path / "FASTLLM_VOCAB_DIR" / "toy.tiktoken").write_bytes(TOY)
    assert get_encoding("toy").encode("the") == [257]


def test_a_file_with_another_hash_is_refused_by_name(toy, tmp_path, monkeypatch):
    path = tmp_path / "toy.tiktoken"
    path.write_bytes(TOY.replace(b" 257", b" 258"))
    monkeypatch.setenv("FASTLLM_VOCAB_DIR", str(tmp_path))
    with pytest.raises(ValueError, match=re.escape(str(path))) as caught:
        get_encoding("toy")
    for part in (toy.url, toy.sha256, sha256(path.read_bytes())):
        assert part in str(caught.value)


def test_a_given_path_is_used_and_checked(toy, tmp_path):
    path = tmp_path / "any name"
    path.write_bytes(TOY)
    assert get_encoding("toy", path).encode("the") == [257]
    path.write_bytes(TOY + b"\n")
    with pytest.raises(ValueError, match="its SHA-256 is"):
        get_encoding("toy", path)


def test_gpt2_is_read_from_its_two_files_too(tmp_path, monkeypatch):
    characters = {to_characters(token): rank for token, rank in BYTES.items()}
    tokens = json.dumps(characters | {"th": 256, "the": 257, "<|endoftext|>": 258}).encode()
    merges = b"#version: 0.2\nt h\nth e\n"
    monkeypatch.setenv("FASTLLM_VOCAB_DIR", str(tmp_path))
    files = []
    for name, data in (("encoder.json", tokens), ("vocab.bpe", merges)):
        files.append(PublishedFile(f"http://127.0.0.1:9/{name}", sha256(data)))
        (tmp_path / name).write_bytes(data)
    ranks = PublishedFile("http://127.0.0.1:9/toy.tiktoken", sha256(TOY))
    encoding = published.Encoding("gpt2", ((ranks,), tuple(files)), {"<|endoftext|>": 258})
    monkeypatch.setitem(published.ENCODINGS, "toy", encoding)
    from_pair = get_encoding("toy")
    (tmp_path / "toy.tiktoken").write_bytes(TOY)
    published._cached.cache_clear()
    assert from_pair == get_encoding("toy")
    assert from_pair.mergeable_ranks == BYTES | {b"th": 256, b"the": 257}


def test_an_encoding_is_made_once(toy, tmp_path, monkeypatch):
    (tmp_path / "toy.tiktoken").write_bytes(TOY)
    monkeypatch.setenv("FASTLLM_VOCAB_DIR", str(tmp_path))
    assert get_encoding("toy") is get_encoding("toy")


# Downloading


class Publisher(http.server.BaseHTTPRequestHandler):
    answers: ClassVar = {}

    def do_GET(self):
        found = self.path in self.answers
        self.send_response(200 if found else 404)
        self.end_headers()
        self.wfile.write(self.answers.get(self.path, b""))

    def log_message(self, *arguments):
        pass


@pytest.fixture
def publisher(monkeypatch):
    """A web server on this machine; a function that publishes a file there."""
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(variable, "127.0.0.1")
    monkeypatch.setattr(Publisher, "answers", {})
    with socketserver.TCPServer(("127.0.0.1", 0), Publisher) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()

        def publish(data, digest):
            Publisher.answers["/toy.tiktoken"] = data
            url = f"http://127.0.0.1:{server.server_address[1]}/toy.tiktoken"
            encoding = published.Encoding("gpt2", ((PublishedFile(url, digest),),), {})
            monkeypatch.setitem(published.ENCODINGS, "toy", encoding)

        yield publish
        server.shutdown()
        thread.join()


def test_a_missing_file_is_downloaded_once_into_the_users_cache(publisher):
    publisher(TOY, sha256(TOY))
    assert get_encoding("toy").encode("the") == [257]
    assert (published_files.user_cache() / "toy.tiktoken").read_bytes() == TOY
    Publisher.answers.clear()
    published._cached.cache_clear()
    assert get_encoding("toy").encode("the") == [257]


def test_a_download_with_another_hash_is_refused_and_not_kept(publisher):
    publisher(TOY + b"\n", sha256(TOY))
    with pytest.raises(ValueError, match="hash"):
        get_encoding("toy")
    assert not (published_files.user_cache() / "toy.tiktoken").exists()


def check_not_found_error(caught, file):
    message = str(caught.value)
    for part in (file.name, file.url, file.sha256, "FASTLLM_VOCAB_DIR"):
        assert part in message
    assert str(published_files.user_cache()) in message


def test_offline_the_error_says_what_is_missing_and_where_to_put_it(toy, monkeypatch):
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(variable, "127.0.0.1")
    with pytest.raises(FileNotFoundError, match="downloading failed") as caught:
        get_encoding("toy")
    check_not_found_error(caught, toy)


def test_without_pooch_the_error_says_so_too(toy, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(FileNotFoundError, match="fastllm-kernels\\[vocab\\]") as caught:
        get_encoding("toy")
    check_not_found_error(caught, toy)


def test_importing_fastllm_does_not_import_pooch():
    code = "import fastllm, sys; assert not {'pooch', 'requests'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# Arguments


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("cl100k",), ValueError, "name must be one of gpt2, r50k_base, .*not 'cl100k'"),
        ((7,), TypeError, "name must be a str, not int"),
        (
            ("llama3",),
            ValueError,
            "llama3 is read from a local file: give path=, .*tokenizer.model",
        ),
        (("tekken",), ValueError, "tekken is read from a local file: give path=, .*tekken.json"),
        (("gpt2", "/nowhere"), FileNotFoundError, "/nowhere"),
        (("qwen2", "/nowhere"), FileNotFoundError, "/nowhere"),
    ],
)
def test_wrong_arguments_are_told(arguments, error, message):
    with pytest.raises(error, match=message):
        get_encoding(*arguments)


def test_a_wrong_missing_bytes_is_told():
    with pytest.raises(ValueError, match="missing_bytes must be one of raise, drop, not 'keep'"):
        get_encoding("gpt2", missing_bytes="keep")


# Special tokens that share an id


def test_harmony_has_two_tokens_of_one_id(tmp_path, monkeypatch):
    (tmp_path / "o200k_base.tiktoken").write_bytes(tiktoken_file(published_ranks("o200k_base")))
    monkeypatch.setenv("FASTLLM_VOCAB_DIR", str(tmp_path))
    harmony = get_encoding("o200k_harmony")
    assert harmony.n_vocab == 201088
    assert len(harmony.special_tokens) == 1091
    text = "<|reserved_200018|><|endofprompt|><|start|>"
    assert harmony.encode(text, allowed_special="all") == [200018, 200018, 200006]
    assert harmony.decode([200018]) == "<|endofprompt|>"


# Open vocabularies, by small stand-ins of the same shape


def write_json(path, tokens, merges, pattern, added, post_processor=None):
    rules = NAMED[pattern]
    splits = [
        {"type": "Split", "pattern": {"Regex": step}, "behavior": "Isolated", "invert": False}
        for step in rules.steps
    ]
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": False,
    }
    model = {
        "type": "BPE",
        "vocab": tokens,
        "merges": [list(merge) for merge in merges],
        "ignore_merges": False,
    }
    content = {
        "version": "1.0",
        "added_tokens": [{"id": n, "content": t, "special": s} for t, n, s in added],
        "normalizer": {"type": "NFC"} if rules.normalization else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*splits, byte_level]},
        "post_processor": post_processor,
        "decoder": None,
        "model": model,
    }
    path.write_text(json.dumps(content), encoding="utf-8")


SMALL = {to_characters(token): rank for token, rank in BYTES.items()} | {"th": 256}


@pytest.fixture
def small(monkeypatch):
    """Shapes of 257 ordinary tokens under the real names."""

    def shrink(name, has):
        real = open_vocabularies.OPEN_VOCABULARIES[name]
        shape = OpenVocabulary(real.file, real.pattern, 257, has)
        monkeypatch.setitem(open_vocabularies.OPEN_VOCABULARIES, name, shape)

    return shrink


@pytest.mark.parametrize("name", ["llama3", "qwen3", "deepseek-v3", "smollm2"])
def test_a_tokenizer_json_of_the_right_shape_is_read(name, small, tmp_path):
    small(name, {"<s>": 257})
    path = tmp_path / "tokenizer.json"
    pattern = open_vocabularies.OPEN_VOCABULARIES[name].pattern
    write_json(path, SMALL, [("t", "h")], pattern, [("<s>", 257, True), ("<a>", 258, False)])
    tokenizer = get_encoding(name, path)
    assert tokenizer.split_pattern == NAMED[pattern]
    assert tokenizer.encode("th<s><a>", allowed_special="all") == [256, 257, 258]


@pytest.mark.parametrize(
    ("pattern", "added", "message"),
    [
        ("gpt2", [("<s>", 257, True)], "this is not qwen2: it splits text by gpt2, not by qwen2"),
        ("qwen2", [], "this is not qwen2: '<s>' is missing and should have id 257"),
        ("qwen2", [("<t>", 257, True), ("<s>", 258, True)], "'<s>' has id 258 and should have"),
    ],
)
def test_a_tokenizer_json_of_another_shape_is_refused(pattern, added, message, small, tmp_path):
    small("qwen2", {"<s>": 257})
    path = tmp_path / "tokenizer.json"
    write_json(path, SMALL, [("t", "h")], pattern, added)
    with pytest.raises(ValueError, match=message) as caught:
        get_encoding("qwen2", path)
    assert str(path) in str(caught.value)


def test_a_file_with_another_number_of_tokens_is_refused(tmp_path):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(TOY)
    with pytest.raises(ValueError, match="this is not llama3: it has 258 ordinary tokens, not 128"):
        get_encoding("llama3", path)


def test_what_a_post_processor_would_add_is_not_added(small, tmp_path):
    small("llama3", {"<s>": 257})
    path = tmp_path / "tokenizer.json"
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}],
        "pair": [],
        "special_tokens": {},
    }
    write_json(path, SMALL, [("t", "h")], "llama3", [("<s>", 257, True)], template)
    assert get_encoding("llama3", path).encode("th") == [256]


def test_line_ends_and_quotation_marks_of_a_pattern_may_be_spelled_otherwise():
    steps = NAMED["deepseek-v3"].steps
    spelled = tuple(
        step.replace(r"\r", "\r").replace(r"\n", "\n").replace(r"\"", '"') for step in steps
    )
    assert spelled != steps
    assert pattern_of_steps(spelled) == NAMED["deepseek-v3"]


def synthetic_ranks(count):
    """As many different tokens as a real file has; most are of no use."""
    longer = (b"%06x" % number for number in range(count - 256))
    return BYTES | {token: rank for rank, token in enumerate(longer, 256)}


@pytest.mark.parametrize(
    ("name", "count", "tokens"),
    [
        ("llama3", 128_000, {"<|eot_id|>": 128_009, "<|reserved_special_token_245|>": 128_255}),
        ("qwen2", 151_643, {"<|im_end|>": 151_645}),
        ("qwen2.5", 151_643, {"<|video_pad|>": 151_656, "<|file_sep|>": 151_664}),
        ("qwen3", 151_643, {"<think>": 151_667, "</think>": 151_668}),
    ],
)  # fmt: skip
def test_a_file_of_ranks_gets_the_tokens_it_does_not_name(name, count, tokens, tmp_path):
    path = tmp_path / "ranks"
    path.write_bytes(tiktoken_file(synthetic_ranks(count)))
    tokenizer = get_encoding(name, path)
    for text, number in tokens.items():
        assert tokenizer.encode(f"a{text}", allowed_special="all") == [97, number]
    assert tokenizer.max_token_value == max(tokens.values())


# Tekken


def tekken(size=262, specials=5, vocab=None, listed=None, **config):
    tokens = [*BYTES, b"th", b"the", b"cut off"] if vocab is None else vocab
    content = {
        "config": {
            "pattern": r"\p{L}+|\p{N}|[^\p{L}\p{N}]+",
            "default_vocab_size": size,
            "default_num_special_tokens": specials,
            **config,
        },
        "vocab": [
            {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
            for rank, token in enumerate(tokens)
        ],
    }
    return content if listed is None else content | {"special_tokens": listed}


def read(tmp_path, content):
    path = tmp_path / "tekken.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return get_encoding("tekken", path)


def test_tekken_numbers_special_tokens_first_and_cuts_its_vocabulary_off(tmp_path):
    tokenizer = read(tmp_path, tekken(size=263))
    assert tokenizer.n_vocab == 263
    assert tokenizer.encode("the<s>", allowed_special="all") == [262, 1]
    assert b"cut off" not in tokenizer.mergeable_ranks
    assert tokenizer.decode([262, 4]) == "the[/INST]"


def test_tekken_fills_up_special_tokens_that_have_no_name(tmp_path):
    names = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    listed = [{"rank": rank, "token_str": name} for rank, name in enumerate(names)]
    tokenizer = read(tmp_path, tekken(size=264, specials=7, listed=listed))
    assert list(tokenizer.special_tokens) == [*names, "<SPECIAL_5>", "<SPECIAL_6>"]
    assert tokenizer.encode("a") == [104]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], 'not a tekken.json: no "config" in it'),
        (tekken(pattern=None), "pattern is None, not a regular expression"),
        (tekken(size="9"), "default_vocab_size is '9', not a number"),
        (tekken(size=999), "vocab should list at least 994 tokens, but lists 259"),
        (tekken(vocab=[b"a", b"a"], size=7), "entry 1 of vocab is b'a', like entry 0"),
        (tekken() | {"vocab": [{"rank": 1, "token_bytes": "YQ=="}] * 999}, "entry 0 .* has rank 1"),
        (tekken() | {"vocab": [{"rank": 0, "token_bytes": "Y"}] * 999}, "entry 0 .* not a token"),
        (tekken(listed=[{"rank": 3, "token_str": "<s>"}]), "should list different tokens ranked"),
        (tekken(listed=[7]), "special_tokens is not a list of tokens"),
        (tekken(listed=[]), "this is not tekken: '<unk>' is missing and should have id 0"),
    ],
)
def test_a_wrong_tekken_file_is_refused(content, message, tmp_path):
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, content)
    assert str(tmp_path) in str(caught.value)


def test_a_tekken_file_that_is_not_json_is_refused(tmp_path):
    (tmp_path / "tekken.json").write_bytes(b"\xff{")
    with pytest.raises(ValueError, match="not JSON"):
        get_encoding("tekken", tmp_path / "tekken.json")
