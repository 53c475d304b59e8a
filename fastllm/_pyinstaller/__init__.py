"""What PyInstaller has to know to freeze a program that uses fastllm; it finds this by itself.

The entry point ``pyinstaller40`` of the package (`pyproject.toml`) names `hook_folders`; in there,
`hook-fastllm.py` says what no import statement tells.
"""

from pathlib import Path


def hook_folders() -> list[str]:
    """Where hooks are.

    >>> [Path(folder).name for folder in hook_folders()]
    ['_pyinstaller']
    """
    return [str(Path(__file__).parent)]
