"""The named split patterns: those written by hand, and those that models were published with."""

from fastllm.patterns import published
from fastllm.patterns.named import NAMED

PUBLISHED = {name: NAMED[name] for name in published.PUBLISHED}
SCANNED = {name: pattern for name, pattern in NAMED.items() if name not in PUBLISHED}
