"""Text files, predicted by a saved model."""

import lzma
import math

import numpy as np
import pytest
import tiny

from tinygrad_gpt.errors import DataError
from tinygrad_gpt.figures.perplexity import measure_perplexity
from tinygrad_gpt.recipes.pretraining.perplexity import perplexity
from tinygrad_gpt.runs.saved_model import SavedModel
from tinygrad_gpt.text import Characters


@pytest.fixture(scope="module")
def saved():
    return tiny.language_model()


def test_the_tokens_that_are_measured(saved, tmp_path):
    (tmp_path / "a.txt").write_text("ski ice\n<|endoftext|>\n\nbug lööp\n")
    (tmp_path / "b.txt.xz").write_bytes(lzma.compress(b"sand"))
    result = perplexity(saved, [str(tmp_path / "a.txt"), str(tmp_path / "b.txt.xz")], stride=3)
    eot, texts = saved.tokenizer.eot_id, ["ski ice", "bug lööp", "sand"]
    tokens = [i for text in texts for i in [eot, *saved.tokenizer.encode(text)]] + [eot]
    assert (result.files, result.documents) == (2, 3)
    assert result.figures == measure_perplexity(saved.model, np.array(tokens), n_bytes=7 + 10 + 4 + 3, stride=3)
    assert result.counts == ("2 files, 3 documents, 24 bytes with one for the end of each, "
                             f"{len(tokens)} tokens (4 of them ends of text); "
                             f"{len(tokens) - 1} predicted, all but the first")


def test_a_sample_says_so(saved, tmp_path):
    file = str(tiny.text_file(tmp_path / "a.txt"))
    total = perplexity(saved, [file]).figures.predicted
    result = perplexity(saved, [file], max_windows=2)
    assert 2 <= result.figures.windows < 4
    assert result.counts.endswith(f"{result.figures.predicted:,} predicted, a sample of {total:,}")


def test_the_dictionary_has_every_figure(saved, tmp_path):
    result = perplexity(saved, [str(tiny.text_file(tmp_path / "a.txt"))])
    found, figures = result.to_dict(), result.figures
    assert found["loss"] == figures.loss
    assert found["perplexity"] == math.exp(figures.loss)
    assert found["bits_per_byte"] == pytest.approx(
        figures.predicted * figures.loss / math.log(2) / figures.n_bytes, rel=1e-12)
    assert {"files", "documents", "tokens", "predicted", "n_bytes", "windows", "n_ctx", "stride"} <= set(found)


def test_a_classifier_lends_its_language_model(tmp_path):
    file = str(tiny.text_file(tmp_path / "a.txt"))
    classifier = tiny.classifier()
    result = perplexity(classifier, [file])
    assert result == perplexity(SavedModel(classifier.transformer, classifier.tokenizer, (), {}), [file])


def test_what_cannot_be_measured_is_refused(saved, tmp_path):
    empty = tmp_path / "ends.txt"
    empty.write_text("<|endoftext|>\n")
    with pytest.raises(DataError, match=r"^no text \(.*ends\.txt\): only ends of text are there; give a text file$"):
        perplexity(saved, [str(empty)])
    with pytest.raises(DataError, match="cannot read"):
        perplexity(saved, [str(tmp_path / "absent.txt")])
    letters = SavedModel(saved.model, Characters.train(["abc"]), (), {})
    (tmp_path / "a.txt").write_text("abcd")
    with pytest.raises(DataError, match=r"^unknown character 'd' \(line 1, column 4\)"):
        perplexity(letters, [str(tmp_path / "a.txt")])
