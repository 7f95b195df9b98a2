"""`python -m datasets.synthetic NAME ROOT`: write a synthetic set. `--preview`: draw a contact sheet."""

from __future__ import annotations

import argparse
import sys


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m datasets.synthetic", description=__doc__)
    parser.add_argument("name", nargs="?", help="synthetic-a or synthetic-b")
    parser.add_argument("root", nargs="?", help="folder that will hold a folder of that name")
    parser.add_argument("--size", default="small", help="tiny, small or market (default: small)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")
    parser.add_argument("--oddities", action="store_true", help="add the clutter of real folders, such as Thumbs.db")
    options = parser.parse_args(arguments)
    if options.name is None or options.root is None:
        parser.error("NAME and ROOT are needed")
    from datasets.synthetic import generate

    try:
        folder = generate(
            options.name,
            options.root,
            size=options.size,
            seed=options.seed,
            workers=options.workers,
            oddities=options.oddities,
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
