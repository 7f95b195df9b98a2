"""`python -m backends.torch.evaluate`: the shared command with torch behind it."""

import sys

if __name__ == "__main__":
    from duoreid.backends.torch.entry import BACKEND, open_data
    from duoreid.core.commands.evaluate import evaluate

    sys.exit(evaluate(BACKEND, open_data))
