"""What connects fastllm to other libraries, each module imported only by those who use it."""
