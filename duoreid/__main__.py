"""`python -m duoreid`: the command `duoreid`."""

import sys

if __name__ == "__main__":
    from duoreid.cli import main

    sys.exit(main())
