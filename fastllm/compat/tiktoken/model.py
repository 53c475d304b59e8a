"""Which encoding each model of OpenAI's uses."""

from fastllm.compat.tiktoken.core import Encoding
from fastllm.compat.tiktoken.registry import get_encoding

MODEL_PREFIX_TO_ENCODING = {
    **dict.fromkeys(("o1-", "o3-", "o4-mini-"), "o200k_base"),
    **dict.fromkeys(("gpt-5", "gpt-4.5-", "gpt-4.1-", "chatgpt-4o-", "gpt-4o-"), "o200k_base"),
    **dict.fromkeys(("gpt-4-", "gpt-3.5-turbo-", "gpt-35-turbo-"), "cl100k_base"),
    "gpt-oss-": "o200k_harmony",
    "ft:gpt-4o": "o200k_base",
    **dict.fromkeys(("ft:gpt-4", "ft:gpt-3.5-turbo"), "cl100k_base"),
    **dict.fromkeys(("ft:davinci-002", "ft:babbage-002"), "cl100k_base"),
}

MODEL_TO_ENCODING = {
    **dict.fromkeys(("o1", "o3", "o4-mini", "gpt-5", "gpt-4.1", "gpt-4o"), "o200k_base"),
    **dict.fromkeys(("gpt-4", "gpt-3.5-turbo", "gpt-3.5", "gpt-35-turbo"), "cl100k_base"),
    **dict.fromkeys(("davinci-002", "babbage-002"), "cl100k_base"),
    **dict.fromkeys(
        ("text-embedding-ada-002", "text-embedding-3-small", "text-embedding-3-large"),
        "cl100k_base",
    ),
    **dict.fromkeys(("text-davinci-003", "text-davinci-002"), "p50k_base"),
    **dict.fromkeys(
        ("text-davinci-001", "text-curie-001", "text-babbage-001", "text-ada-001"), "r50k_base"
    ),
    **dict.fromkeys(("davinci", "curie", "babbage", "ada"), "r50k_base"),
    **dict.fromkeys(
        ("code-davinci-002", "code-davinci-001", "code-cushman-002", "code-cushman-001"),
        "p50k_base",
    ),
    **dict.fromkeys(("davinci-codex", "cushman-codex"), "p50k_base"),
    **dict.fromkeys(("text-davinci-edit-001", "code-davinci-edit-001"), "p50k_edit"),
    **{
        f"text-similarity-{model}-001": "r50k_base"
        for model in ("davinci", "curie", "babbage", "ada")
    },
    **{
        f"text-search-{model}-doc-001": "r50k_base"
        for model in ("davinci", "curie", "babbage", "ada")
    },
    **{f"code-search-{model}-code-001": "r50k_base" for model in ("babbage", "ada")},
    **dict.fromkeys(("gpt2", "gpt-2"), "gpt2"),
}


def encoding_name_for_model(model_name: str) -> str:
    """The name of the encoding that a model uses.

    Parameters
    ----------
    model_name : str
        Names of dated and fine-tuned models are known by how they begin, whether or not there is
        such a model.

    Raises
    ------
    KeyError
        If the model is not known.

    Examples
    --------
    >>> encoding_name_for_model("gpt-4o"), encoding_name_for_model("gpt-4-0314")
    ('o200k_base', 'cl100k_base')
    """
    if model_name in MODEL_TO_ENCODING:
        return MODEL_TO_ENCODING[model_name]
    for prefix, encoding_name in MODEL_PREFIX_TO_ENCODING.items():
        if model_name.startswith(prefix):
            return encoding_name
    raise KeyError(
        f"Could not automatically map {model_name} to a tokeniser. Please use "
        "`get_encoding` to explicitly get the tokeniser you expect."
    )


def encoding_for_model(model_name: str) -> Encoding:
    """The encoding that a model uses; a KeyError if the model is not known."""
    return get_encoding(encoding_name_for_model(model_name))
