"""Vocabulary files: one file a format, each read into and written from the record `Vocabulary`.

`files` lists the formats, knows a file by what it holds, and chooses by its name how to write one.
"""
