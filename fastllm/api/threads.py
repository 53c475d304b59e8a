"""How many threads a call may use that is not told so by an argument of its own."""

import math
import os
import time
from collections.abc import Callable, Mapping

from fastllm.api.cpu_quota import cpu_quota
from fastllm.checks.tokenization import check_integer

VARIABLE = "FASTLLM_NUM_THREADS"
# Variables that other libraries follow: more threads than they say are never taken by default.
OTHER_VARIABLES = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
# A process may be given other processors, or another quota, while it runs: looked for this often.
_REFRESH_SECONDS = 1.0


def set_num_threads(n: int | None) -> None:
    """Set how many threads fastllm uses at most, in the whole process, from the next call on.

    It holds for attention and for what works on many texts (`BPETokenizer.encode_batch`,
    `count_words` and training), where the argument `threads` comes first. Small calls use one
    thread, and the reference always does. Results do not depend on it.

    Parameters
    ----------
    n : int or None
        At least 1; no more threads are used than the machine has processors. None goes back to the
        default: the number in the variable ``FASTLLM_NUM_THREADS``, read when fastllm is imported;
        else as many as `get_num_threads` says.

    Raises
    ------
    TypeError
        If `n` is not an integer.
    ValueError
        If `n` is less than 1.

    Examples
    --------
    >>> import fastllm
    >>> fastllm.set_num_threads(1)
    >>> fastllm.get_num_threads()
    1
    >>> fastllm.set_num_threads(None)
    """
    global _told
    _told = _from_variable if n is None else _bounded(check_integer(n, "n", 1))


def get_num_threads() -> int:
    """How many threads fastllm uses at most.

    Returns
    -------
    int
        The number that `set_num_threads` or ``FASTLLM_NUM_THREADS`` gave, but no more than the
        machine has processors. If neither did, the least of these:

        - the processors that this process may run on (its affinity), and the CPU quota of its
          container, rounded up; a process that is given others while it runs follows within a
          second;
        - the variables ``OMP_NUM_THREADS`` and ``NUMBA_NUM_THREADS``;
        - ``numba.get_num_threads()``, if Numba's threads have been started;
        - ``torch.get_num_threads()``, once `fastllm.integrations.torch` has been imported.

    Examples
    --------
    >>> import fastllm
    >>> fastllm.get_num_threads() >= 1
    True
    """
    global _processors, _refresh_at
    if _told is not None:
        return _told
    now = time.monotonic()
    if now >= _refresh_at:
        _processors = _count_processors()
        _refresh_at = now + _REFRESH_SECONDS
    return int(min([_processors, *(limit() for limit in _limits)]))


def follow(limit: Callable[[], float]) -> None:
    """From now on take no more threads than this says, unless a user gave a number."""
    if limit not in _limits:
        _limits.append(limit)


def _count_processors() -> int:
    """The least of affinity, quota and the variables of others.

    Of a quota of 1.5, two threads use all; one would leave a third of it. Both have to wait for the
    next period where they work without a pause, and a call that ends before takes half the time.
    """
    count_usable = getattr(os, "process_cpu_count", None)  # since Python 3.13
    if count_usable is not None:
        usable = count_usable() or 1
    elif hasattr(os, "sched_getaffinity"):
        usable = len(os.sched_getaffinity(0))
    else:
        usable = os.cpu_count() or 1
    return math.ceil(min(usable, cpu_quota(), _others_limit))


# --- Variables, read once ------------------------------------------------------------------------


def _read_variable(environment: Mapping[str, str]) -> int | None:
    text = environment.get(VARIABLE, "")
    if not text:
        return None
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise ValueError(f"{VARIABLE} must be a whole number of at least 1, not {text!r}")
    return number


def _bounded(number: int | None) -> int | None:
    """No more than the machine has processors, which is asked once: it takes 6 microseconds."""
    return None if number is None else min(number, os.cpu_count() or 1)


def _read_other_variables(environment: Mapping[str, str]) -> float:
    """The least number in the variables of others; what is not one is left to those."""
    # OpenMP takes a list, of which the first number is for loops that are not within others.
    texts = [environment.get(name, "").split(",")[0].strip() for name in OTHER_VARIABLES]
    return min((int(text) for text in texts if text.isdecimal() and int(text)), default=math.inf)


_from_variable = _told = _bounded(_read_variable(os.environ))
_others_limit = _read_other_variables(os.environ)
_processors, _refresh_at = 1, -math.inf
_limits: list[Callable[[], float]] = []
