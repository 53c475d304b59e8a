"""Argument checks and their messages, shared by both backends: nothing is computed here."""
