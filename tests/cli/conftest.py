"""Small models in files, for the commands."""

import pytest
import tiny

from tinygrad_gpt.runs.saved_model import save_model


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """A folder with classifier.h5 (code, snow, sun; it reads 15 tokens) and language.h5."""
    folder = tmp_path_factory.mktemp("models")
    save_model(folder / "classifier.h5", tiny.classifier(config={"split_seed": 5}))
    save_model(folder / "language.h5", tiny.language_model())
    return folder


@pytest.fixture(scope="session")
def model(models):
    """The path of the classifier."""
    return str(models / "classifier.h5")
