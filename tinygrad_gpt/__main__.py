"""Start the command line with `python -m tinygrad_gpt`."""

import sys

from tinygrad_gpt.cli import main

if __name__ == "__main__":
    sys.exit(main(program="python -m tinygrad_gpt"))
