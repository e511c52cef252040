"""What was measured, as tables in Markdown."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: What one round of one contestant gave, by name of the figure.
Sample = Mapping[str, float]
#: The rounds of each contestant.
Results = Mapping[str, Sequence[Sample]]


@dataclass(frozen=True)
class Column:
    """
    A figure.

    @ivar spread: whether the lowest and the highest are shown beside the median.
    @ivar compared: whether it is shown what it is of the first-named contestant's.
    """

    figure: str
    title: str
    digits: int = 0
    spread: bool = False
    compared: str | None = None


def median(results: Results, name: str, figure: str) -> float | None:
    """The median over the rounds; C{None} if it was not measured."""
    values = [sample[figure] for sample in results.get(name, ()) if figure in sample]
    return statistics.median(values) if values else None


def table(results: Results, columns: Sequence[Column]) -> str:
    """A line for each contestant."""
    titles = [""]
    for column in columns:
        titles.append(column.title)
        if column.compared:
            titles.append(f"x {column.compared}")
    lines = [titles, ["---"] + ["---:"] * (len(titles) - 1)]
    for name in results:
        cells = [name]
        for column in columns:
            cells.append(_cell(results, name, column))
            if column.compared:
                cells.append(_ratio(results, name, column.compared, column.figure))
        lines.append(cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cell(results: Results, name: str, column: Column) -> str:
    values = [sample[column.figure] for sample in results[name] if column.figure in sample]
    if not values:
        return ""
    text = f"{statistics.median(values):,.{column.digits}f}"
    if column.spread and len(values) > 1:
        text += f" ({min(values):,.{column.digits}f} to {max(values):,.{column.digits}f})"
    return text


def _ratio(results: Results, name: str, other: str, figure: str) -> str:
    ours, theirs = median(results, name, figure), median(results, other, figure)
    return "" if ours is None or not theirs else f"{ours / theirs:.2f}"
