"""One thread computes everything: in batches and in turns, no more than may wait, and nothing that nobody wants."""

import threading
import time

import pytest
import tiny

from tinygrad_gpt.engine import using_ops
from tinygrad_gpt.engine.mode import current_mode
from tinygrad_gpt.errors import DataError
from tinygrad_gpt.recipes.classification.classify import classify
from tinygrad_gpt.serve import worker as module
from tinygrad_gpt.serve.worker import BATCH, BusyError, ClosedError, Worker

TEXTS = [text for text, _ in tiny.texts(20)]


@pytest.fixture(scope="module")
def words():
    return tiny.classifier()


@pytest.fixture
def batches(monkeypatch):
    """The sizes of the batches that are classified."""
    sizes = []

    def counted(saved, texts):
        sizes.append(len(texts))
        return classify(saved, texts)

    monkeypatch.setattr(module, "classify", counted)
    return sizes


class Held:
    """A job that keeps the thread busy until it is let go."""

    def __init__(self, worker):
        self.let_go, begun = threading.Event(), threading.Event()

        def steps():
            begun.set()
            assert self.let_go.wait(10)
            yield

        worker.start(steps, lambda event, value: None)
        assert begun.wait(10)


def collect(worker, steps):
    """The events of a job, and the moment at which it has ended."""
    events, over = [], threading.Event()

    def deliver(event, value):
        events.append((event, value))
        if event != "step":
            over.set()

    return worker.start(steps, deliver), events, over


def test_texts_that_wait_are_one_batch_for_each_model(worker, words, batches):
    other = tiny.classifier()
    held = Held(worker)
    answers = [worker.classify(saved, [text])[0] for text in TEXTS for saved in (words, other)]
    held.let_go.set()
    expected = [one.label for one in classify(words, TEXTS) for _ in (words, other)]
    assert [answer.result(10).label for answer in answers] == expected
    assert batches == [20, 20]


def test_a_batch_has_a_largest_size(worker, words, batches):
    held = Held(worker)
    answers = worker.classify(words, TEXTS * 4)
    held.let_go.set()
    assert [answer.result(10).text for answer in answers] == TEXTS * 4
    assert batches == [BATCH, 80 - BATCH]


def test_a_text_does_not_wait_for_a_long_job(worker, words):
    job, events, _ = collect(worker, lambda: iter(range(10**9)))
    assert worker.classify(words, TEXTS[:1])[0].result(10).text == TEXTS[0]
    seen = len(events)
    assert worker.classify(words, TEXTS[:1])[0].result(10).text == TEXTS[0]
    assert len(events) > seen
    assert {event for event, _ in events} == {"step"}
    job.cancel()


def test_jobs_take_turns():
    worker = Worker(together=2)
    held, order = Held(worker), []

    def steps(name):
        for _ in range(3):
            order.append(name)
            yield

    ends = [collect(worker, lambda name=name: steps(name))[2] for name in "abc"]
    held.let_go.set()
    assert all(end.wait(10) for end in ends)
    assert sorted(order) == list("aaabbbccc")
    assert order.index("b") < 3  # b does not wait for the end of a
    assert order.index("c") > min(8 - order[::-1].index(name) for name in "ab")  # c waits for the end of one
    worker.close()
    assert worker.join(10)


def test_a_cancelled_job_ends_and_frees_what_it_holds(worker):
    closed, begun = threading.Event(), threading.Event()

    def steps():
        try:
            while True:
                begun.set()
                yield
        finally:
            closed.set()

    job, events, _ = collect(worker, steps)
    assert begun.wait(10)
    job.cancel()
    assert closed.wait(10)
    assert {event for event, _ in events} <= {"step"}
    deadline = time.monotonic() + 10
    while worker.load["jobs_running"] and time.monotonic() < deadline:
        time.sleep(0.001)
    assert worker.load == {"texts_waiting": 0, "jobs_waiting": 0, "jobs_running": 0}


def test_a_cancelled_text_is_not_computed(worker, words, batches):
    held = Held(worker)
    first, second = worker.classify(words, TEXTS[:2])
    assert first.cancel()
    held.let_go.set()
    assert second.result(10).text == TEXTS[1]
    assert batches == [1]


def test_a_text_that_fails_fails_alone(worker, words):
    held = Held(worker)
    good, bad, last = worker.classify(words, [TEXTS[0], " ", TEXTS[1]])
    held.let_go.set()
    assert [good.result(10).text, last.result(10).text] == TEXTS[:2]
    with pytest.raises(DataError, match="empty text"):
        bad.result(10)


def test_a_job_that_fails_says_so(worker):
    def steps():
        yield 1
        raise DataError("no (text): more; stop")

    _, events, over = collect(worker, steps)
    assert over.wait(10)
    assert [event for event, _ in events] == ["step", "error"]
    assert str(events[1][1]) == "no (text): more; stop"


def test_only_so_much_waits(words):
    worker = Worker(texts=3, jobs=1)
    held = Held(worker)
    worker.classify(words, TEXTS[:3])
    with pytest.raises(BusyError, match=r"^too many texts \(server\): 3 texts wait already; send fewer at once"):
        worker.classify(words, TEXTS[:1])
    job, _, _ = collect(worker, lambda: iter([]))
    with pytest.raises(BusyError, match="1 requests wait already"):
        collect(worker, lambda: iter([]))
    job.cancel()
    _, _, over = collect(worker, lambda: iter([]))  # what is cancelled no longer counts
    held.let_go.set()
    assert over.wait(10)
    worker.close()
    assert worker.join(10)


def test_closing_ends_what_waits_and_what_runs(words):
    worker = Worker(together=1)
    _, running, over = collect(worker, lambda: iter(range(10**9)))
    _, waiting, waiting_over = collect(worker, lambda: iter(range(3)))
    worker.close()
    assert worker.join(10)
    assert over.is_set()
    assert waiting_over.is_set()
    assert isinstance(running[-1][1], ClosedError)
    assert [event for event, _ in waiting] == ["error"]
    with pytest.raises(ClosedError, match=r"^cannot compute \(server\): it is shutting down; send"):
        worker.classify(words, TEXTS[:1])


def test_the_thread_computes_as_the_one_that_made_it():
    with using_ops("plain"):
        worker = Worker()
    _, events, over = collect(worker, lambda: iter([current_mode().ops]))
    assert over.wait(10)
    assert events[0] == ("step", "plain")
    worker.close()
    assert worker.join(10)
