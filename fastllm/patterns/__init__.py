"""Split patterns: the named ones, how others spell them, and what their Unicode classes mean."""
