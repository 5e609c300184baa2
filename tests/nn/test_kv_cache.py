"""What is computed with a cache is what is computed without: at every split point, for every row."""

import functools

import numpy as np
import pytest
import strict

from tinygrad_gpt import no_grad
from tinygrad_gpt.backend import get_backend, use_backend
from tinygrad_gpt.engine import composed_ops
from tinygrad_gpt.errors import ShapeError, TapeError
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.nn import KVCache

CONTEXT, VOCABULARY = 12, 23
LENGTHS = [np.array([12, 12, 12]), np.array([12, 7, 1]), np.array([3, 12, 11])]


def small(**changes):
    """A model whose logits differ clearly from token to token."""
    model = GPT2(GPT2Config(**{"vocab_size": VOCABULARY, "n_ctx": CONTEXT, "n_embd": 12, "n_layer": 3, "n_head": 3}
                            | changes))
    r = np.random.default_rng(3)
    with no_grad():
        for p in model.parameters():
            p.copy_(p.numpy() + np.float32(0.2) * r.standard_normal(p.shape, dtype=np.float32))
    return model.eval()


IDS = np.random.default_rng(0).integers(0, VOCABULARY, (3, CONTEXT))
NUMPY = get_backend("numpy")


@pytest.fixture
def model(backend):
    return small()


@functools.cache
def model_and_logits():
    model = small()
    return model, model(IDS).numpy()


def read_in_chunks(model, backend, lengths, borders):
    """Logits (B, T, V) of IDS read chunk by chunk; each chunk holds what is real in its stretch."""
    cache, parts = model.new_cache(len(IDS)), []
    with no_grad():
        for start, end in zip([0, *borders], [*borders, IDS.shape[1]], strict=True):
            real = np.clip(lengths - start, 0, end - start)
            parts.append(model(backend.from_numpy(IDS[:, start:end]), cache, real).numpy())
    assert cache.lengths.tolist() == lengths.tolist()
    return np.concatenate(parts, axis=1)


def assert_same(cached, full, lengths):
    for row, length in enumerate(lengths):
        np.testing.assert_allclose(cached[row, :length], full[row, :length], rtol=0, atol=1e-5)


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_every_split_point_gives_the_full_logits(model, backend, lengths):
    full = model(backend.from_numpy(IDS)).numpy()
    assert full.std(axis=-1).mean() > 0.5
    for split in range(1, CONTEXT):
        assert_same(read_in_chunks(model, backend, lengths, [split]), full, lengths)


@pytest.mark.kernels
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_token_by_token_gives_the_full_logits(model, backend, lengths):
    full = model(backend.from_numpy(IDS)).numpy()
    assert_same(read_in_chunks(model, backend, lengths, list(range(1, CONTEXT))), full, lengths)


@pytest.mark.parametrize("settings", [{"tied_head": False, "qkv_bias": False}, {"n_head": 1}, {"n_layer": 1}], ids=str)
def test_models_of_every_kind(settings):
    model = small(**settings)
    read = read_in_chunks(model, NUMPY, LENGTHS[1], [5])
    assert_same(read, model(IDS).numpy(), LENGTHS[1])


def test_composed_ops_read_the_same():
    model = small()
    with composed_ops():
        read = read_in_chunks(model, NUMPY, LENGTHS[2], [4])
    assert_same(read, model(IDS).numpy(), LENGTHS[2])


@pytest.mark.parametrize("seed", range(30))
def test_any_chunks_of_any_rows(seed):
    """Rows advance by different numbers of tokens a pass, as prompts of different length do."""
    r, (model, full) = np.random.default_rng(seed), model_and_logits()
    cache = model.new_cache(3)
    while cache.lengths.min() < CONTEXT:
        before = cache.lengths.copy()
        lengths = r.integers(0, np.minimum(CONTEXT - before, 5), endpoint=True)
        new = r.integers(0, VOCABULARY, (3, max(lengths) + r.integers(1, 3)))
        for row in range(3):
            new[row, :lengths[row]] = IDS[row, before[row]:before[row] + lengths[row]]
        with no_grad():
            logits = model(new, cache, lengths).numpy()
        assert cache.lengths.tolist() == (before + lengths).tolist()
        for row in range(3):
            np.testing.assert_allclose(logits[row, :lengths[row]], full[row, before[row]:cache.lengths[row]],
                                       rtol=0, atol=1e-5)


def test_next_logits_are_those_behind_the_last_real_token(model, backend):
    full, lengths = model(backend.from_numpy(IDS)).numpy(), LENGTHS[1]
    with no_grad():
        last = model.next_logits(backend.from_numpy(IDS), model.new_cache(3), lengths).numpy()
        whole = model.next_logits(backend.from_numpy(IDS), model.new_cache(3)).numpy()
    np.testing.assert_allclose(last, full[np.arange(3), lengths - 1], rtol=0, atol=1e-5)
    np.testing.assert_allclose(whole, full[:, -1], rtol=0, atol=1e-5)


def test_nothing_waits_for_the_device():
    backend = use_backend("strict")
    try:
        with no_grad():
            model = small()
            on_device, cache = backend.from_numpy(IDS), model.new_cache(3)
            before = strict.synchronisations
            model(on_device[:, :5], cache, np.array([5, 2, 1]))
            model.next_logits(on_device[:, 5:6], cache)
            cache.select(np.array([2, 0])).row(1)
            assert strict.synchronisations == before
    finally:
        use_backend("numpy")


def test_what_stands_at_padding_reaches_nobody():
    model, results = small(), []
    for filler in (0, 7):
        padded = np.where(np.arange(CONTEXT) < LENGTHS[1][:, None], IDS, filler)
        cache = model.new_cache(3, capacity=CONTEXT)
        with no_grad():
            first = model(padded[:, :9], cache, np.minimum(LENGTHS[1], 9)).numpy()
            second = model(IDS[:, :3], cache, np.array([3, 3, 3])).numpy()
        results.append([*(first[row, :min(n, 9)] for row, n in enumerate(LENGTHS[1])), second])
    assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))


def test_an_example_of_positions_and_masks():
    cache = KVCache(1, 2, 1, capacity=6, head_size=1, like=np.zeros(1, np.float32))
    cache.lengths[:] = [3, 0]
    chunk = cache.start(2, np.array([1, 2]))
    assert chunk.positions.tolist() == [[3, 4], [0, 1]]
    assert chunk.ends.tolist() == [4, 2]
    assert chunk.allowed[:, 0].astype(int).tolist() == [[[1, 1, 1, 1], [1, 1, 1, 1]], [[1, 0, 0, 0], [1, 1, 0, 0]]]
    assert [index.tolist() for index in chunk.real] == [[0, 1, 1], [0, 0, 1], [3, 0, 1]]
    assert cache.lengths.tolist() == [3, 0]
    cache.commit(chunk)
    assert cache.lengths.tolist() == [4, 2]


def test_a_new_token_of_rows_of_one_length_needs_no_mask():
    cache = KVCache(1, 2, 1, capacity=6, head_size=1, like=np.zeros(1, np.float32))
    cache.lengths[:] = 4
    assert cache.start(1).allowed is None
    cache.lengths[:] = [4, 3]
    assert cache.start(1).allowed.tolist() == [[[[True] * 5]], [[[True] * 4 + [False]]]]


def test_selected_rows_go_on_as_they_would_have():
    model, full = model_and_logits()
    cache = model.new_cache(3)
    rows = np.array([2, 0, 2])
    with no_grad():
        model(IDS[:, :8], cache, np.array([8, 5, 4]))
        chosen = cache.select(rows)
        assert chosen.lengths.tolist() == [4, 8, 4]
        logits = model(np.stack([IDS[2, 4:6], IDS[0, 8:10], IDS[2, 4:6]]), chosen).numpy()
    np.testing.assert_allclose(logits, [full[2, 4:6], full[0, 8:10], full[2, 4:6]], rtol=0, atol=1e-5)
    assert cache.lengths.tolist() == [8, 5, 4]  # copies: the others are as they were
    with no_grad():
        np.testing.assert_allclose(model(IDS[:1, 8:9], cache.row(0)).numpy()[0, 0], full[0, 8], rtol=0, atol=1e-5)
    assert cache.lengths.tolist() == [9, 5, 4]  # the same memory


def test_an_emptied_row_starts_anew():
    model, full = small(), small()(IDS[:, 6:]).numpy()
    cache = model.new_cache(3)
    with no_grad():
        model(IDS[:, :6], cache)
        cache.lengths[1] = 0
        model(IDS[1:2, 6:9], cache.row(1))
        logits = model(IDS[:, 9:10], cache).numpy()
    np.testing.assert_allclose(logits[1, 0], full[1, 3], rtol=0, atol=1e-5)


def test_a_cache_is_on_no_tape():
    model = small()
    with pytest.raises(TapeError, match="use `with no_grad\\(\\):`"):
        model(IDS[:, :2], model.new_cache(3))
    with no_grad():
        assert model(IDS[:, :2], model.new_cache(3)).node is None


@pytest.mark.parametrize(("n", "lengths", "text"), [
    (5, None, r"KVCache: 9 tokens in row 1, but it has room for 8; make a larger cache, or empty the row"),
    (3, [1, 2], r"lengths are \[1, 2\]; give one from 0 to 3 for each of the 3 rows"),
    (3, [1, 2, 4], r"lengths are \[1, 2, 4\]"), (3, [1, -1, 2], r"lengths are \[1, -1, 2\]")])
def test_what_does_not_fit_is_refused_and_changes_nothing(n, lengths, text):
    cache = KVCache(1, 3, 1, capacity=8, head_size=1, like=np.zeros(1, np.float32))
    cache.lengths[:] = [1, 4, 2]
    with pytest.raises(ShapeError, match=text):
        cache.start(n, None if lengths is None else np.array(lengths))
    assert cache.lengths.tolist() == [1, 4, 2]


def test_a_pass_that_fails_is_not_counted():
    model = small()
    cache = model.new_cache(3)
    with no_grad():
        model(IDS[:, :4], cache)
        with pytest.raises(ShapeError):
            model(IDS[:, :2] + VOCABULARY, cache)
        logits = model(IDS[:, 4:], cache).numpy()
    np.testing.assert_allclose(logits, model(IDS).numpy()[:, 4:], rtol=0, atol=1e-5)


def test_room_is_never_more_than_the_context():
    assert small().new_cache(2, capacity=1000).capacity == CONTEXT
    assert small().new_cache(2).capacity == CONTEXT
    assert small().new_cache(2, capacity=5).layers[0].keys.shape == (2, 3, 5, 4)
