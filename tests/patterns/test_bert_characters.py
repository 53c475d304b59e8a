from importlib.resources import files

import pytest
from patterns import generate_bert_characters


@pytest.mark.sweep
def test_bert_characters_are_what_the_generator_gives(capsys):
    generate_bert_characters.main()
    written = files("fastllm.patterns").joinpath("bert_characters.py").read_text()
    assert capsys.readouterr().out == written
