"""One step of a saved model on one text."""

import numpy as np
import pytest
import tiny

from tinygrad_gpt.errors import DataError, UsageError
from tinygrad_gpt.recipes.text_step import text_step, tiny_step


def test_a_language_model_predicts_each_next_token():
    saved = tiny.language_model()
    step = text_step(saved, "bug loop")
    assert "".join(step.tokens[1:]) + step.targets[-1] == "bug loop"
    assert step.targets[:-1] == step.tokens[1:]
    assert step.ids[0, 0] == saved.tokenizer.eot_id
    assert (step.left_out, step.compute().shape) == (0, ())


def test_what_is_beyond_the_context_is_counted():
    saved = tiny.language_model(n_ctx=4)
    ids = saved.tokenizer.encode("bug loop test stack bug loop")
    step = text_step(saved, "bug loop test stack bug loop")
    assert (len(step.tokens), step.left_out) == (4, len(ids) - 4)


def test_a_classifier_is_asked_for_its_own_answer_or_a_label():
    saved = tiny.classifier()
    answered, given = text_step(saved, "ice ski"), text_step(saved, "ice ski", "sun")
    assert answered.targets[0] in saved.labels
    assert given.targets == ("sun",)
    logits = saved.model(given.ids, np.array([given.ids.size])).numpy()[0]
    assert given.compute().item() == pytest.approx(np.log(np.exp(logits - logits[2]).sum()), rel=1e-5)
    assert answered.compute().item() == pytest.approx(np.log(np.exp(logits - logits.max()).sum()), rel=1e-5)


@pytest.mark.parametrize("read", ["first", "mean"])
def test_an_encoder_reads_between_its_special_tokens(read):
    saved = tiny.encoder_classifier(read)
    step = text_step(saved, "ice ski", "sun")
    assert (step.tokens, step.targets, step.left_out) == (
        ("[CLS]", "i", "##c", "##e", "s", "##k", "##i", "[SEP]"), ("sun",), 0)
    logits = saved.model(step.ids, np.array([8])).numpy()[0]
    assert step.compute().item() == pytest.approx(np.log(np.exp(logits - logits[2]).sum()), rel=1e-5)
    cut = text_step(tiny.encoder_classifier(read, n_ctx=5), "ice ski")
    assert (cut.tokens, cut.left_out) == (("[CLS]", "i", "##c", "##e", "[SEP]"), 3)


def test_gradients_of_an_encoder_are_differences():
    step = text_step(tiny.encoder_classifier(), "ice ski", "sun")
    trace, generator = step.trace("float64"), np.random.default_rng(0)
    for name, parameter in step.parameters:
        gradient = trace.leaf(name).grad
        place = np.unravel_index(np.abs(gradient).argmax() if generator.random() < 0.5 else
                                 generator.integers(gradient.size), gradient.shape)
        losses = []
        for change in (1e-6, -2e-6):
            parameter.data[place] += change
            losses.append(step.compute().item())
        parameter.data[place] += 1e-6
        assert (losses[0] - losses[1]) / 2e-6 == pytest.approx(gradient[place], rel=1e-5, abs=1e-8), name


def test_bad_input_is_refused():
    with pytest.raises(DataError, match="empty text: a step needs a token to predict"):
        text_step(tiny.language_model(), " \n")
    with pytest.raises(UsageError, match=r"label \(sna\): not one of code, snow, sun"):
        text_step(tiny.classifier(), "ice", "sna")
    with pytest.raises(UsageError, match=r"label \(sun\): the model is a language model and has no labels"):
        text_step(tiny.language_model(), "ice", "sun")


def test_a_trace_in_float64_is_float64_throughout():
    trace = text_step(tiny.classifier(), "ice ski").trace("float64")
    assert {str(s.value.dtype) for s in trace.steps} == {"float64"}
    assert trace.result.label == "cross_entropy"


def test_the_tiny_step_has_the_same_dropout_each_time():
    step = tiny_step()
    assert step.compute().item() == step.compute().item()
    assert "dropout" in {s.label for s in step.trace().ops}


def test_a_frozen_step_trains_the_last_block_only():
    step = tiny_step().freeze()
    assert {name.split(".")[1] for name, p in step.parameters if p.requires_grad and name.startswith("h.")} == {"1"}


def test_a_frozen_step_of_an_encoder_trains_its_pooler_too():
    frozen = text_step(tiny.encoder_classifier(), "ice").freeze()
    assert {name.split(".")[1] for name, parameter in frozen.parameters if parameter.requires_grad} == {
        "h", "pooler", "weight", "bias"}
    assert not any(parameter.requires_grad for name, parameter in frozen.parameters if ".h.0." in name)


def test_ids_beyond_the_vocabulary_have_names():
    saved = tiny.language_model()
    step = text_step(saved, "bug")
    assert step.decode(saved.tokenizer.encode("bug")[0]) in "bug"
    assert step.decode(saved.tokenizer.vocab_size) == f"<{saved.tokenizer.vocab_size}>"
