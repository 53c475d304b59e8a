"""Traces as HTML. Importing this registers a view of each with `fastllm.explain.render`."""

from fastllm.explain.views import attention, journey, merges, patterns, speed, tokens, training

__all__ = ["attention", "journey", "merges", "patterns", "speed", "tokens", "training"]
