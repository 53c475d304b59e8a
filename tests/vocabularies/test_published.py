"""Published vocabularies: where their files are looked for, and what is refused."""

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
from vocabularies import BYTES, TOY, published_ranks, tiktoken_file

import fastllm
from fastllm import get_encoding
from fastllm.formats.byte_level import to_characters
from fastllm.formats.tiktoken import read_tiktoken
from fastllm.patterns.named import split_pattern
from fastllm.vocabularies import openai_encodings, published, published_files
from fastllm.vocabularies.published_files import PublishedFile


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def toy(monkeypatch):
    """A vocabulary of 258 tokens, published where nobody answers."""
    file = PublishedFile("http://127.0.0.1:9/encodings/toy.tiktoken", sha256(TOY))
    encoding = openai_encodings.Encoding("gpt2", ((file,),), {"<|end|>": 300})
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
    encoding = openai_encodings.Encoding("gpt2", ((ranks,), tuple(files)), {"<|endoftext|>": 258})
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
            encoding = openai_encodings.Encoding("gpt2", ((PublishedFile(url, digest),),), {})
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
