"""The catalogue: one tuple of columns per HDU feeds writer, reader, docs and tests.

HDU ``REDSHIFTS`` has the names of redrock's, so that those who read redrock's files can read ours.
"""

from zspec.catalog.columns import (
    CANDIDATES,
    CLASSPROB,
    FILES,
    HDUS,
    KEY,
    REDSHIFTS,
    REQUESTED,
    TRUTH,
    ZPDF,
    Column,
)
from zspec.catalog.files import (
    DAMAGE,
    STRUCTURE,
    Catalog,
    ascii_name,
    ascii_text,
    primary,
    read,
    streamed,
    write,
)
from zspec.catalog.output import check_output, inputs_hash
from zspec.catalog.tables import (
    Columns,
    Labels,
    declared,
    describe,
    labels,
    list_files,
    stack,
    table,
    typed,
)

__all__ = [
    "CANDIDATES",
    "CLASSPROB",
    "DAMAGE",
    "FILES",
    "HDUS",
    "KEY",
    "REDSHIFTS",
    "REQUESTED",
    "STRUCTURE",
    "TRUTH",
    "ZPDF",
    "Catalog",
    "Column",
    "Columns",
    "Labels",
    "ascii_name",
    "ascii_text",
    "check_output",
    "declared",
    "describe",
    "inputs_hash",
    "labels",
    "list_files",
    "primary",
    "read",
    "stack",
    "streamed",
    "table",
    "typed",
    "write",
]
