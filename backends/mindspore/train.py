"""`python -m backends.mindspore.train`: the shared command with MindSpore behind it."""

import sys

if __name__ == "__main__":
    from duoreid.backends.mindspore.entry import BACKEND, open_data
    from duoreid.core.commands.command import train

    sys.exit(train(BACKEND, open_data))
