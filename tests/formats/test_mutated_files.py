"""Some rounds of `fuzz_mutated_files`: a ValueError, or what the owner gives."""

from formats.fuzz_mutated_files import run


def test_a_changed_file_is_refused_or_gives_what_its_owner_gives():
    outcomes, different = run(200, 7)
    assert different == []
    assert outcomes["refused"] > 50
    assert outcomes["equal"] > 20
