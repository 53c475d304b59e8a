"""Doors to other libraries, each imported only by who opens it."""
