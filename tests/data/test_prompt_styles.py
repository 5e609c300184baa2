"""The texts that each style makes."""

import pytest

from tinygrad_gpt.data.prompt_styles import STYLES, find_style
from tinygrad_gpt.errors import UsageError

ALPACA = ("Below is an instruction that describes a task. Write a response that appropriately completes the request."
          "\n\n### Instruction:\nIdentify the correct spelling of the following word.")


@pytest.mark.parametrize(("name", "expected"), [
    ("alpaca", ALPACA + "\n\n### Input:\nOcassion\n\n### Response:\n"),
    ("phi3", "<|user|>\nIdentify the correct spelling of the following word.\nOcassion<|end|>\n<|assistant|>\n"),
    ("chat", "<|im_start|>user\nIdentify the correct spelling of the following word.\nOcassion<|im_end|>\n"
             "<|im_start|>assistant\n")])
def test_an_instruction_with_input(name, expected):
    style = STYLES[name]
    request = style.request("Identify the correct spelling of the following word.", "Ocassion")
    assert style.prompt([request]) == expected


def test_an_instruction_without_input_has_no_place_for_it():
    style = STYLES["alpaca"]
    assert style.prompt([style.request("Identify the correct spelling of the following word.")]) == (
        ALPACA + "\n\n### Response:\n")


@pytest.mark.parametrize(("name", "end"), [
    ("alpaca", "### Instruction:\nHi {}\n\n### Response:\nHello.\n\n### Instruction:\nMore\n\n### Response:\n"),
    ("phi3", "<|user|>\nHi {}<|end|>\n<|assistant|>\nHello.<|end|>\n<|user|>\nMore<|end|>\n<|assistant|>\n"),
    ("chat", "<|im_start|>user\nHi {}<|im_end|>\n<|im_start|>assistant\nHello.<|im_end|>\n"
             "<|im_start|>user\nMore<|im_end|>\n<|im_start|>assistant\n")])
def test_a_conversation(name, end):
    assert STYLES[name].prompt(["Hi {}", "More"], ["Hello."]).endswith(end)


def test_where_a_response_is_over():
    assert {name: style.stop for name, style in STYLES.items()} == {
        "alpaca": ("### Instruction:",), "phi3": ("<|end|>",), "chat": ("<|im_end|>",)}


def test_an_unknown_style():
    with pytest.raises(UsageError, match="style is 'poem'; choose one of alpaca, phi3, chat"):
        find_style("poem")
    assert find_style("chat") is STYLES["chat"]
