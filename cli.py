"""Start the command line from a checkout: `python cli.py --help`. The commands live in tinygrad_gpt/cli/."""

import sys

from tinygrad_gpt.cli import main

if __name__ == "__main__":
    sys.exit(main(program="python cli.py"))
