"""What a damaged or foreign file is refused with."""

import pytest

from tinygrad_gpt.errors import CheckpointError


def refusal_of(read, *arguments):
    """The message of the `CheckpointError` that a call ends in: printable, one line, with what to do behind a `;`."""
    with pytest.raises(CheckpointError) as caught:
        read(*arguments)
    message = str(caught.value)
    assert message.isprintable()
    assert "; " in message
    return message
