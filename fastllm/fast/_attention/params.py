"""What the kernels of attention are told about their arrays, and where in which table it stands."""

# Rows of `places`, the first element of each head, and of `strides`, (row, column).
QUERY, KEY, VALUE, MASK, OUT, LSE = range(6)
# Rows of `lengths`, one column per unit: the heads that share keys and values in one sequence.
Q_LEN, KV_LEN = 0, 1
# Entries of `sizes`. With LEFT and RIGHT, query i sees the keys i - LEFT to i + RIGHT, counted from
# the top left corner or, with BOTTOM_RIGHT 1, from the other one. MOST_ROWS is the largest number
# of queries of a unit, counted over its heads. `attend` takes BLOCK keys and SPAN rows at a time;
# `attend_few` splits the keys into SPLITS pieces.
(
    HEAD_DIM,
    VALUE_DIM,
    GROUP,
    MOST_ROWS,
    LEFT,
    RIGHT,
    BOTTOM_RIGHT,
    MASKED,
    BLOCK,
    SPLITS,
    SPAN,
) = range(11)
# Values of sizes[MASKED]: no mask, booleans (in `keep`) or numbers to add (in `bias`).
NO_MASK, KEEP_MASK, BIAS_MASK = 0, 1, 2
# Entries of `numbers`; a softcap of 0 is none.
SCALE, SOFTCAP = 0, 1
# Entries of `counter`, which the threads of one call share: the next item of the work, and whether
# results came out as NaN or infinite.
NEXT, STRANGE = 0, 1
