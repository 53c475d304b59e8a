"""From documents to word counts, and ids to files: reading, safe cuts, counts, reports."""
