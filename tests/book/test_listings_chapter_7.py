"""The listings of chapter 7 with the values that the book prints."""

import json

import pytest
from printed import assert_prints

ENTRY = {"instruction": "What is an antonym of 'complicated'?", "input": "", "output": "An antonym of 'complicated' is "
         "'simple'."}


@pytest.fixture
def chapter(listing):
    return listing("chapter_7")


def test_7_2_format_input(chapter):
    assert chapter.format_input(ENTRY) == (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request."
        "\n\n### Instruction:\nWhat is an antonym of 'complicated'?")
    assert chapter.format_input(ENTRY | {"input": "Ocassion"}).endswith("\n\n### Input:\nOcassion")


def test_7_3_collating(chapter):
    batch = ([0, 1, 2, 3, 4], [5, 6], [7, 8, 9])
    inputs = [[0, 1, 2, 3, 4], [5, 6, 50256, 50256, 50256], [7, 8, 9, 50256, 50256]]
    assert chapter.custom_collate_draft_1(batch).tolist() == inputs
    both = chapter.custom_collate_fn(batch)
    assert both[0].tolist() == inputs
    assert both[1].tolist() == [[1, 2, 3, 4, 50256], [6, 50256, -100, -100, -100], [8, 9, 50256, -100, -100]]
    assert chapter.custom_collate_fn(batch, allowed_max_length=2)[1].tolist() == [[1, 2], [6, 50256], [8, 9]]


def test_7_3_ignored_targets(chapter):
    loss_1, loss_2, loss_3 = chapter.ignored_targets()
    assert_prints([loss_1.item(), loss_2.item(), loss_3.item()], "1.1269 0.7936 1.1269")
    assert bool(loss_1 == loss_3)


def test_7_4_data_loaders(chapter, shared_data, capsys):
    data = json.loads((shared_data / "instruct" / "instruction-data.json").read_text(encoding="utf-8"))
    loader = chapter.create_loader(data[:int(len(data) * 0.85)])
    capsys.readouterr()
    chapter.torch.manual_seed(123)
    shapes = [tuple(targets.shape) for _, targets in loader]
    assert len(shapes) == 116
    assert shapes[:7] == [(8, 61), (8, 76), (8, 73), (8, 68), (8, 65), (8, 72), (8, 80)]
    assert shapes[-3:] == [(8, 66), (8, 74), (8, 69)]
