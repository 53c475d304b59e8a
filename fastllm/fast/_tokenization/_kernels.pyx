# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: freethreading_compatible=True
# distutils: language = c++
"""The compiled half of tokenization: one module, in five parts. C++ headers beside each part do the work on bytes.

    split/split.pxi             text -> pre-tokens
    normalize/normalize.pxi     text -> text
    encode/encode.pxi           text -> ids -> text
    encode/special_tokens.pxi   text -> text between special tokens
    train/train.pxi             texts -> words and their counts -> merges

The C++ of all five shares one table of character classes, filled here when the module is imported.
"""

include "normalize/normalize.pxi"
include "split/split.pxi"
include "encode/special_tokens.pxi"
include "encode/encode.pxi"
include "train/train.pxi"
