"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def replacing(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file that takes the place of `path` only when the block ends well.

    What is written goes to a temporary file in the same folder, since a rename is atomic only
    within one file system. On an error, a full disk and Ctrl-C included, the temporary file is
    removed and `path` is as it was. Text is written as UTF-8 with bare newlines.

    Parameters
    ----------
    path : path
        A symbolic link keeps pointing where it points. What is not a regular file (``/dev/null``, a
        pipe) is written directly.
    mode : {"w", "wb"}

    Raises
    ------
    OSError
        As `open` raises it, naming `path`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder, "a.txt")) as file:
    ...         _ = file.write("hello")
    ...     [(found.name, found.read_text()) for found in Path(folder).iterdir()]
    [('a.txt', 'hello')]
    """
    target = Path(os.path.realpath(path))
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    if target.exists() and not target.is_file():
        with open(target, mode, **text) as file:  # type: ignore[call-overload]
            yield file
        return
    temporary = target.with_name(f".{target.name}.{os.urandom(4).hex()}.part")
    try:
        with open(temporary, mode.replace("w", "x"), **text) as file:  # type: ignore[call-overload]
            yield file
        if target.exists():
            temporary.chmod(target.stat().st_mode & 0o7777)
        os.replace(temporary, target)
    except OSError as error:
        if error.filename in (None, temporary, str(temporary)):
            # A full disk has no name, and nobody knows the temporary one.
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
