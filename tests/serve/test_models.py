"""Models by name: what each can do, which is the default, and names that cannot be told apart."""

import pytest
import tiny

from tinygrad_gpt.errors import CheckpointError, UsageError
from tinygrad_gpt.runs.saved_model import SavedModel, save_model
from tinygrad_gpt.serve.models import Models, UnknownModelError, load_models, tasks_of


def tuned(saved):
    return SavedModel(saved.model, saved.tokenizer, (), {"config": {"style": "phi3"}})


def test_a_model_is_found_by_task_and_name(saved):
    models = Models({**saved, "assistant": tuned(saved["story"])})
    assert models.find("classify", None) == ("words", saved["words"])
    assert models.find("generate", None)[0] == "story"
    assert models.find("chat", None)[0] == "assistant"  # it was tuned on instructions
    assert models.find("chat", "story")[0] == "story"
    assert [tasks_of(each) for each in models.by_name.values()] == [("classify",)] + [("generate", "chat")] * 2


@pytest.mark.parametrize(("task", "name", "message"), [
    ("classify", "story", r"^cannot classify \(model\): 'story' is not for this task; choose one of words$"),
    ("generate", "x\n", r"^cannot generate \(model\): 'x\\n' is not served; choose one of story$"),
    ("generate", "y" * 999, r"^cannot generate \(model\): 'y{40}' is not served"),
])
def test_a_wrong_name_is_refused(saved, task, name, message):
    with pytest.raises(UnknownModelError, match=message):
        Models(saved).find(task, name)


def test_a_task_without_a_model_is_refused(saved):
    with pytest.raises(UnknownModelError, match=r"cannot chat \(model\): none of the models .*--model storyteller$"):
        Models({"words": saved["words"]}).find("chat", None)


def test_models_are_named_by_their_files(saved, tmp_path):
    (tmp_path / "run").mkdir()
    save_model(tmp_path / "run" / "model.h5", saved["words"])
    save_model(tmp_path / "tiny.v2.h5", tiny.language_model())
    models = load_models([str(tmp_path / "run"), str(tmp_path / "tiny.v2.h5"), "sms-spam"])
    assert list(models.by_name) == ["run", "tiny.v2", "sms-spam"]
    assert list(load_models([]).by_name) == ["sms-spam", "storyteller"]
    with pytest.raises(UsageError, match=r"^two models have the name 'run' .*; rename"):
        load_models([str(tmp_path / "run"), str(tmp_path / "run")])
    with pytest.raises(CheckpointError):
        load_models([str(tmp_path / "absent.h5")])


def test_an_encoder_is_served_once_it_has_classes(tmp_path, monkeypatch):
    encoder = SavedModel(object(), tiny.language_model().tokenizer, (), {})
    monkeypatch.setattr("tinygrad_gpt.serve.models.load_model", lambda path: encoder)
    with pytest.raises(UsageError, match=r"^cannot serve \(minilm\): it is an encoder without classes; finetune it"):
        load_models(["minilm"])
