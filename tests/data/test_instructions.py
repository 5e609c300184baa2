"""Instruction data: files, parts, batches; the numbers of the book."""

import bz2
import gzip
import json
import lzma
import zipfile

import pytest

from tinygrad_gpt.data.instructions import Instruction, collate, read_instructions, split_in_order
from tinygrad_gpt.data.prompt_styles import STYLES
from tinygrad_gpt.errors import DataError
from tinygrad_gpt.text import Tokenizer

ENTRY = {"instruction": "Add.", "input": "1, 2", "output": "3"}
EOT = 50256


def write(folder, name, text):
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_both_forms_of_file(tmp_path):
    bare = {"instruction": "Say é.", "output": "é", "more": 5}
    expected = [Instruction("Add.", "1, 2", "3"), Instruction("Say é.", "", "é")]
    assert read_instructions(write(tmp_path, "a.json", json.dumps([ENTRY, bare]))) == expected
    lines = "\n".join(["", json.dumps(ENTRY), "  ", json.dumps(bare, ensure_ascii=False), ""])
    assert read_instructions(write(tmp_path, "a.jsonl", lines)) == expected


@pytest.mark.parametrize("ending", ["gz", "xz", "bz2", "zip"])
def test_files_may_be_compressed(ending, tmp_path):
    content = json.dumps(ENTRY)
    if ending == "zip":
        with zipfile.ZipFile(tmp_path / "a.jsonl.zip", "w") as archive:
            archive.writestr("a.jsonl", content)
    else:
        compress = {"gz": gzip, "xz": lzma, "bz2": bz2}[ending].compress
        (tmp_path / f"a.jsonl.{ending}").write_bytes(compress(content.encode()))
    assert read_instructions(tmp_path / f"a.jsonl.{ending}") == [Instruction("Add.", "1, 2", "3")]


@pytest.mark.parametrize(("name", "text", "part"), [
    ("a.json", json.dumps([ENTRY, {"instruction": "x"}]), '(a.json, entry 2): it has no "output"'),
    ("a.json", json.dumps([ENTRY, 5]), "(a.json, entry 2): a JSON object is expected, not a number"),
    ("a.json", json.dumps([{**ENTRY, "input": ["x"]}]), '(a.json, entry 1): its "input" is a list, not a string'),
    ("a.json", json.dumps([{**ENTRY, "output": " \n"}]), '(a.json, entry 1): its "output" is empty'),
    ("a.json", json.dumps([{**ENTRY, "output": True}]), '(a.json, entry 1): its "output" is a truth value'),
    ("a.json", '[{"instruction": "a", "output": "b", "output": "c"}]', "entry 1): the key 'output' is there twice"),
    ("a.json", json.dumps([{"question": "a", "query": "b", "output": "c"}]), 'it has both "question" and "query"'),
    ("a.json", json.dumps([{"messages": [{"role": "user", "content": "a"}]}]), 'its "messages" are not one of the'),
    ("a.json", json.dumps([{"task": "a", "output": "b"}]), "it has no \"instruction\"; its keys are 'task', 'output'"),
    ("a.json", "[\n{,", "(a.json, line 2, column 2): not JSON: "),
    ("a.json", "[" * 100_000, "): not JSON: too deeply nested"),
    ("a.json", "[]", "no entries (a.json)"),
    ("a.jsonl", json.dumps(ENTRY) + "\n\n{", "(a.jsonl, line 3, column 2): not JSON"),
    ("a.jsonl", json.dumps(ENTRY) + "\nnull", "(a.jsonl, line 2): a JSON object is expected, not null"),
    ("a.jsonl", "\n", "no entries (a.jsonl)"),
    ("a.csv", "", "(a.csv): unknown extension; use .json with a list, or .jsonl"),
])
def test_a_malformed_entry_is_named(name, text, part, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, name, text)
    with pytest.raises(DataError) as error:
        read_instructions(name)
    assert part in str(error.value)


@pytest.mark.parametrize("entry", [
    {"instruction": "Add.", "context": "1, 2", "response": "3", "category": "sums"},
    {"prompt": "Add.", "input": "1, 2", "completion": "3"}, {"question": "Add.", "context": "1, 2", "answer": "3"},
    {"query": "Add.", "input": "", "context": "1, 2", "output": "3"},
])
def test_other_names_of_the_same(entry, tmp_path):
    assert read_instructions(write(tmp_path, "a.json", json.dumps([entry]))) == [Instruction("Add.", "1, 2", "3")]


def test_malformed_entries_are_skipped_with_a_count_and_unread_keys_named(tmp_path):
    entries = [{**ENTRY, "category": "sums"}] * 10 + [{**ENTRY, "output": ""}, 5]
    read = read_instructions(write(tmp_path, "a.json", json.dumps(entries)), skip_malformed=True)
    assert (len(read), read.skipped, read.unread) == (10, 2, ("category",))
    assert str(split_in_order(read)).endswith("; 2 malformed entries skipped; keys not read: 'category'")


def test_a_chat_of_one_turn(tmp_path):
    chat = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
    assert read_instructions(write(tmp_path, "a.jsonl", json.dumps(chat))) == [Instruction("Hi", "", "Hello")]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@pytest.mark.parametrize("text", [json.dumps([ENTRY, ENTRY]), f"{json.dumps(ENTRY)}\n" * 2, json.dumps(ENTRY) * 2,
                                  json.dumps([ENTRY, ENTRY], indent=1), "\ufeff" + json.dumps(ENTRY, indent=1) * 2])
def test_lists_lines_and_objects_in_a_row_under_either_ending(name, text, tmp_path):
    assert read_instructions(write(tmp_path, name, text)) == [Instruction("Add.", "1, 2", "3")] * 2


def test_parts_are_cut_in_the_order_of_the_file():
    entries = [Instruction(str(i % 18), "", "x") for i in range(20)]
    parts = split_in_order(entries)
    assert (parts.train, parts.test, parts.validation) == (entries[:17], entries[17:19], entries[19:])
    assert str(parts) == "17 training, 1 validation, 2 test entries, 2 of which are in the training part as well"
    with pytest.raises(DataError, match=r"too few entries \(a\.json\): 9; give 10 or more"):
        split_in_order(entries[:9], "a.json")


def test_the_batch_of_the_book():
    ids, targets = collate([[0, 1, 2, 3, 4], [5, 6], [7, 8, 9]], EOT, 1024)
    assert ids.tolist() == [[0, 1, 2, 3, 4], [5, 6, EOT, EOT, EOT], [7, 8, 9, EOT, EOT]]
    assert targets.tolist() == [[1, 2, 3, 4, EOT], [6, EOT, -100, -100, -100], [8, 9, EOT, -100, -100]]


def test_prompts_do_not_count_and_long_rows_are_cut():
    _, targets = collate([[0, 1, 2, 3, 4], [5, 6], [7, 8, 9]], EOT, 1024, masked=[3, 1, 0])
    assert targets.tolist() == [[-100, -100, 3, 4, EOT], [6, EOT, -100, -100, -100], [8, 9, EOT, -100, -100]]
    ids, targets = collate([[0, 1, 2, 3, 4], [5, 6], [7, 8, 9]], EOT, 3, masked=[3, 1, 0])
    assert ids.tolist() == [[0, 1, 2], [5, 6, EOT], [7, 8, 9]]
    assert targets.tolist() == [[-100, -100, 3], [6, EOT, -100], [8, 9, EOT]]


def test_the_data_of_the_book(shared_data):
    entries = read_instructions(shared_data / "instruct" / "instruction-data.json")
    parts = split_in_order(entries)
    assert (len(entries), len(parts.train), len(parts.test), len(parts.validation)) == (1100, 935, 110, 55)
    tokenizer, style = Tokenizer.from_pretrained("gpt2"), STYLES["alpaca"]
    prompts = [style.prompt([style.request(entry.instruction, entry.input)]) for entry in entries]
    lengths = [len(tokenizer.encode(prompt + entry.output)) for prompt, entry in zip(prompts, entries, strict=True)]
    assert (min(lengths), round(sum(lengths) / len(lengths), 1), max(lengths)) == (40, 56.4, 91)
    # The prompt and the response, each on its own, have the same tokens as the whole.
    assert lengths == [len(tokenizer.encode(prompt)) + len(tokenizer.encode(entry.output))
                       for prompt, entry in zip(prompts, entries, strict=True)]
