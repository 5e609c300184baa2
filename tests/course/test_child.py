"""Messages between the grader and the process that runs a student's code."""

import io

import numpy as np
import pytest

from tinygrad_gpt.course.child import LARGEST, receive, send


def passed_on(array):
    stream = io.BytesIO()
    send(stream, {"do": "pull"}, [array])
    stream.seek(0)
    header, (received,) = receive(stream)
    assert header["do"] == "pull"
    return received


@pytest.mark.parametrize("array", [
    np.arange(6.0).reshape(2, 3), np.float32(2.5), np.array([True, False]), np.arange(3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(6.0)[::-1], np.arange(12.0).reshape(2, 6)[..., ::2]])
def test_an_array_keeps_its_values_its_dtype_and_its_layout(array):
    array = np.asarray(array)
    received = passed_on(array)
    assert received.dtype == array.dtype
    assert np.array_equal(received, array)
    assert not received.flags.writeable
    assert received.flags.c_contiguous == array.flags.c_contiguous
    assert [np.sign(s) for s in received.strides] == [np.sign(s) for s in array.strides]


def test_an_array_of_no_rows_keeps_its_shape():
    assert passed_on(np.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize(("line", "error"), [
    (b"", EOFError), (b'{"arrays": []', EOFError), (b"x\n", ValueError), (b"{}\n", KeyError),
    (b'{"arrays": [{"dtype": "|O", "shape": [1], "layout": "C"}]}\n', ValueError),
    (b'{"arrays": [{"dtype": "<f8", "shape": [%d], "layout": "C"}]}\n' % LARGEST, ValueError),
    (b'{"arrays": [{"dtype": "<f8", "shape": [2], "layout": "C"}]}\n1234', EOFError),
])
def test_what_is_no_message_is_refused(line, error):
    with pytest.raises(error):
        receive(io.BytesIO(line))
