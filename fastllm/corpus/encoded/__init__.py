"""A corpus as token ids: many inputs encoded into shards, and shards read as a dataset."""
