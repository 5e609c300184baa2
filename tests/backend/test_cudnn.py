"""The choice of attention's implementation, and why cuDNN cannot be used, each in one line."""

import dataclasses
import sys

import fake_cudnn
import pytest

from tinygrad_gpt.backend import get_backend, on_backend
from tinygrad_gpt.backend.cards import card_of
from tinygrad_gpt.backend.cudnn import attention, current_attention, load_cudnn
from tinygrad_gpt.backend.precision import precision
from tinygrad_gpt.cli import main
from tinygrad_gpt.errors import BackendError, UsageError


@pytest.fixture(autouse=True)
def fresh():
    load_cudnn.cache_clear()
    yield
    load_cudnn.cache_clear()


@pytest.fixture
def library(monkeypatch):
    monkeypatch.setitem(sys.modules, "cudnn", library := fake_cudnn.Library())
    return library


def test_the_choice_holds_in_its_block(library):
    assert current_attention() == "own"
    with on_backend("emulated"):
        for name, chosen in (("cudnn", "cudnn"), ("auto", "own"), ("own", "own")):
            with attention(name):
                assert current_attention() == chosen
    assert current_attention() == "own"


def test_a_choice_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match="attention is 'flash'; choose one of own, cudnn, auto"), attention("flash"):
        pass


@pytest.mark.parametrize("name", ["float32", "tf32"])
def test_cudnn_wants_half_precision(library, name):
    with on_backend("emulated"), attention("cudnn"):
        with precision("bfloat16"), precision("float16"):
            pass
        with pytest.raises(UsageError) as refused, precision(name):
            pass
    assert str(refused.value) == (
        f"attention is 'cudnn' (precision {name}): cuDNN's attention is for half precision; choose --precision "
        "bfloat16 or float16, or --attention own")
    with precision(name):  # behind the block
        pass


def test_cards_before_ampere_are_refused(library):
    old = dataclasses.replace(get_backend("emulated"), card=lambda: card_of(75))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tinygrad_gpt.backend.cudnn.default_backend", lambda: old)
        with pytest.raises(UsageError, match=r"GPU of compute capability 7.5\): cuDNN's needs 8.0"), attention("cudnn"):
            pass


def broken():
    raise RuntimeError("Unable to find symbol\n cudnnGetVersion")


@pytest.mark.parametrize(("module", "line"), [
    (None, "nvidia-cudnn-frontend is not installed"),
    (fake_cudnn.Library(91700), "cuDNN is 9.17, 9.18 or newer is needed; pip install -U nvidia-cudnn-cu12"),
    (broken, r"cuDNN cannot be used \(Unable to find symbol cudnnGetVersion\); pip install 'tinygrad-gpt\[cudnn\]'")])
def test_what_is_missing_is_told(monkeypatch, module, line):
    if module is broken:
        module = fake_cudnn.Library()
        module.backend_version = broken
    monkeypatch.setitem(sys.modules, "cudnn", module)
    with on_backend("emulated"), pytest.raises(BackendError, match=line) as refused, attention("cudnn"):
        pass
    assert "--attention own" in str(refused.value)
    assert len(f"error: {refused.value}") <= 240


@pytest.mark.parametrize(("device", "line"), [
    ("numpy", "attention is 'cudnn' (backend numpy): cuDNN runs on an NVIDIA GPU; choose --backend cupy, or "
              "--attention own"),
    ("emulated", "--attention is 'cudnn' (precision float32): cuDNN's attention is for half precision; choose "
                 "--precision bfloat16 or float16, or --attention own")])
@pytest.mark.parametrize("command", [["pretrain"], ["finetune", "classifier"], ["finetune", "instructions"]])
def test_a_command_is_refused_before_it_writes(library, capsys, tmp_path, monkeypatch, command, device, line):
    monkeypatch.setattr("tinygrad_gpt.backend.on_backend", lambda name: on_backend(device))
    (tmp_path / "data.txt").write_text("text")
    out = tmp_path / "out"
    code = main([*command, "--data", str(tmp_path / "data.txt"), "--out", str(out), "--attention", "cudnn",
                 "--backend", "cupy"])
    assert (code, capsys.readouterr()) == (2, ("", f"error: {line}\n"))
    assert not out.exists()
