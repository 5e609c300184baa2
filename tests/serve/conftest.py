"""A server of tiny models: to the framework's test client, or on a port."""

import pytest
import tiny
from serving import answering

from tinygrad_gpt.runs.saved_model import SavedModel

HOSTILE = '<img src=x onerror="document.title=1">'


@pytest.fixture(scope="session")
def saved():
    """A classifier (code, snow, sun) that reads 15 tokens, and a language model that reads 96."""
    return {"words": tiny.classifier(), "story": tiny.language_model(n_ctx=96)}


@pytest.fixture(scope="session")
def models(saved):
    pytest.importorskip("starlette", reason="the extra 'serve' is not installed")
    from tinygrad_gpt.serve.models import Models

    return Models(saved)


@pytest.fixture
def worker():
    from tinygrad_gpt.serve.worker import Worker

    worker = Worker()
    yield worker
    worker.close()
    assert worker.join(10)


@pytest.fixture
def client(models, worker):
    """The test client of the application with its ordinary limits."""
    pytest.importorskip("httpx2", reason="the test client needs it")
    from starlette.testclient import TestClient

    from tinygrad_gpt.serve.app import make_app

    return TestClient(make_app(models, worker), base_url="http://127.0.0.1:8000")


@pytest.fixture(scope="module")
def served(models):
    """The address of a server whose classifier has a hostile label."""
    from tinygrad_gpt.serve.models import Models

    words = models.by_name["words"]
    hostile = SavedModel(words.model, words.tokenizer, (HOSTILE, *words.labels[1:]), words.provenance)
    with answering(Models({**models.by_name, "words": hostile})) as (url, _):
        yield url
