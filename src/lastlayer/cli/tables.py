"""The tables of a terminal."""

from rich import box
from rich.table import Table


def plain(title: str, *columns: str) -> Table:
    """A table without lines; a column whose heading begins with > is aligned right."""
    table = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left")
    return table
