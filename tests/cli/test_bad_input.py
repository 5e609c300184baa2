"""Whatever is wrong with arguments, files, models or surroundings: one line, the right code, and nothing changed."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny

from tinygrad_gpt.checkpoints import native
from tinygrad_gpt.cli import main
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.runs.saved_model import SavedModel, save_model
from tinygrad_gpt.text import Characters

REPOSITORY = Path(__file__).resolve().parents[2]

FILES = {  # what lies in the folder of every case
    "good.csv": "text,label\n" + "".join(f"{text},{label}\n" for text, label in tiny.texts(12)),
    "good.txt": "bug loop\nski ice\n",
    "empty.csv": "", "blank.csv": "\n\n\n", "header.csv": "text,label\n", "empty.txt": "", "hole.txt": "a\n\nb\n",
    "ends.txt": "<|endoftext|>\n",
    "ragged.csv": "text,label\na,sun\nb,code,x\n", "quote.csv": 'text,label\n"a,sun\nb,code\n',
    "inner.csv": 'text,label\n"a"b,sun\nc,code\n', "oneclass.csv": "text,label\na,sun\nb,sun\n",
    "case.csv": "text,label\na,sun\nb,Sun\nc,code\n", "notext.csv": "text,label\n,sun\nb,code\n",
    "nolabel.csv": "text,label\na,\nb,code\n", "nul.csv": "text,label\na\0,sun\nb,code\n",
    "columns.csv": "prose,mood,text2\na,sun,x\n", "twice.csv": "text,text,label\na,b,sun\n",
    "foreign.csv": "text,label\na,ham\nb,spam\n", "few.csv": "text,label\na,sun\nb,code\nc,code\nd,code\ne,sun\n",
    "bad.jsonl": '{"text": "a", "label": "sun"}\n{"text": \n', "list.jsonl": "[1, 2]\n",
    "number.jsonl": '{"text": 5, "label": "sun"}\n', "deep.jsonl": "[" * 100_000 + "\n",
    "surrogate.jsonl": '{"text": "\\ud800", "label": "sun"}\n',
    "good.xls": "PK", "broken.csv.xz": "not xz", "broken.csv.gz": "not gzip",
    "few.json": '[{"instruction": "a", "output": "b"}]', "bad.json": '[{"instruction": "a", "output": "b"}, {}]',
    "tasks.json": json.dumps([{"instruction": "a", "output": "b", "chosen": "c", "rejected": "d"}] * 20),
    "short.txt": "one", "zero.h5": "", "text.h5": "these are not weights", "zip.h5": "PK\x03\x04rest",
}
BYTES = {"latin.csv": b"text,label\ncaf\xe9,sun\nb,code\n", "cp1252.csv": b"text,label\ncold \x96 it\x92s,sun\n",
         "latin.txt": b"caf\xe9",
         "utf16.csv": "text,label\na,sun\n".encode("utf-16-le"), "pickle.h5": b"\x80\x04\x95",
         "lfs.h5": b"version https://git-lfs.github.com/spec/v1\n"}

IS_FILE = "cannot write (good.txt): it is a file; name a folder"
CLASSIFY = ["classify", "--model", "model.h5"]
GENERATE = ["generate", "--model", "language.h5"]
EVALUATE = ["evaluate", "--model", "model.h5", "--data"]
FINETUNE = ["finetune", "classifier", "--base", "language.h5", "--out", "new", "--data"]
PRETRAIN = ["pretrain", "--out", "new", "--data"]
PERPLEXITY = ["perplexity", "--model", "language.h5", "--data"]
GENERATE = ["generate", "--model", "language.h5"]
INSTRUCT = ["finetune", "instructions", "--base", "language.h5", "--out", "new", "--data"]
PREFER = ["finetune", "preferences", "--base", "language.h5", "--out", "new", "--data"]
RESPOND = ["respond", "--model", "language.h5"]
EXPERIMENTS = ["experiments", "--base", "language.h5", "--out", "new", "--data"]
SCORE = ["evaluate", "instructions", "--model", "language.h5", "--output", "new.jsonl", "--data"]

CASES = [  # arguments, exit code, part of the line
    # arguments: classify
    (["classify"], 2, "no text; give TEXT... or --file"),
    ([*CLASSIFY, "a", "--file", "good.txt"], 2, "both texts and --file are given"),
    ([*CLASSIFY, ""], 1, "empty text (text 1)"),
    ([*CLASSIFY, "a", " \t\n"], 1, "empty text (text 2)"),
    ([*CLASSIFY, "\u3000\u2003"], 1, "empty text (text 1)"),
    ([*CLASSIFY, "a", "--text-column", "1"], 2, "there is no --file"),
    ([*CLASSIFY, "a", "--json", "--output", "out.csv"], 2, "two places for the answers"),
    ([*CLASSIFY, "a", "--output", "out.xlsx"], 2, "unknown extension '.xlsx'"),
    ([*CLASSIFY, "a", "--output", "out"], 2, "unknown extension ''"),
    ([*CLASSIFY, "a", "--output", "absent/out.csv"], 1, "cannot write (absent/out.csv)"),
    ([*CLASSIFY, "a", "--output", "good.txt/out.csv"], 1, "cannot write (good.txt/out.csv)"),
    ([*CLASSIFY, "a", "--output", "folder.csv"], 1, "it is a folder or a device"),
    ([*CLASSIFY, "a\tb", "--output", "out.tsv"], 1, "cannot write as TSV (text 1)"),
    ([*CLASSIFY, "a\udcff", "--output", "out.csv"], 1, "text is not Unicode"),
    ([*CLASSIFY, "a", "--bogus"], 2, "No such option '--bogus'"),
    ([*CLASSIFY, "a", "--model"], 2, "Option '--model' requires an argument"),
    ([*CLASSIFY, "a", "--threads", "0"], 2, "'0' is not a whole number from 1 to 1024"),
    ([*CLASSIFY, "a", "--threads", "1_0"], 2, "'1_0' is not a whole number"),
    ([*CLASSIFY, "a", "--backend", "tpu"], 2, "'tpu'"),
    # arguments: generate
    (["generate"], 2, "no prompt; give PROMPT... or --file"),
    ([*GENERATE, "a", "--file", "good.txt"], 2, "both prompts and --file are given"),
    ([*GENERATE, "a", "--text-column", "1"], 2, "there is no --file"),
    ([*GENERATE, "a", "--max-new-tokens", "0"], 2, "'0' is not a whole number from 1"),
    ([*GENERATE, "a", "--max-new-tokens", "1e2"], 2, "'1e2' is not a whole number"),
    ([*GENERATE, "a", "--temperature", "-1"], 2, "'-1' is not a number from 0"),
    ([*GENERATE, "a", "--temperature", "nan"], 2, "'nan' is not a number from 0"),
    ([*GENERATE, "a", "--temperature", "inf"], 2, "'inf' is not a number from 0"),
    ([*GENERATE, "a", "--top-k", "0"], 2, "'0' is not a whole number from 1"),
    ([*GENERATE, "a", "--top-k", "1_0"], 2, "'1_0' is not a whole number"),
    ([*GENERATE, "a", "--top-p", "0"], 2, "--top-p is 0.0, expected above 0 and at most 1"),
    ([*GENERATE, "a", "--top-p", "1.1"], 2, "'1.1' is not a number from 0 to 1"),
    ([*GENERATE, "a", "--min-p", "2"], 2, "'2' is not a number from 0 to 1"),
    ([*GENERATE, "a", "--repetition-penalty", "0"], 2, "'0' is not a number above 0"),
    ([*GENERATE, "a", "--stop", ""], 2, "stop has an empty string"),
    ([*GENERATE, "a", "--seed", "-1"], 2, "'-1' is not a whole number from 0"),
    ([*GENERATE, "a", "--num-samples", "\u0663"], 2, "is not a whole number from 1"),
    ([*GENERATE, "a", "--num-samples", "3", "--temperature", "0"], 2, "at temperature 0 all would be the same"),
    # arguments: the others
    (["evaluate"], 2, "Missing option '--data'"),
    ([*EVALUATE, "good.csv", "extra"], 2, "unexpected extra argument"),
    ([*EVALUATE, "good.csv", "--part", "some"], 2, "'some' is not one of"),
    ([*EVALUATE, "good.csv", "--errors", "-1"], 2, "'-1' is not a whole number from 0"),
    ([*EVALUATE, "good.csv", "--errors", "\u0663"], 2, "is not a whole number from 0"),
    ([*EVALUATE, "good.csv", "--part", "test"], 2, "does not say how its data were split"),
    (["finetune"], 0, ""),
    (["finetune", "poet"], 2, "No such command 'poet'"),
    (["finetune", "classifier", "--data", "good.csv"], 2, "Missing option '--out'"),
    ([*FINETUNE, "good.csv", "--train", "nothing"], 2, "'nothing' is not one of"),
    ([*FINETUNE, "good.csv", "--epochs", "0"], 2, "'0' is not a whole number from 1"),
    ([*FINETUNE, "good.csv", "--epochs", "1e3"], 2, "'1e3' is not a whole number"),
    ([*FINETUNE, "good.csv", "--batch-size", "99999999999999999999"], 2, "is not a whole number"),
    ([*FINETUNE, "good.csv", "--lr", "nan"], 2, "'nan' is not a number above 0"),
    ([*FINETUNE, "good.csv", "--lr", "inf"], 2, "'inf' is not a number above 0"),
    ([*FINETUNE, "good.csv", "--lr", "0"], 2, "'0' is not a number above 0"),
    ([*FINETUNE, "good.csv", "--lr", "-1e-3"], 2, "'-1e-3' is not a number above 0"),
    ([*FINETUNE, "good.csv", "--dropout", "1.5"], 2, "'1.5' is not a number from 0"),
    ([*FINETUNE, "good.csv", "--dropout", "1"], 2, "p is 1.0"),
    ([*FINETUNE, "good.csv", "--seed", "-3"], 2, "'-3' is not a whole number from 0"),
    ([*FINETUNE, "good.csv", "--base", "absent.h5"], 1, "cannot load (absent.h5): no such file"),
    ([*FINETUNE, "good.csv", "--out", "good.txt"], 2, IS_FILE),
    ([*FINETUNE, "good.csv", "--out", "/dev/null/run"], 1, "/dev/null/run"),
    ([*FINETUNE, "good.csv", "--out", "finished"], 2, "a finished run is there"),
    (["pretrain", "--out", "new"], 2, "Missing option '--data'"),
    ([*PRETRAIN, "short.txt"], 1, "fewer than one window of 256"),
    ([*PRETRAIN, "good.txt", "--n-embd", "10", "--n-ctx", "4"], 2, "--n-embd is 10, not a multiple of --n-head"),
    ([*PRETRAIN, "good.txt", "--vocab-size", "100"], 2, "ask for 257 or more"),
    ([*PRETRAIN, "good.txt", "--resume"], 2, "cannot resume (new): no run was started there"),
    ([*PRETRAIN, "good.txt", "--resume", "--out", "finished"], 2, "no run was started there"),
    ([*PRETRAIN, "good.txt", "--tokenizer", "words"], 2, "'words' is not one of"),
    ([*PRETRAIN, "good.txt", "--tokenizer", "characters", "--vocab-size", "3"], 2, "different characters"),
    ([*PRETRAIN, "good.txt", "--hold-out", "1"], 2, "--hold-out is 1.0"),
    ([*PRETRAIN, "good.txt", "--hold-out", "1.5"], 2, "'1.5' is not a number from 0"),
    ([*PRETRAIN, "good.txt", "--hold-out", "0.5", "--validation", "good.txt"], 2, "both validation files and a share"),
    ([*PRETRAIN, "good.txt", "--min-lr", "0.5"], 2, "--min-lr is 0.5, above lr"),
    ([*PRETRAIN, "good.txt", "--steps", "2", "--epochs", "2"], 2, "both steps and epochs"),
    ([*PRETRAIN, "good.txt", "--epochs", "2"], 2, "random windows have no epochs"),
    ([*PRETRAIN, "good.txt", "--stride", "2"], 2, "random windows have no stride"),
    ([*PRETRAIN, "good.txt", "--patience", "2"], 2, "patience without a validation text"),
    ([*PRETRAIN, "good.txt", "--sample-every", "2"], 2, "--sample-every without a prompt"),
    ([*PRETRAIN, "good.txt", "--base", "model.h5", "--n-embd", "2"], 2, "the base brings its own"),
    ([*PRETRAIN, "good.txt", "--base", "absent.h5"], 1, "cannot load (absent.h5): no such file"),
    ([*PRETRAIN, "good.txt", "--vocabulary", "absent.json"], 1, "cannot read the vocabulary (absent.json)"),
    ([*PRETRAIN, "good.txt", "--vocabulary", "folder.csv"], 1, "folder.csv"),
    ([*PRETRAIN, "good.txt", "--init", "zeros"], 2, "'zeros' is not one of"),
    ([*PRETRAIN, "good.txt", "--n-ctx", "4", "--out", "good.txt"], 2, IS_FILE),
    ([*PRETRAIN, "good.txt", "--n-ctx", "4", "--out", "/dev/null/run"], 1, "/dev/null/run"),
    ([*PRETRAIN, "good.txt", "--n-ctx", "4", "--validation", "absent.txt"], 1, "cannot read (absent.txt)"),
    (["download"], 2, "Missing argument 'MODEL"),
    (["download", "gpt3"], 2, "'gpt3' is not one of"),
    (["download", "gpt2", "--from", "absent", "--to", "new"], 1, "cannot read (absent): no such folder"),
    (["download", "gpt2", "--from", "folder.csv", "--to", "new"], 1, "cannot read (folder.csv/model.safetensors)"),
    (["download", "gpt2", "--from", "ftp://127.0.0.1/x", "--to", "new"], 1, "does not begin with http:// or https://"),
    (["download", "gpt2", "--from", "http://127.0.0.1:1", "--to", "good.txt"], 2, IS_FILE),
    (["download", "gpt2", "--from", "http://127.0.0.1:1", "--to", "/dev/null/new"], 1, "/dev/null/new"),
    (["info"], 2, "Missing argument 'MODEL'"),
    (["info", "absent"], 1, "cannot load (absent)"),
    (["info", "good.txt"], 1, "good.txt"),
    (["export"], 2, "Missing option '--out'"),
    (["export", "--model", "absent", "--out", "new"], 1, "cannot load (absent)"),
    (["export", "--model", "letters.h5", "--out", "new"], 2, "cannot export a model of characters"),
    (["export", "--model", "language.h5", "--out", "good.txt"], 2, IS_FILE),
    (["export", "--model", "language.h5", "--out", "/dev/null/new"], 1, "/dev/null/new"),
    (["perplexity"], 2, "Missing option '--data'"),
    ([*PERPLEXITY, "good.txt", "extra"], 2, "unexpected extra argument"),
    ([*PERPLEXITY, "good.txt", "--stride", "0"], 2, "'0' is not a whole number from 1"),
    ([*PERPLEXITY, "good.txt", "--stride", "1e1"], 2, "'1e1' is not a whole number"),
    ([*PERPLEXITY, "good.txt", "--stride", "17"], 2, "stride is 17 (perplexity): the model reads 16 tokens"),
    ([*PERPLEXITY, "good.txt", "--max-windows", "-1"], 2, "'-1' is not a whole number from 1"),
    (["generate"], 2, "no prompt; give PROMPT... or --file"),
    ([*GENERATE, "a", "--file", "good.txt"], 2, "both prompts and --file are given"),
    ([*GENERATE, "a", "--text-column", "1"], 2, "there is no --file"),
    ([*GENERATE, "a", "--max-new-tokens", "0"], 2, "'0' is not a whole number from 1"),
    ([*GENERATE, "a", "--temperature", "-1"], 2, "'-1' is not a number"),
    ([*GENERATE, "a", "--temperature", "nan"], 2, "'nan' is not a number"),
    ([*GENERATE, "a", "--top-p", "1.5"], 2, "'1.5' is not a number from 0"),
    ([*GENERATE, "a", "--top-p", "0"], 2, "--top-p"),
    ([*GENERATE, "a", "--top-k", "0"], 2, "'0' is not a whole number from 1"),
    ([*GENERATE, "a", "--min-p", "inf"], 2, "'inf' is not a number from 0"),
    ([*GENERATE, "a", "--repetition-penalty", "0"], 2, "'0' is not a number above 0"),
    ([*GENERATE, "a", "--seed", "-1"], 2, "'-1' is not a whole number from 0"),
    ([*GENERATE, "a", "--num-samples", "0"], 2, "'0' is not a whole number from 1"),
    ([*GENERATE, "a", "--num-samples", "2", "--temperature", "0"], 2, "at temperature 0 all would be the same"),
    ([*GENERATE, "a", "--stop", ""], 2, "stop has an empty string"),
    ([*GENERATE, "--file", "absent.txt"], 1, "cannot read (absent.txt)"),
    ([*GENERATE, "--file", "latin.txt"], 1, "byte 0xe9 is not utf-8"),
    # arguments: experiments
    (["experiments"], 2, "Missing option '--data'"),
    (["experiments", "--data", "good.csv"], 2, "Missing option '--out'"),
    *[([*EXPERIMENTS, "good.csv", *more], 2, part) for part, *more in [
        ("rows has '24'; give numbers from 1 to 23", "--rows", "1,24"), ("rows has 'x'", "--rows", "x"),
        ("rows has ''", "--rows", ""), ("rows has '3-1'", "--rows", "3-1"), ("seeds has 'a'", "--seeds", "1,a"),
        ("seeds has '-1'", "--seeds", "-1"), ("'0' is not a whole number from 1", "--epochs", "0"),
        ("'nan' is not a number above 0", "--lr", "nan"), ("'0' is not a number above 0", "--lr", "0")]],
    *[([*EXPERIMENTS, name], 1, part) for name, part in [
        ("absent.csv", "cannot read (absent.csv)"), ("folder.csv", "cannot read (folder.csv)"),
        ("good.csv", "3 classes (good.csv): the book's split is for two"), ("oneclass.csv", "1 class")]],
    ([*EXPERIMENTS, "good.csv", "--dry-run"], 1, "3 classes (good.csv)"),
    ([*EXPERIMENTS, "foreign.csv", "--base", "absent.h5"], 1, "cannot load (absent.h5): no such file"),
    ([*EXPERIMENTS, "foreign.csv", "--base", "folder.csv"], 1, "folder.csv"),
    ([*EXPERIMENTS, "foreign.csv", "--out", "good.txt"], 2, IS_FILE),
    ([*EXPERIMENTS, "foreign.csv", "--out", "/dev/null/new"], 1, "/dev/null/new"),
    # arguments: instructions
    *[(["finetune", command, *more], 2, part) for command in ("instructions", "preferences") for part, *more in [
        ("Missing option '--data'", "--out", "new"), ("Missing option '--out'", "--data", "tasks.json"),
        ("Missing option '--out'", "--resume")]],
    ([*INSTRUCT, "tasks.json", "--style", "poem"], 2, "'poem' is not one of"),
    ([*INSTRUCT, "tasks.json", "--loss-on", "prompt"], 2, "'prompt' is not one of"),
    ([*INSTRUCT, "tasks.json", "--train", "head"], 2, "'head' is not one of"),
    ([*INSTRUCT, "tasks.json", "--train", "lora", "--targets", "score"], 2,
     "is called 'score'; choose from q, k, v, attn.c_proj, mlp.c_fc, mlp.c_proj\n"),
    ([*INSTRUCT, "tasks.json", "--show-mask", "0"], 2, "'0' is not a whole number from 1"),
    ([*INSTRUCT, "tasks.json", "--lr", "nan"], 2, "'nan' is not a number above 0"),
    ([*INSTRUCT, "tasks.json", "--base", "absent.h5"], 1, "cannot load (absent.h5): no such file"),
    ([*INSTRUCT, "tasks.json", "--show-mask", "1", "--base", "absent.h5"], 1, "cannot load (absent.h5)"),
    ([*INSTRUCT, "tasks.json", "--resume"], 2, "cannot resume (new): no run was started there"),
    ([*INSTRUCT, "tasks.json"], 1, "prompts too long"),
    ([*PREFER, "tasks.json"], 1, "prompts too long"),
    ([*PREFER, "tasks.json", "--beta", "0"], 2, "'0' is not a number above 0"),
    ([*PREFER, "tasks.json", "--log-probability", "median"], 2, "'median' is not one of"),
    *[([*command, name], 1, part) for command in (INSTRUCT, PREFER, SCORE) for name, part in [
        ("absent.json", "cannot read (absent.json)"), ("folder.csv", "cannot read (folder.csv)"),
        ("good.csv", "cannot read (good.csv): unknown extension"), ("deep.jsonl", "too deeply nested"),
        ("bad.json", "malformed entry (bad.json, entry"), ("bad.jsonl", "malformed entry (bad.jsonl, line"),
        ("list.jsonl", "(list.jsonl, entry 1): a JSON object is expected, not a number")]],
    ([*INSTRUCT, "few.json"], 1, "too few entries (few.json): 1"),
    ([*SCORE, "few.json", "--part", "test"], 1, "too few entries (few.json): 1"),
    (["evaluate", "instructions", "--data", "tasks.json"], 2, "Missing option '--output'"),
    ([*SCORE, "tasks.json", "--judge", "http://127.0.0.1:9"], 2, "one is missing; give both or none"),
    ([*SCORE, "tasks.json", "--judge", "wise", "--judge-model", "x"], 2, "judge is 'wise', expected an address"),
    ([*SCORE, "tasks.json", "--limit", "0"], 2, "'0' is not a whole number from 1"),
    (["respond"], 2, "Missing argument 'INSTRUCTION'"),
    ([*RESPOND, " "], 2, "empty instruction (arguments)"),
    ([*RESPOND, "a", "--style", "poem"], 2, "'poem' is not one of"),
    ([*RESPOND, "a", "--temperature", "nan"], 2, "'nan' is not a number from 0"),
    ([*RESPOND, "a", "--max-new-tokens", "0"], 2, "'0' is not a whole number from 1"),
    (["respond", "a", "--model", "absent"], 1, "cannot load (absent): no such file"),
    (["chat", "--model", "absent"], 1, "cannot load (absent): no such file"),
    # data
    *[([*EVALUATE, name, *more], 1, part) for name, part, *more in [
        ("absent.csv", "cannot read (absent.csv)"), ("folder.csv", "cannot read (folder.csv)"),
        ("a\nb.csv", "cannot read (a b.csv)"), ("good.xls", "unknown extension .xls"),
        ("empty.csv", "no rows (empty.csv)"), ("blank.csv", "no rows (blank.csv)"), ("header.csv", "header.csv"),
        ("ragged.csv", "malformed row (ragged.csv, line 3, column 3)"), ("quote.csv", "a quote is never closed"),
        ("inner.csv", "malformed row (inner.csv, line 2, column 1)"), ("oneclass.csv", "1 class (oneclass.csv)"),
        ("case.csv", "they differ by case or space only"), ("notext.csv", "line 2, column 1): the text is empty"),
        ("nolabel.csv", "line 2, column 2): the label is empty"), ("nul.csv", "a NUL character in the text"),
        ("columns.csv", "no text column (columns.csv)", "--label-column", "mood"),
        ("twice.csv", "2 text columns (twice.csv)"), ("foreign.csv", "unknown labels (foreign.csv): 'ham', 'spam'"),
        ("good.csv", "no label column 'x' (good.csv)", "--label-column", "x"),
        ("good.csv", "both are column 1", "--text-column", "text", "--label-column", "text"),
        ("good.csv", "there are columns 1 to 2", "--text-column", "9", "--label-column", "1"),
        ("good.csv", "there are columns 1 to 2", "--text-column", "0", "--label-column", "1"),
        ("bad.jsonl", "malformed row (bad.jsonl, line 2"), ("list.jsonl", "a JSON object is expected, not Number"),
        ("number.jsonl", "a number, not a string"), ("deep.jsonl", "not JSON"),
        ("surrogate.jsonl", "half a surrogate pair"), ("latin.csv", "line 2, column 4): byte 0xe9 is not utf-8"),
        ("utf16.csv", "line 1, column 2): byte 0x00 is not utf-8; as utf-16-le it reads 'text,label a,sun'"),
        ("cp1252.csv", "byte 0x96 is not utf-8; as cp1252 it reads 'cold – it’s,sun'"),
        ("/dev/zero", "cannot read (/dev/zero): it is a device"), ("pipe", "cannot read (pipe): it is a named pipe"),
        ("broken.csv.xz", "the compressed file is damaged"), ("broken.csv.gz", "the compressed file is damaged"),
    ]],
    *[([*EVALUATE, "good.csv", "--encoding", name], 2, f"no encoding '{name}' of text")
      for name in ("klingon", "idna", "hex")],
    *[([*command, "pipe"], 1, "cannot read (pipe): it is a named pipe, not a regular file") for command in (
        FINETUNE, PRETRAIN, PERPLEXITY, INSTRUCT, PREFER, SCORE, EXPERIMENTS, [*CLASSIFY, "--file"],
        [*GENERATE, "--file"])],
    ([*EVALUATE, "good.csv", "--text-column", "1", "--label-column", "label"], 2, "one is a name and one a number"),
    ([*CLASSIFY, "--file", "absent.txt"], 1, "cannot read (absent.txt)"),
    ([*CLASSIFY, "--file", "folder.csv"], 1, "cannot read (folder.csv)"),
    ([*CLASSIFY, "--file", "empty.txt"], 1, "empty.txt"),
    ([*CLASSIFY, "--file", "ragged.csv"], 1, "malformed row (ragged.csv, line 3, column 3)"),
    ([*CLASSIFY, "--file", "number.jsonl"], 1, "line 1, column 1): the text is a number, not a string"),
    ([*CLASSIFY, "--file", "latin.txt"], 1, "byte 0xe9 is not utf-8"),
    ([*CLASSIFY, "--file", "good.csv", "--text-column", "poem"], 1, "no text column 'poem'"),
    ([*CLASSIFY, "--file", "ragged.csv", "--output", "out.csv"], 1, "malformed row"),
    ([*CLASSIFY, "a", "--resume"], 2, "only an --output can be resumed"),
    ([*GENERATE, "--file", "absent.txt"], 1, "cannot read (absent.txt)"),
    ([*GENERATE, "--file", "empty.txt"], 1, "empty.txt"),
    ([*GENERATE, "--file", "hole.txt"], 1, "malformed row (hole.txt, line 2, column 1): the text is empty"),
    ([*GENERATE, "--file", "good.csv", "--text-column", "poem"], 1, "no text column 'poem'"),
    ([*FINETUNE, "few.csv"], 1, "too few"),
    ([*FINETUNE, "oneclass.csv"], 1, "1 class"),
    ([*FINETUNE, "quote.csv", "--skip-malformed"], 1, "a quote is never closed"),
    ([*PRETRAIN, "empty.txt"], 1, "no text (empty.txt)"),
    ([*PRETRAIN, "latin.txt"], 1, "byte 0xe9"),
    ([*PRETRAIN, "folder.csv"], 1, "cannot read (folder.csv)"),
    ([*PERPLEXITY, "absent.txt"], 1, "cannot read (absent.txt)"),
    ([*PERPLEXITY, "folder.csv"], 1, "cannot read (folder.csv)"),
    ([*PERPLEXITY, "empty.txt"], 1, "no text (empty.txt)"),
    ([*PERPLEXITY, "good.txt", "--data", "ends.txt", "--data", "latin.txt"], 1, "byte 0xe9 is not utf-8"),
    ([*PERPLEXITY, "ends.txt"], 1, "no text (ends.txt): only ends of text are there"),
    (["perplexity", "--model", "letters.h5", "--data", "good.txt"], 1,
     "unknown character 'b' (line 1, column 1): it is not among the 3 of the vocabulary"),
    (["generate", "--model", "letters.h5", "sxi"], 1, "unknown character 'x' (line 1, column 2)"),
    # models
    *[(["classify", "--model", name, "a"], code, part) for name, code, part in [
        ("absent", 1, "cannot load (absent): no such file"), ("folder.csv", 1, "it holds no model"),
        ("", 1, "cannot load"), ("zero.h5", 1, "the file is empty"), ("text.h5", 1, "not an HDF5 file"),
        ("zip.h5", 1, "archive is damaged"), ("pickle.h5", 1, "a Python pickle"), ("lfs.h5", 1, "a Git LFS pointer"),
        ("torn.h5", 1, "the file is damaged"), ("flipped.h5", 1, "damaged"), ("alien.h5", 1, "of another program"),
        ("nan.h5", 1, "not finite"), ("state.h5", 1, "config is None, expected an object"),
        ("language.h5", 2, "a language model, not a classifier"), ("/dev/zero", 1, "it is not a regular file"),
    ]],
    *[(["generate", "--model", name, "a"], code, part) for name, code, part in [
        ("absent", 1, "cannot load (absent): no such file"), ("torn.h5", 1, "the file is damaged"),
        ("nan.h5", 1, "not finite")]],
    (["evaluate", "--data", "good.csv", "--model", "language.h5"], 2, "a language model, not a classifier"),
    *[([*command, "--model", name], code, part) for command in (["perplexity", "--data", "good.txt"], ["generate", "a"])
      for name, code, part in [
        ("absent", 1, "cannot load (absent): no such file"), ("zero.h5", 1, "the file is empty"),
        ("pickle.h5", 1, "a Python pickle"), ("torn.h5", 1, "the file is damaged"), ("nan.h5", 1, "not finite"),
        ("state.h5", 1, "config is None, expected an object"),
    ]],
]


@pytest.fixture(scope="module")
def prepared(models, tmp_path_factory):
    """A folder with every bad file; it is checked, not copied, so that a case that writes is found out."""
    folder = tmp_path_factory.mktemp("prepared")
    for name, text in FILES.items():
        (folder / name).write_bytes(text.encode())
    for name, data in BYTES.items():
        (folder / name).write_bytes(data)
    (folder / "folder.csv").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "finished").mkdir()
    shutil.copy(models / "classifier.h5", folder / "finished" / "model.h5")
    shutil.copy(models / "language.h5", folder / "language.h5")
    image = (models / "classifier.h5").read_bytes()
    (folder / "torn.h5").write_bytes(image[:len(image) // 2])
    (folder / "flipped.h5").write_bytes(image[:-1000] + bytes([image[-1000] ^ 1]) + image[-999:])
    write_models(folder, models)
    return folder


def write_models(folder, models):
    import h5py

    checkpoint = native.load(models / "classifier.h5")
    checkpoint.metadata["provenance"] = {}
    native.save(folder / "model.h5", checkpoint.tensors, checkpoint.metadata)
    huge = {name: array * np.float32(1e20) if array.dtype.kind == "f" else array
            for name, array in checkpoint.tensors.items()}
    native.save(folder / "huge.h5", huge, checkpoint.metadata)
    checkpoint.tensors["score.weight"] = np.full_like(checkpoint.tensors["score.weight"], np.nan)
    native.save(folder / "nan.h5", checkpoint.tensors, checkpoint.metadata)
    letters = Characters.train(["ski"])
    save_model(folder / "letters.h5", SavedModel(GPT2(GPT2Config(letters.vocab_size, 8, 8, 1, 1)), letters, (), {}))
    native.save(folder / "state.h5", {"a": np.zeros(1, np.float32)}, {"kind": "pretraining state"})
    with h5py.File(folder / "alien.h5", "w") as file:
        file["weights"] = np.zeros(3)


def snapshot(folder):
    """Everything below a folder: names, and what tells whether a file was touched."""
    return {path.relative_to(folder): (entry.st_mtime_ns, entry.st_size, entry.st_ino)
            for path in [folder, *folder.rglob("*")] for entry in [path.stat()]}


def test_there_are_many_cases():
    assert len(CASES) >= 60


@pytest.mark.parametrize(("args", "code", "part"), CASES, ids=[" ".join(map(ascii, args)) for args, _, _ in CASES])
def test_bad_input_is_one_line_and_a_code(args, code, part, prepared, monkeypatch, capfd):
    monkeypatch.chdir(prepared)
    before = snapshot(prepared)
    assert main(args) == code
    out, err = capfd.readouterr()
    assert snapshot(prepared) == before
    if code == 0:  # `finetune` alone shows its help
        assert err == ""
        return
    assert out == ""
    assert err.startswith("error: ")
    assert part in err
    assert err.count("\n") == 1
    assert err[:-1].isprintable()
    assert len(err) < 500


# -- what only a process of its own can show


@pytest.fixture
def cli(prepared):
    """Run the launcher in the folder of the bad files."""

    def start(*args, env=(), **settings):
        settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": prepared, **settings}
        return subprocess.run([sys.executable, REPOSITORY / "cli.py", *args], env={**os.environ, **dict(env)},
                              timeout=60, **settings)

    return start


def only_line(stderr):
    line, = stderr.decode().splitlines()
    assert line.startswith("error: ")
    return line


def test_a_closed_pipe_ends_quietly(cli):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = cli(*CLASSIFY, "--json", *["ski ice"] * 50, stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_stdout_is_reported(cli):
    with open("/dev/full", "w") as full:
        done = cli(*CLASSIFY, "ski", stdout=full)
    assert done.returncode == 4
    assert "disk is full (output)" in only_line(done.stderr)


@pytest.mark.parametrize(("args", "part"), [
    (["classify", "ski"], "probabilities are not numbers (text 1)"),
    (["perplexity", "--data", "good.txt"], "loss is nan (perplexity)"),
    (["generate", "ski"], "overflow"),
])
def test_a_model_whose_numbers_overflow(args, part, cli):
    done = cli(*args, "--json", "--model", "huge.h5")  # NumPy warns in between
    assert (done.returncode, done.stdout) == (3, b"")
    assert part in only_line(done.stderr)


def test_a_language_model_whose_numbers_overflow(cli):
    done = cli("generate", "--model", "huge.h5", "ski")
    assert (done.returncode, done.stdout) == (3, b"")
    assert "logits are not numbers (prompt 1, token 1)" in only_line(done.stderr)


def test_an_ascii_terminal_without_home(cli):
    done = cli(*CLASSIFY, "caf\u00e9", env={"PYTHONIOENCODING": "ascii", "HOME": "/nonexistent", "LC_ALL": "C"})
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.endswith(b"caf\\xe9\n")
    done = cli("classify", "--model", "caf\u00e9", "x", env={"PYTHONIOENCODING": "ascii", "HOME": "/nonexistent"})
    assert done.returncode == 1
    assert "caf\\xe9" in only_line(done.stderr)


@pytest.mark.skipif(os.name == "nt", reason="descriptors")
def test_a_closed_standard_input(prepared):
    done = subprocess.run(["sh", "-c", 'exec "$0" "$@" <&-', sys.executable, REPOSITORY / "cli.py", *CLASSIFY,
                           "--file", "-"], cwd=prepared, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, b"")
    assert "standard input is closed" in only_line(done.stderr)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions bind nobody here")
def test_a_read_only_folder(cli, tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    done = cli(*CLASSIFY, "ski", "--output", str(tmp_path / "a.csv"))
    assert done.returncode == 1
    assert "permission denied" in only_line(done.stderr)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="this system has no /proc")
def test_a_folder_nobody_can_write_to(cli):
    done = cli(*CLASSIFY, "ski", "--output", "/proc/a.csv")
    assert done.returncode == 1
    assert "cannot write (/proc/a.csv)" in only_line(done.stderr)


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_waiting_for_input(number, code, prepared):
    process = subprocess.Popen([sys.executable, REPOSITORY / "cli.py", *CLASSIFY, "--file", "-"], cwd=prepared,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(1.5)  # it may still be starting: that must make no difference
    process.send_signal(number)
    process.wait(timeout=60)
    assert process.returncode == code
    assert process.stdout.read() == b""
    assert signal.Signals(number).name in only_line(process.stderr.read())
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()
