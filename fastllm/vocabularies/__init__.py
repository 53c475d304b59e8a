"""Published vocabularies: from a name to files, their hashes, the places to look, a tokenizer."""
