"""The fastllm command.

`commands` holds the commands, `options` what they share, `app` how they end, `files` how they read
and write, `progress`, `tables` and `demo_view` how things look on a terminal. Only `main` is here:
it says what to install where typer and rich are missing.
"""

import sys


def main() -> None:
    """Run the command line; ends the process with its exit code."""
    try:
        from fastllm.cli.commands import app
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        sys.exit("the command line needs typer and rich: pip install 'fastllm-kernels[cli]'")
    except KeyboardInterrupt:
        sys.exit(130)
    app(prog_name="fastllm")
