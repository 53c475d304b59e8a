"""The one table of how far attention results may be apart, and the comparer that reads it."""

import numpy as np

# (operation, dtype) -> (rtol, atol), for inputs of about unit size. The reference sums float32 in
# double precision, so these are the errors of the compiled sums alone. Results in 16
# bits differ by one rounding: 2**-11 of the value in float16, 2**-8 in bfloat16. uint16 holds the
# bits of bfloat16; a matrix unit rounds weights to bfloat16 as well: 2**-9 of the largest values.
TOLERANCES = {
    ("softmax", "float64"): (1e-13, 1e-15),
    ("softmax", "float32"): (1e-6, 1e-7),
    ("softmax", "float16"): (1e-3, 1e-4),
    ("softmax", "uint16"): (8e-3, 1e-4),
    ("self_attention", "float64"): (1e-12, 1e-13),
    ("self_attention", "float32"): (2e-5, 2e-6),
    ("self_attention", "float16"): (2e-3, 1e-3),
    ("self_attention", "uint16"): (8e-3, 1e-3),
    ("scaled_dot_product_attention", "float64"): (1e-12, 1e-13),
    ("scaled_dot_product_attention", "float32"): (2e-6, 2e-6),
    ("scaled_dot_product_attention", "float16"): (2e-3, 1e-3),
    ("scaled_dot_product_attention", "uint16"): (8e-3, 6e-3),
}


def assert_agrees(operation, dtype, actual, expected, slack=1.0):
    """Fail unless `actual` is an array of `dtype` equal to `expected` within `slack` of the table.

    NaN agrees with NaN only, infinity with the same infinity only.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    if str(np.dtype(dtype)) == "bfloat16":
        dtype, actual = np.uint16, actual.view(np.uint16)
        expected = expected.astype(np.float32)
    rtol, atol = (slack * bound for bound in TOLERANCES[operation, str(np.dtype(dtype))])
    assert actual.dtype == np.dtype(dtype), f"{operation}: dtype {actual.dtype}, not {dtype}"
    assert actual.shape == expected.shape, f"{operation}: shape {actual.shape}, {expected.shape}"
    actual, expected = (_numbers(array) for array in (actual, expected))
    np.testing.assert_allclose(
        actual.astype(np.float64),
        expected.astype(np.float64),
        rtol=rtol,
        atol=atol,
        equal_nan=True,
        err_msg=operation,
    )


def _numbers(array):
    if array.dtype == np.uint16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array
