"""`python -m fastllm` is the fastllm command."""

from fastllm.cli import main

if __name__ == "__main__":
    main()
