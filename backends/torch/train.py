"""`python -m backends.torch.train`: the shared command with torch behind it."""

import sys

if __name__ == "__main__":
    from duoreid.backends.torch.entry import BACKEND, open_data
    from duoreid.core.commands.command import train

    sys.exit(train(BACKEND, open_data))
