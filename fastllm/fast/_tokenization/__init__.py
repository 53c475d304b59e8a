"""Tokenization in C++ and Cython: split, encode, train. What was tried is in NOTES.md."""
