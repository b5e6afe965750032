"""What a picture shows, as data: every number that is drawn is here, and a renderer only scales it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bars:
    """A bar per name.

    Attributes:
        axis: Letter of the axis whose names the bars bear.
        values: Heights.
        scale: What a full bar is; None takes the largest value.
    """

    axis: str
    values: tuple[float, ...]
    scale: float | None = None


@dataclass(frozen=True)
class Curve:
    """A function, and the point on it that the computation stands at.

    Attributes:
        id: Names the text that describes the curve.
        x: Where it was worked out, ascending.
        y: Its values, one per x.
        point: (x, y) of the computation, or None.
        x_symbol: What x is called in formulas.
        y_symbol: What y is called in formulas.
    """

    id: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    point: tuple[float, float] | None = None
    x_symbol: str = "z"
    y_symbol: str = "p"


@dataclass(frozen=True)
class Matrix:
    """Numbers in rows and columns, shown as shades.

    Attributes:
        rows: Letter of the axis of the rows.
        columns: Letter of the axis of the columns.
        values: A tuple per row.
    """

    rows: str
    columns: str
    values: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Arrows:
    """Stages, an arrow between each and the next.

    Attributes:
        stages: Ids of their names.
        here: Index of the stages that the computation covers.
    """

    stages: tuple[str, ...]
    here: tuple[int, ...] = ()


Plot = Bars | Curve | Matrix | Arrows
