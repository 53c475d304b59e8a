"""Programs that need a process of their own."""

import os
import subprocess
import sys


def run_python(program, **variables):
    """Run a program with these variables in its environment; gives the finished process."""
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
        timeout=120,
    )


def must_run(program, **variables):
    """Run a program that must end without an error."""
    finished = run_python(program, **variables)
    assert finished.returncode == 0, finished.stderr
