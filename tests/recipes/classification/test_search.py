"""What a search may try, and what it knows."""

from dataclasses import replace

import pytest

from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.recipes.classification import search as module
from tinygrad_gpt.recipes.classification.config import FinetuneConfig
from tinygrad_gpt.recipes.classification.search import SETTINGS, Search, Trial, holds_search


@pytest.fixture
def search(tmp_path, monkeypatch):
    """A search of 100 seconds, of which the clock stands still."""
    monkeypatch.setattr(module.time, "monotonic", lambda: 0.0)
    return Search(tmp_path, FinetuneConfig("mail.csv"), 100.0, [], epoch_seconds=4.0, steps=30,
                  baseline={"accuracy": 0.5, "log_loss": 1.0, "seconds": 10.0})


def test_what_is_given_is_in_no_setting(search):
    assert list(search.settings()) == list(SETTINGS["decoder"])
    search.given = ["lr", "read", "no_causal_mask"]
    settings = search.settings()
    assert all(not {"lr", "read", "no_causal_mask"} & changes.keys() for changes in settings.values())
    assert len(settings) == len({str(changes) for changes in settings.values()})
    search.config, search.given = replace(search.config, lm_weight=1.0), ["lm_weight"]
    assert list(search.settings()) == ["last token, language-model loss"]  # the others leave out the causal mask


def test_time_is_kept_for_the_judgement(search):
    assert search.left == pytest.approx(100 - 1.2 * 10 - 0.6 * 4 - 2)
    assert search.cost({"lm_weight": 0.0}, 3) == pytest.approx(12)
    assert search.cost({"lm_weight": 1.0}, 3) == pytest.approx(16.8)
    assert search.cost({"lm_weight": 0.0, "pretrain_epochs": 2}, 3) == pytest.approx(24)


def test_a_first_trial_has_sixty_steps(search):
    assert search.first_epochs == 2
    search.given = ["epochs"]
    assert search.first_epochs == search.config.epochs


def test_a_first_round_fits_into_its_share_of_the_time(search):
    search.plan()
    assert (search.first, search.epochs) == (list(SETTINGS["decoder"])[:2], 2)  # 8 and 14 of 40 seconds; 14 too many
    search.epoch_seconds = 30.0  # a pass fits, two of them do not
    search.plan()
    assert (search.first, search.epochs) == (list(SETTINGS["decoder"])[:1], 1)
    search.epoch_seconds = 80.0
    with pytest.raises(UsageError, match=r"budget of 100 s \(mail\.csv\): training and what follows take about "
                                         r"142 s; give 213 s or more, or fewer texts"):
        search.plan()


def test_the_best_trial_has_the_highest_accuracy_then_the_lowest_loss(search):
    assert search.best() is None
    search.trials = [Trial("a", {}, 1, 0.8, 0.5), Trial("b", {}, 1, 0.9, 0.4), Trial("c", {}, 2, 0.9, 0.3),
                     Trial("d", {}, 2)]
    assert search.best().setting == "c"
    assert not holds_search(search.folder)
    search.save()
    assert holds_search(search.folder)
