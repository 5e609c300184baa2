"""The pickles of torch.save are read; no other instruction and no other name does anything."""

import io
import os
import pickle
from random import Random

import pytest
import state_dicts as sd
from refusals import refusal_of
from soak import times

from tinygrad_gpt.checkpoints.torch_pickle import Parts, Storage, read_pickle
from tinygrad_gpt.errors import CheckpointError

FLOATS = sd.storage("FloatStorage", "0", 6)


def refusal(data):
    message = refusal_of(read_pickle, data)
    assert len(message) < 200
    return message


def read(body):
    return read_pickle(sd.START + body + sd.STOP)


def refused(body):
    return refusal(sd.START + body + sd.STOP)


def test_a_tensor():
    found = read(sd.mapping({"w": sd.tensor(FLOATS, 2, (2, 2), (2, 1))}))
    assert found == {"w": Parts(Storage("F32", "0", 6), 2, (2, 2), (2, 1))}


@pytest.mark.parametrize(("shape", "strides", "plain"), [
    ((2, 3), (3, 1), True), ((3, 2), (1, 3), False), ((1, 3), (7, 1), True), ((3,), (2,), False), ((), (), True),
    ((0, 3), (9, 9), True), ((2, 1, 3), (3, 5, 1), True)])
def test_which_tensors_are_in_c_order(shape, strides, plain):
    assert read(sd.tensor(FLOATS, 0, shape, strides)).is_plain == plain


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_of_any_protocol(protocol):
    value = {"step": 3, "lr": 1e-3, "big": 2**40, "less": -7, "betas": (0.9, 0.99), "three": (1, 2, 3), "one": ("ü",),
             "many": (1, 2, 3, 4), "flags": [True, False, None], "empty": [(), [], {}], 5: "x" * 300}
    assert read_pickle(pickle.dumps(value, protocol)) == value


def test_values_that_are_used_twice():
    body = b"](" + sd.text("a") + b"q\x01" + b"h\x01" + b"r\x00\x01\x00\x00" + b"j\x00\x01\x00\x00" + b"e"
    assert read(body) == ["a", "a", "a"]


# -- hostile ones


class Runs:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
@pytest.mark.parametrize(("function", "name"), [
    (os.system, f"{os.system.__module__}.system"), (eval, "builtins.eval"), (exec, "builtins.exec"),
    (io.open, "io.open"), (getattr, "builtins.getattr"), (os.unlink, f"{os.unlink.__module__}.unlink")])
def test_functions_are_refused_by_name(function, name, protocol, tmp_path):
    victim = tmp_path / "victim"
    victim.touch()
    message = refusal(pickle.dumps({"w": Runs(function, str(victim))}, protocol))
    if protocol >= 2:
        assert f"it calls '{name.replace('builtins', '__builtin__') if protocol < 3 else name}'" in message
        assert "save model.state_dict() of plain tensors" in message
    assert victim.exists()


@pytest.mark.parametrize(("body", "what"), [
    (b"cbuiltins\nexec\n", "it calls 'builtins.exec'"),
    (b"c__main__\nGPTModel\n", "it calls '__main__.GPTModel'"),
    (b"ctorch.storage\n_load_from_bytes\n", "it calls 'torch.storage._load_from_bytes'"),
    (b"cnumpy.core.multiarray\n_reconstruct\n", "it calls 'numpy.core.multiarray._reconstruct'"),
    (sd.text("os") + sd.text("system") + b"\x93", "it calls 'os.system'"),
    (b"(ios\nsystem\n", "uses the instruction INST"), (b"}\x81", "uses the instruction NEWOBJ"),
    (b"\x82\x01", "uses the instruction EXT1"), (b"}2", "uses the instruction DUP"),
    (b"}0", "uses the instruction POP"), (b"S'a'\n", "instruction STRING"),
    (b"]]R", "its pickle calls a list, which is no name"),
    (b"]}b", "its pickle changes a list, which only Python code can"),
    (b"ccollections\nOrderedDict\n]\x85R", "OrderedDict with items in the call"),
    (b"})" + sd.number(1) + b"s", "a key of its dicts is a tuple, not a text or number"),
])
def test_other_instructions_and_names(body, what):
    assert what in refused(body)


@pytest.mark.parametrize("body", [
    b"h\x07", b"R", b"u", b"t", b"\x86", b"", b"]]", b"}" + sd.number(1) + b"a", b"](" + sd.text("a") + b"u",
    b"}(" + sd.text("a") + b"u", b"X\xff\xff\xff\x7fabc", b"\x8b\xff\xff\xff\x7f", sd.number(1) + b"Q",
    b"ccollections\nOrderedDict\n" + sd.number(3) + b"R",
    b"(" + sd.text("storage") + b"ccollections\nOrderedDict\n" + sd.text("0") + sd.text("cpu") + sd.number(6) + b"tQ",
    b"(" + sd.text("storage") + sd.text("FloatStorage") + sd.text("0") + sd.text("cpu") + sd.number(6) + b"tQ",
    sd.storage("FloatStorage", "0", -1), sd.tensor(sd.number(1), 0, (1,), (1,)), sd.tensor(FLOATS, -1, (1,), (1,)),
    sd.tensor(FLOATS, 0, (2, 3), (1,)), sd.tensor(FLOATS, 0, (-1,), (1,)), sd.tensor(FLOATS, 0, (2,), (-1,)),
    sd.tensor(FLOATS, 0, (1,) * 33, (1,) * 33), b"ctorch\nFloatStorage\n)R", b"\x93",
    b"ctorch._utils\n_rebuild_parameter\n" + sd.number(1) + b"\x85R"])
def test_what_makes_no_sense(body):
    assert "its pickle is damaged" in refused(body)


@pytest.mark.parametrize(("offset", "shape", "strides", "what"), [
    (0, (7,), (1,), "reaches element 6 of a storage of 6"), (5, (2,), (1,), "reaches element 6"),
    (0, (2, 2), (2**62, 1), "reaches element 4611686018427387905"), (2**62, (1,), (1,), "reaches element"),
    (0, (10**9,), (0,), "repeats elements of a storage of 6"), (0, (3, 3), (1, 1), "repeats elements")])
def test_tensors_that_reach_out_of_their_storage(offset, shape, strides, what):
    assert what in refused(sd.tensor(FLOATS, offset, shape, strides))


def test_deep_and_doubled_values_cost_no_more_than_their_instructions():
    deep = b"]" + b")" + b"\x85" * 100_000  # ((((…)))), the hash of which would end the process
    assert len(read(deep + b"a")) == 1
    assert "a key of its dicts is a tuple" in refused(b"}" + deep[1:] + sd.number(1) + b"s")
    assert len(read(sd.number(0) + b"q\x01h\x01\x86" * 200)) == 2  # 2^200 numbers if they were written out
    arguments = b"(" + sd.number(0) * 1000 + b"tq\x01"
    assert "its pickle is damaged" in refused(arguments + b"ctorch._utils\n_rebuild_tensor_v2\nh\x01R")


def test_of_mutated_pickles_only_our_own_error_escapes():
    random = Random(0)
    body = sd.START + sd.mapping({"a": sd.tensor(FLOATS, 0, (2, 3), (3, 1)), "b": sd.tensor(FLOATS, 2, (2,), (1,))}) \
        + sd.STOP
    refusals = 0
    for _ in range(times(2000, 300_000)):
        data = bytearray(body)
        for _ in range(random.randint(1, 3)):
            at = random.randrange(len(data))
            data[at:at + random.randint(0, 2)] = random.randbytes(random.randint(0, 2))
        try:
            read_pickle(bytes(data))
        except CheckpointError:
            refusals += 1
    assert refusals > 1000
