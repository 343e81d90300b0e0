"""How tables are written: terminal, Markdown, LaTeX (booktabs); best bold, second underlined."""

import math
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from metrics import PROTOCOLS, lower_is_better

LATEX = {c: "\\" + c for c in "_%&#${}"} | {"\\": r"\textbackslash{}", "^": r"\^{}", "~": r"\textasciitilde{}"}
# after a line's end these two would be taken for its options
LATEX |= {"[": "{[}", "*": "{*}"}
MARKDOWN = {"|": r"\|"}
NEEDS = r"% \usepackage{booktabs,graphicx} in the document's head; \input{tables} then puts in every table"
MOST_SCORES = 6  # columns that fit a page as they are
FORMULA = ("=", "+", "-", "@")  # what begins so is run by a spreadsheet


class Show(NamedTuple):
    """Which scores tables show, and how."""

    columns: tuple[str, ...] = ()  # (): all of the protocol
    percent: bool = False  # but for distances in pixels

    def names(self, protocol: str) -> Sequence[str]:
        """The scores that are shown; ValueError if one is no score of the protocol."""
        for name in self.columns:
            if name not in PROTOCOLS[protocol].names:
                known = ", ".join(PROTOCOLS[protocol].names)
                raise ValueError(f"columns holds {name!r}; protocol {protocol} has {known}")
        return self.columns or PROTOCOLS[protocol].names

    def factor(self, name: str, protocol: str) -> int:
        """What a score is multiplied by."""
        return 100 if self.percent and name not in PROTOCOLS[protocol].no_fractions else 1


ALL = Show()


class Block(NamedTuple):
    """One table: the scores of every run of each line."""

    title: str
    protocol: str
    lines: dict[str, list[dict[str, float]]]
    head: str = "method"


def terminal(blocks: Sequence[Block], show: Show = ALL) -> str:
    """Aligned columns; * the best and + the second of a data set."""
    return "\n\n".join(aligned(*table) for table in _tables(blocks, show, "{}*", "{}+"))


def markdown(blocks: Sequence[Block], show: Show = ALL) -> str:
    """A Markdown table per block; best bold, second underlined."""
    texts = []
    for title, header, body in _tables(blocks, show, "**{}**", "<u>{}</u>", MARKDOWN):
        lines = [header, ["---"] + ["---:"] * (len(header) - 1), *body]
        texts.append(f"### {title}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines))
    return "\n\n".join(texts) + "\n"


def latex(blocks: Sequence[Block], show: Show = ALL) -> str:
    """A booktabs table per block; best bold, second underlined, an arrow says which way is better."""
    texts = [NEEDS]
    for title, header, body in _tables(blocks, show, r"\textbf{{{}}}", r"\underline{{{}}}", LATEX):
        lines = [latex_line(line) for line in [header, *body]]
        lines = [r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"]
        texts.append(latex_table(title, lines, len(header) - 1))
    return "\n".join(texts)


def latex_table(caption: str, lines: Sequence[str], scores: int) -> str:
    """A float with these lines of `scores` columns, no wider than a line of text."""
    tabular = "\n".join([f"\\begin{{tabular}}{{l{'c' * scores}}}", *lines, r"\end{tabular}"])
    if scores > MOST_SCORES:
        tabular = f"\\resizebox{{\\linewidth}}{{!}}{{%\n{tabular}}}"
    begin = ["\\begin{table}[htbp]", "\\centering", f"\\caption{{{escaped(caption, LATEX)}}}"]
    return "\n".join([*begin, tabular, "\\end{table}\n"])


def latex_line(cells: Sequence[str]) -> str:
    """Cells that are escaped already as a line of a tabular; arrows and ± are symbols of mathematics."""
    text = " & ".join(cells)
    for letter, symbol in (("↑", r"$\uparrow$"), ("↓", r"$\downarrow$"), ("±", r"$\pm$")):
        text = text.replace(letter, symbol)
    return text + r" \\"


def aligned(title: str, header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table for a terminal, its first column to the left and the others to the right."""
    title, body = on_one_line(title), [[*map(on_one_line, line)] for line in body]
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    lines = [
        "  ".join([line[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)])
        for line in (header, *body)
    ]
    return "\n".join([title, *lines])


def average(values: Sequence[float], propagate: bool = False) -> float:
    """The mean of what is defined, or with `propagate` NaN if one is not."""
    kept = [value for value in values if propagate or not math.isnan(value)]
    return float(np.mean(kept)) if kept else math.nan


def no_formula(text: str) -> str:
    """A text for a CSV that a spreadsheet may open."""
    return "'" + text if text.startswith(FORMULA) else text


def on_one_line(text: str) -> str:
    """A name as tables show it: line breaks and other control characters are spaces."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text)


def _tables(
    blocks: Sequence[Block], show: Show, best: str, second: str, escape: dict[str, str] | None = None
) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """(title, header, body) of each block, with the best and the second score of each column of methods marked."""
    for block in blocks:
        names = show.names(block.protocol)
        arrows = [arrow(name, escape) for name in names]
        body = [[escaped(line, escape)] for line in block.lines]
        for name in names:
            runs = [[result[name] for result in results] for results in block.lines.values()]
            marked = (best, second) if block.head == "method" else ("{}", "{}")
            for line, cell in zip(body, column(runs, name, show.factor(name, block.protocol), *marked), strict=True):
                line.append(cell)
        yield on_one_line(block.title) + (", per cent" if show.percent else ""), [block.head, *arrows], body


def column(
    runs: Sequence[Sequence[float]], name: str, factor: int, best: str, second: str, places: int = 4
) -> Iterator[str]:
    """The cells of a score, one for the runs of each line; the best and the second are put into their patterns.

    places: digits of a fraction; per cent have two fewer.
    """
    marks = _marks([average(values) for values in runs], lower_is_better(name), places)
    for values, mark in zip(runs, marks, strict=True):
        yield {1: best, 2: second}.get(mark, "{}").format(_cell(values, factor, places))


def _cell(values: Sequence[float], factor: int = 1, places: int = 4) -> str:
    """A score, or the mean ± standard deviation (N - 1) of several runs, of those where it is defined."""
    digits, kept = places if factor == 1 else places - 2, [v * factor for v in values if not math.isnan(v)]
    if len(values) == 1 or not kept:
        return f"{average(values) * factor:.{digits}f}"
    some = f" ({len(kept)} of {len(values)})" if len(kept) < len(values) else ""
    spread = f" ± {np.std(kept, ddof=1):.{digits}f}" if len(kept) > 1 else ""
    return f"{np.mean(kept):.{digits}f}{spread}{some}"


def _marks(values: Sequence[float], lower: bool, places: int = 4) -> list[int]:
    """1 for the best, 2 for the second, 0 else, as printed; ties share. Where all are equal nothing is marked.

    Of two lines the other one is no second.
    """
    rounded = [round(value, places) for value in values]
    order = sorted({value for value in rounded if not math.isnan(value)}, reverse=not lower)
    if len(order) < 2:
        return [0] * len(values)
    marked = order[: 2 if len(values) > 2 else 1]
    return [order.index(value) + 1 if value in marked else 0 for value in rounded]


def arrow(name: str, escape: dict[str, str] | None = None) -> str:
    """A score's name, and which way is better."""
    return f"{escaped(name, escape)} {'↓' if lower_is_better(name) else '↑'}"


def escaped(text: str, escape: dict[str, str] | None = None) -> str:
    """A text in one line, in which letters that mean something to Markdown or LaTeX mean themselves."""
    return "".join((escape or {}).get(letter, letter) for letter in on_one_line(text))
