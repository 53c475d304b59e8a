"""The public functions: signatures, docstrings and checks, once for both backends."""
