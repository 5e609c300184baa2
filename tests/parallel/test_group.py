"""A group: rows for each rank, what must be the same, and who writes."""

import pytest
from thread_group import in_ranks

from tinygrad_gpt.errors import DataError, UsageError
from tinygrad_gpt.files import append_line, run_lock, write_atomic
from tinygrad_gpt.parallel.group import Group, current_group, in_group


def of(rank, size):
    group = Group()
    group.rank, group.size = rank, size
    return group


@pytest.mark.parametrize(("count", "size"), [(8, 1), (8, 2), (8, 3), (2, 5), (0, 2), (7, 7)])
def test_every_row_has_one_rank_and_shares_differ_by_one_at_most(count, size):
    slices = of(0, size).slices(count)
    assert [row for part in slices for row in range(count)[part]] == [*range(count)]
    sizes = [part.stop - part.start for part in slices]
    assert max(sizes) - min(sizes) <= 1
    assert [of(rank, size).own(count) for rank in range(size)] == slices


def test_one_process_is_a_group():
    group = current_group()
    assert (group.rank, group.size, group.shards) == (0, 1, False)
    group.check_same({"seed": 1}, DataError, "here")
    group.check_rows(1)


def test_ranks_that_differ_are_refused_on_every_rank():
    def work(values):
        def check(group):
            with pytest.raises(UsageError) as info:
                group.check_same(values[group.rank], UsageError, "settings")
            return str(info.value)
        return check

    first, second = in_ranks(2, work([{"lr": 1, "seed": 123}, {"lr": 1, "seed": 124}]))
    assert first == second == ("ranks differ (settings): seed is 124 on rank 1 and 123 on rank 0; "
                               "start all with the same command, data and version")
    said = in_ranks(3, work([{"a": "x" * 100}, {"a": "x" * 100}, {"a": "x" * 100, "b": 0}]))
    assert said == ["ranks differ (settings): b is 0 on rank 2 and None on rank 0; start all with the same command, "
                    "data and version"] * 3
    assert len(in_ranks(2, work([{"a": "x" * 300}, {"a": "y" * 300}]))[0]) < 240


def test_more_ranks_than_rows_are_refused():
    of(0, 2).check_rows(2)
    with pytest.raises(UsageError, match=r"^more processes than rows \(mpiexec\): a batch has 2 and there are 3 proc"):
        of(0, 3).check_rows(2)


def test_only_the_first_rank_writes(tmp_path):
    for rank in (1, 0):
        with in_group(of(rank, 2)), run_lock(tmp_path):
            assert (tmp_path / ".lock").exists() == (rank == 0)
            write_atomic(tmp_path / "file", b"x")
            append_line(tmp_path / "log", "line")
            assert (tmp_path / "file").exists() == (tmp_path / "log").exists() == (rank == 0)
    assert current_group().size == 1
