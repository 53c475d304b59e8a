"""The number of threads: set, by variable, or as many as there are processors for a process."""

import math
import os

import pytest
from processes import must_run, run_python

import fastllm
from fastllm.api import threads
from fastllm.api.cpu_quota import cpu_quota

AT_ROOT_V2 = "25 1 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "32 31 0:29 {group} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"
CPU_V1 = "sys/fs/cgroup/cpu,cpuacct"


def in_folder(folder, groups, mounts, files):
    """Write what a system shows of its control groups; files by their path and what they hold."""
    proc = {"proc/self/cgroup": groups, "proc/self/mountinfo": mounts}
    for path, text in {**proc, **files}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text + "\n", "utf-8")
    return folder


def quota_files(folder, quota, period=100000):
    return {f"{folder}/cpu.cfs_quota_us": str(quota), f"{folder}/cpu.cfs_period_us": str(period)}


QUOTAS = {
    "none": ("0::/", AT_ROOT_V2, {}, math.inf),
    "no limit": ("0::/app", AT_ROOT_V2, {"sys/fs/cgroup/app/cpu.max": "max 100000"}, math.inf),
    "of the group": ("0::/app", AT_ROOT_V2, {"sys/fs/cgroup/app/cpu.max": "150000 100000"}, 1.5),
    "of a group around it": (
        "0::/pod/app",
        AT_ROOT_V2,
        {
            "sys/fs/cgroup/pod/cpu.max": "200000 100000",
            "sys/fs/cgroup/pod/app/cpu.max": "800000 100000",
        },
        2.0,
    ),
    # Each container may have its own view of groups, in which its own is the outermost.
    "of a namespace": ("0::/", AT_ROOT_V2, {"sys/fs/cgroup/cpu.max": "50000 100000"}, 0.5),
    "of an unknown path": (
        "0::/../other",
        AT_ROOT_V2,
        {"sys/fs/cgroup/cpu.max": "300000 100000"},
        3.0,
    ),
    "version 1": (
        "5:memory:/app\n4:cpu,cpuacct:/pod/app",
        V1.format(group="/"),
        quota_files(f"{CPU_V1}/pod/app", 250000) | quota_files(f"{CPU_V1}/pod", -1),
        2.5,
    ),
    "version 1, as Docker mounts it": (
        "4:cpu,cpuacct:/docker/1f\n0::/docker/1f",
        V1.format(group="/docker/1f"),
        quota_files(CPU_V1, 20000, 10000),
        2.0,
    ),
    "damaged": ("0::/app", AT_ROOT_V2, {"sys/fs/cgroup/app/cpu.max": "abc"}, math.inf),
}


@pytest.mark.parametrize("name", QUOTAS)
def test_quota_of_control_groups(tmp_path, name):
    groups, mounts, files, expected = QUOTAS[name]
    assert cpu_quota(in_folder(tmp_path, groups, mounts, files)) == expected


def test_no_quota_where_there_are_no_such_files(tmp_path):
    assert cpu_quota(tmp_path) == math.inf


@pytest.mark.parametrize(("quota", "expected"), [(0.2, 1), (1.0, 1), (1.5, 2), (math.inf, 64)])
def test_default_follows_the_quota(monkeypatch, quota, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(64), raising=False)
    monkeypatch.setattr(os, "process_cpu_count", lambda: 64, raising=False)
    monkeypatch.setattr(threads, "cpu_quota", lambda: quota)
    monkeypatch.setattr(threads, "_refresh_at", -math.inf)
    monkeypatch.setattr(threads, "_limits", [])
    assert fastllm.get_num_threads() == expected
    monkeypatch.setattr(threads, "_refresh_at", -math.inf)


def test_set_number_comes_first_and_is_bounded_by_the_machine():
    try:
        fastllm.set_num_threads(1)
        assert fastllm.get_num_threads() == 1
        fastllm.set_num_threads(10**6)
        assert fastllm.get_num_threads() == os.cpu_count()
    finally:
        fastllm.set_num_threads(None)


@pytest.mark.parametrize(
    ("number", "error", "message"),
    [
        (0, ValueError, "n must be at least 1, not 0"),
        (1.5, TypeError, "n must be an int, not float"),
        (True, TypeError, "n must be an int, not bool"),
    ],
)
def test_wrong_numbers_raise(number, error, message):
    with pytest.raises(error, match=message):
        fastllm.set_num_threads(number)


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5"])
def test_wrong_variable_is_named(text):
    errors = run_python("import fastllm", FASTLLM_NUM_THREADS=text).stderr
    expected = f"FASTLLM_NUM_THREADS must be a whole number of at least 1, not {text!r}"
    assert errors.strip().endswith(expected)


NUMBER = """
import os
os.cpu_count = lambda: 64
os.sched_getaffinity = lambda pid: range(64)
os.process_cpu_count = lambda: 64
from fastllm.api import threads
threads.cpu_quota = lambda: 48.0
import fastllm
assert fastllm.get_num_threads() == {expected}, fastllm.get_num_threads()
"""


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"FASTLLM_NUM_THREADS": "50"}, 50),
        ({"FASTLLM_NUM_THREADS": "3", "OMP_NUM_THREADS": "2"}, 3),
        ({"OMP_NUM_THREADS": "6,2"}, 6),
        ({"OMP_NUM_THREADS": "many", "NUMBA_NUM_THREADS": "5"}, 5),
        ({"FASTLLM_NUM_THREADS": ""}, 48),
    ],
)
def test_variables(variables, expected):
    none = dict.fromkeys(("FASTLLM_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), "")
    must_run(NUMBER.format(expected=expected), **{**none, **variables})
