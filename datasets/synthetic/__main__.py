"""Write a set of the synthetic person benchmark, or with --preview a contact sheet of all its domains."""

from __future__ import annotations

import argparse
import sys

from duoreid.core.commands.command import guarded


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m datasets.synthetic", description=__doc__)
    parser.add_argument("name", nargs="?", help="synthetic-a, synthetic-b, synthetic-sysu or synthetic-regdb")
    parser.add_argument("root", nargs="?", help="folder in which a folder of that name is made")
    parser.add_argument("--size", default="small", help="tiny, small or market (default: small)")
    parser.add_argument("--seed", type=int, default=0, help="of people, places and views (default: 0)")
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")
    parser.add_argument("--oddities", action="store_true", help="add the clutter of real folders, such as Thumbs.db")
    parser.add_argument("--preview", action="store_true", help="draw a contact sheet instead")
    parser.add_argument("--output", default="synthetic.png", help="where to write it (default: synthetic.png)")
    options = parser.parse_args(arguments)
    if not options.preview and (options.name is None or options.root is None):
        parser.error("NAME and ROOT are needed, e.g. synthetic-a data; or --preview")
    return guarded(lambda: print(_run(options)))


def _run(options: argparse.Namespace) -> str:
    if options.preview:
        from duoreid.datasets.synthetic.preview import preview

        return str(preview(options.output, seed=options.seed))
    from duoreid.datasets.synthetic import generate

    return str(
        generate(
            options.name,
            options.root,
            size=options.size,
            seed=options.seed,
            workers=options.workers,
            oddities=options.oddities,
        )
    )


if __name__ == "__main__":
    import duoreid.datasets.synthetic.__main__ as module
    from duoreid.core.commands.command import finished

    sys.exit(finished(module.main))
