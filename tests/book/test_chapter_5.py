"""Chapter 5: pretraining on unlabeled data. The whole training run: benchmarks/book_training.py."""

import math

import numpy as np
import pytest
from printed import assert_prints

from tinygrad_gpt import ops
from tinygrad_gpt.book.batches import token_windows
from tinygrad_gpt.data.pretraining import hold_out
from tinygrad_gpt.engine import no_grad
from tinygrad_gpt.generate.decode import decode
from tinygrad_gpt.generate.sampling import Sampling, scale, softmax, top_k
from tinygrad_gpt.random import TorchStream

IDS = np.array([[16833, 3626, 6100], [40, 1107, 588]])  # "every effort moves", "I really like"
TARGETS = np.array([[3626, 6100, 345], [1107, 588, 11311]])  # " effort moves you", " really like chocolate"

# Section 5.3: the words of a small vocabulary, and their logits behind "every effort moves you".
WORDS = ["closer", "every", "effort", "forward", "inches", "moves", "pizza", "toward", "you"]
LOGITS = np.array([4.51, 0.89, -1.90, 6.75, 1.63, -1.62, -1.89, 6.28, 1.79], np.float32)


@pytest.fixture(scope="module")
def gpt(untrained):
    return untrained(256)[0].eval()


@pytest.fixture(scope="module")
def logits(gpt):
    with no_grad():
        return gpt(IDS)


@pytest.fixture(scope="module")
def windows(verdict, tokenizer):
    """Training and validation windows of 256 tokens."""
    return [token_windows(np.array(tokenizer.encode(part)), 256) for part in hold_out(verdict, 0.1)]


def counts(temperature):
    """Section 5.3.1: how often each word comes in 1,000 draws."""
    stream, probabilities = TorchStream(123), softmax(scale(LOGITS, temperature))
    return np.bincount([stream.choice(probabilities) for _ in range(1000)], minlength=9).tolist()


def test_5_1_1_text_of_the_untrained_model(gpt, tokenizer):
    prompt = "Every effort moves you"
    tokens = decode(gpt, tokenizer, [tokenizer.encode(prompt)], Sampling(temperature=0), max_new_tokens=10)
    text = prompt + "".join(token.text for token in tokens)
    assert text == "Every effort moves you rentingetic wasnم refres RexMeCHicular stren"


def test_5_1_2_most_probable_tokens(logits, tokenizer):
    ids = logits.numpy().argmax(axis=-1)
    assert ids.tolist() == [[16657, 339, 42826], [49906, 29669, 41751]]
    assert tokenizer.decode(TARGETS[0].tolist()) == " effort moves you"
    assert tokenizer.decode(ids[0].tolist()) == " Armed heNetflix"


def test_5_1_2_probabilities_of_the_targets(logits):
    rows, columns = np.indices(TARGETS.shape)
    probabilities = ops.softmax(logits).numpy()[rows, columns, TARGETS]
    # The book has 7.4541e-05 first: the value lies beside the half, and other editions print 7.4540e-05, as we do.
    assert_prints(probabilities, "[7.4540e-05, 3.1061e-05, 1.1563e-05] [1.0337e-05, 5.6776e-05, 4.7559e-06]")
    assert_prints(np.log(probabilities), "[ -9.5042, -10.3796, -11.3677, -11.4798,  -9.7764, -12.2561]")
    assert_prints(np.log(probabilities).mean(), "-10.7940")


def test_5_1_2_cross_entropy_and_perplexity(logits):
    loss = ops.cross_entropy(logits, TARGETS).item()
    assert_prints(loss, "10.7940")
    np.testing.assert_allclose(math.exp(loss), 48725.8203, rtol=1e-5)


def test_5_1_3_characters_and_tokens(verdict, tokenizer):
    assert len(verdict) == 20479
    assert len(tokenizer.encode(verdict)) == 5145


def test_5_1_3_batches(windows):
    (training, _), (validation, _) = windows
    assert training.shape == (9 * 2, 256)
    assert validation.shape == (1 * 2, 256)
    assert training.size == 4608
    assert validation.size == 512


def test_5_1_3_losses_before_training(gpt, windows):
    def mean_loss(ids, targets):
        with no_grad():
            return np.mean([ops.cross_entropy(gpt(ids[i:i + 2]), targets[i:i + 2]).item()
                            for i in range(0, len(ids), 2)])

    (training, validation) = windows
    np.testing.assert_allclose(mean_loss(*training), 10.987583584255642, rtol=1e-6)
    np.testing.assert_allclose(mean_loss(*validation), 10.98110580444336, rtol=1e-6)


def test_5_3_1_one_draw():
    probabilities = softmax(LOGITS)
    assert WORDS[probabilities.argmax()] == "forward"
    assert WORDS[TorchStream(123).choice(probabilities)] == "forward"


def test_5_3_1_a_thousand_draws():
    assert counts(1) == [73, 0, 0, 582, 2, 0, 0, 343, 0]


def test_5_3_1_exercise_5_1_temperatures():
    assert counts(0.1) == [0, 0, 0, 985, 0, 0, 0, 15, 0]
    assert counts(5) == [165, 75, 42, 239, 71, 46, 32, 227, 103]
    assert_prints(softmax(scale(LOGITS, 5))[WORDS.index("pizza")], "0.0430")


def test_5_3_2_top_k():
    kept = top_k(LOGITS, 3)
    order = kept.argsort()[::-1][:3]
    assert order.tolist() == [3, 7, 0]
    assert_prints(kept[order], "[6.7500, 6.2800, 4.5100]")
    assert np.isneginf(np.delete(kept, order)).all()
    assert_prints(softmax(kept), "[0.0615, 0.0000, 0.0000, 0.5775, 0.0000, 0.0000, 0.0000, 0.3610, 0.0000]")
