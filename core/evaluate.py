"""`python -m core.evaluate FILE.npz`: the command of core/commands/score.py."""

import sys

if __name__ == "__main__":
    from duoreid.core.commands.command import finished
    from duoreid.core.commands.score import main

    sys.exit(finished(main))
