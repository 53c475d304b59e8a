"""What readers of "Build a Large Language Model (From Scratch)" type in chapters 2, 3 and 4.

The same names, arguments and results as in S. Raschka's book (Manning, 2024), on NumPy arrays and
fastllm's backends instead of PyTorch:

================================================  ===========================================
chapter 2: `SimpleTokenizerV1`,                   words as tokens
`SimpleTokenizerV2`
`BPETokenizerSimple`                              byte-pair encoding, from the bonus material
`GPTDatasetV1`, `create_dataloader_v1`            sliding windows in batches
`Embedding`                                       vectors of tokens and of positions
chapter 3: `SelfAttention_v1`,                    attention with weights
`SelfAttention_v2`
`CausalAttention`                                 no position sees a later one
`MultiHeadAttentionWrapper`,                      several heads
`MultiHeadAttention`
chapter 4: `GPTModel`, `GPT_CONFIG_124M`,         all of it put together, untrained
`generate_text_simple`
PyTorch's: `manual_seed`, `rand`, `randn`,        the same numbers from the same seed
`randperm`, `Linear`, `Dropout`, `DataLoader`
================================================  ===========================================

Where the book has a tensor, write an array: ``np.array`` for ``torch.tensor``, ``np.stack`` for
``torch.stack``. `fastllm.softmax` and ``@`` do the rest. Nothing here can be trained: there are no
gradients.

``fastllm check-book`` recomputes what the book prints, on both backends.
"""

from fastllm.book.attention import (
    CausalAttention,
    MultiHeadAttention,
    MultiHeadAttentionWrapper,
    SelfAttention_v1,
    SelfAttention_v2,
)
from fastllm.book.bpe import BPETokenizerSimple
from fastllm.book.data_loading import DataLoader, GPTDatasetV1, create_dataloader_v1
from fastllm.book.gpt import (
    GELU,
    GPT_CONFIG_124M,
    FeedForward,
    GPTModel,
    LayerNorm,
    TransformerBlock,
    generate_text_simple,
)
from fastllm.book.layers import Dropout, Embedding, Linear
from fastllm.book.random_numbers import manual_seed, rand, randn, randperm
from fastllm.book.tokenizers import SimpleTokenizerV1, SimpleTokenizerV2

__all__ = [
    "GELU",
    "GPT_CONFIG_124M",
    "BPETokenizerSimple",
    "CausalAttention",
    "DataLoader",
    "Dropout",
    "Embedding",
    "FeedForward",
    "GPTDatasetV1",
    "GPTModel",
    "LayerNorm",
    "Linear",
    "MultiHeadAttention",
    "MultiHeadAttentionWrapper",
    "SelfAttention_v1",
    "SelfAttention_v2",
    "SimpleTokenizerV1",
    "SimpleTokenizerV2",
    "TransformerBlock",
    "create_dataloader_v1",
    "generate_text_simple",
    "manual_seed",
    "rand",
    "randn",
    "randperm",
]
