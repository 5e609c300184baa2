import numpy as np
import pytest
import tiny

from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.models.classifier import GPT2Classifier, Reading
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.recipes.average import average
from tinygrad_gpt.runs.saved_model import SavedModel, load_model, save_model
from tinygrad_gpt.text import Characters


def shifted(saved, by):
    """The same model with every weight larger by a number."""
    model = GPT2Classifier(GPT2(saved.base.config, seed=0), 3, reading=saved.classifier.reading).eval()
    model.load_state_dict({name: array + np.float32(by) for name, array in saved.model.arrays().items()})
    return SavedModel(model, saved.tokenizer, saved.labels, {"recipe": "finetune classifier", "by": by})


def test_every_weight_is_the_mean(tmp_path):
    models = [shifted(tiny.classifier(), by) for by in (0.0, 0.25, 0.5)]
    mean = average(models, ["a", "b", "c"])
    for name, array in mean.model.arrays().items():
        np.testing.assert_allclose(array, models[1].model.arrays()[name], atol=1e-7)
    assert mean.labels == models[0].labels
    assert mean.classifier.reading == models[0].classifier.reading
    assert [each["by"] for each in mean.provenance["of"]] == [0.0, 0.25, 0.5]
    save_model(tmp_path / "model.h5", mean)
    assert load_model(tmp_path / "model.h5").provenance == mean.provenance


def test_the_order_does_not_matter():
    models = [shifted(tiny.classifier(), by) for by in (0.1, 1e3, -1e3)]
    one, other = average(models, "abc"), average(models[::-1], "cba")
    for name, array in one.model.arrays().items():
        np.testing.assert_array_equal(array, other.model.arrays()[name])


def test_the_models_are_left_alone():
    models = [shifted(tiny.classifier(), by) for by in (0.0, 1.0)]
    before = {name: array.copy() for name, array in models[0].model.arrays().items()}
    for parameter in average(models, "ab").model.parameters():
        parameter.data[...] = 7
    for name, array in models[0].model.arrays().items():
        np.testing.assert_array_equal(array, before[name])


def test_language_models_have_a_mean_too():
    mean = average([tiny.language_model(), tiny.language_model()], "ab")
    for name, array in mean.model.arrays().items():
        np.testing.assert_array_equal(array, tiny.language_model().model.arrays()[name])


def other_sizes(saved):
    base = GPT2(GPT2Config(saved.tokenizer.vocab_size, n_ctx=16, n_embd=8, n_layer=1, n_head=2))
    return SavedModel(GPT2Classifier(base, 3), saved.tokenizer, saved.labels, {})


def other_vocabulary(saved):
    size = saved.tokenizer.vocab_size
    return SavedModel(saved.model, Characters("".join(chr(0x4E00 + i) for i in range(size - 1))), saved.labels, {})


def other_classes(saved):
    return SavedModel(saved.model, saved.tokenizer, saved.labels[::-1], {})


def other_reading(saved):
    model = GPT2Classifier(saved.transformer, 3, reading=Reading(read="mean"))
    return SavedModel(model, saved.tokenizer, saved.labels, {})


@pytest.mark.parametrize(("other", "what"), [
    (other_sizes, "sizes"), (other_vocabulary, "vocabulary"), (other_classes, "classes"), (other_reading, "reading"),
    (lambda saved: tiny.language_model(), "sizes"),
])
def test_models_that_do_not_fit_are_refused(other, what):
    saved = tiny.classifier()
    with pytest.raises(UsageError, match=rf"^cannot average \(b\): it has other {what} than a; give models that were"):
        average([saved, other(saved)], ["a", "b"])


def test_one_model_is_refused():
    with pytest.raises(UsageError, match=r"cannot average \(a\): one model is its own mean; give two or more"):
        average([tiny.classifier()], ["a"])


def made(seed, **others):
    """A classifier and what its run noted."""
    saved = tiny.classifier()
    config = {"data": "a.csv", "split": "by-text", "split_seed": 1, "test": None, "extra": None, "seed": seed}
    noted = {"sha256": {"a.csv": "12"}, "config": config | others}
    return SavedModel(saved.model, saved.tokenizer, saved.labels, noted)


def test_its_parts_are_those_of_the_models_if_they_agree():
    provenance = average([made(1), made(2)], "ab").provenance
    assert (provenance["config"]["split_seed"], provenance["sha256"]) == (1, {"a.csv": "12"})
    assert not {"config", "sha256"} & average([made(1), made(2, split_seed=2)], "ab").provenance.keys()
    assert not {"config", "sha256"} & average([made(1), tiny.classifier()], "ab").provenance.keys()
