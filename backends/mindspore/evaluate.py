"""`python -m backends.mindspore.evaluate`: the shared command with MindSpore behind it."""

import sys

if __name__ == "__main__":
    from duoreid.backends.mindspore.entry import BACKEND, open_data
    from duoreid.core.commands.evaluate import evaluate

    sys.exit(evaluate(BACKEND, open_data))
