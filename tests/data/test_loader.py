"""DataLoader: the batches of PyTorch's, in its order."""

import numpy as np
import pytest

from tinygrad_gpt.data import DataLoader, Dataset
from tinygrad_gpt.engine import Tensor
from tinygrad_gpt.errors import DataError, UsageError
from tinygrad_gpt.random import default_generator, manual_seed


class Squares(Dataset):
    """Pairs of a number and its square."""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        return index, float(index**2)


@pytest.fixture
def torch_loaders():
    torch = pytest.importorskip("torch", reason="compares with torch")
    return torch, torch.utils.data.DataLoader


@pytest.mark.parametrize("settings", [
    {}, {"batch_size": 3}, {"batch_size": 4, "drop_last": True}, {"shuffle": True},
    {"batch_size": 3, "shuffle": True}, {"batch_size": 4, "shuffle": True, "drop_last": True}, {"batch_size": 50}])
@pytest.mark.parametrize("n", [1, 10, 12])
def test_batches_are_those_of_pytorch(n, settings, torch_loaders):
    torch, theirs = torch_loaders
    ours, theirs = DataLoader(Squares(n), **settings), theirs(Squares(n), **settings)
    manual_seed(123)
    torch.manual_seed(123)
    for _ in range(3):  # the second and third pass go on with the random numbers
        assert len(ours) == len(theirs)
        for (ids, squares), (their_ids, their_squares) in zip(ours, theirs, strict=True):
            assert ids.tolist() == their_ids.tolist()
            assert squares.tolist() == their_squares.tolist()
            assert (str(ids.dtype), str(squares.dtype)) == ("int64", "float64")
        assert default_generator.uniform(2).tolist() == torch.rand(2).tolist()


def test_draws_between_the_beginning_and_the_first_batch_come_first(torch_loaders):
    torch, theirs = torch_loaders
    manual_seed(5)
    torch.manual_seed(5)
    ours, theirs = iter(DataLoader(Squares(9), shuffle=True)), iter(theirs(Squares(9), shuffle=True))
    default_generator.uniform(3), torch.rand(3)
    assert [ids.tolist() for ids, _ in ours] == [ids.tolist() for ids, _ in theirs]


def test_a_pass_that_is_left_early_and_two_at_a_time():
    loader = DataLoader(Squares(6), batch_size=2)
    first = iter(loader)
    next(first)
    assert [ids.tolist() for ids, _ in loader] == [[0, 1], [2, 3], [4, 5]]
    assert next(first)[0].tolist() == [2, 3]


@pytest.mark.parametrize(("examples", "expected"), [
    ([Tensor([1.0, 2.0]), Tensor([3.0, 4.0])], [[1.0, 2.0], [3.0, 4.0]]),
    ([np.float32([1]), np.float32([2])], [[1.0], [2.0]]),
    ([True, False], [True, False]),
    (["a", "b"], ["a", "b"]),
    ([(1, "a"), (2, "b")], [[1, 2], ["a", "b"]]),
    ([[1, (2, 3)], [4, (5, 6)]], [[1, 4], [[2, 5], [3, 6]]]),
    ([{"ids": 1, "text": "a"}, {"ids": 2, "text": "b"}], {"ids": [1, 2], "text": ["a", "b"]}),
])
def test_collating(examples, expected):
    def plain(value):
        if isinstance(value, dict):
            return {name: plain(field) for name, field in value.items()}
        if isinstance(value, list):
            return [plain(field) for field in value]
        return value.tolist() if isinstance(value, Tensor) else value

    (batch,) = DataLoader(examples, batch_size=2)
    assert plain(batch) == expected


def test_a_collate_fn():
    assert list(DataLoader([[1], [2, 3], [4]], batch_size=2, collate_fn=lambda batch: max(map(len, batch)))) == [2, 1]


def test_gradients_flow_through_a_batch():
    leaves = [Tensor([1.0], requires_grad=True), Tensor([2.0], requires_grad=True)]
    (batch,) = DataLoader(leaves, batch_size=2)
    (batch * batch).sum().backward()
    assert [leaf.grad.tolist() for leaf in leaves] == [[2.0], [4.0]]


def test_a_data_set_without_getitem():
    with pytest.raises(NotImplementedError, match="Dataset defines no __getitem__"):
        Dataset()[0]


@pytest.mark.parametrize(("examples", "settings", "error", "message"), [
    ([1], {"batch_size": 0}, UsageError, "batch_size is 0; give a whole number"),
    ([1], {"batch_size": 2.5}, UsageError, "batch_size is 2.5; give a whole number"),
    ([1], {"num_workers": 2}, UsageError, "num_workers is 2; give 0"),
    ([], {"shuffle": True}, DataError, "the data set is empty"),
    ([{1}], {}, DataError, "examples are of type 'set'"),
    ([[1], [2, 3]], {"batch_size": 2}, DataError, "have different lengths"),
])
def test_what_is_refused(examples, settings, error, message):
    with pytest.raises(error, match=message):
        list(DataLoader(examples, **settings))
