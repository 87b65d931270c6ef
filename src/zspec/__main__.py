"""``python -m zspec``: the command line, for launchers that start modules."""

from zspec.cli import main

main()
