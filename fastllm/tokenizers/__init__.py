"""Tokenizers as users see them; no hot loop lives here."""
