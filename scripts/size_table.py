"""Lines per package against the budgets of the house, without blank lines, comments and docstrings.

Ends with 1 when a package is above its budget, a file above 500 lines or a function above 80.
Raising a budget is a line of its own in a review.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

BUDGETS = {
    "cli": 3400,  # every option's text, default and environment name is a line of its own; a third is `paceline adapt`, a quarter `paceline sql`, a tenth `paceline track`
    "server": 3100,  # two protocols; the error contract and its bounds: a third of it is what hostile input needs
    "llm": 10200,  # two runners, CUDA kernels, a safetensors reader, a template sandbox; speculation, its policies and their simulator are half
    "sql": 6500,  # a query compiler, a planner with kernels, a client that survives servers, a store, two engines: four parts of 1,200 to 2,000
    "multiplex": 9050,  # capture by three ways into a form of its own, a compiler of stacked kernels and of chains, a scheduler, a process: four parts of 1,300 to 2,600
    "streaming": 7400,  # eleven kinds of sources, hostile ones among them; four metrics to the integer; trackers; an engine that survives detectors; a policy and its fitting: five parts of 1,000 to 1,600
    "transfer": 5300,  # files from three libraries, hostile pictures, a training that resumes bit for bit, ranking, pruning and a report: five parts of 900 to 1,200
    "decision": 650,
    "sim": 450,
}
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 80

_LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


@dataclass
class Package:
    """What one folder (or one module at the top) adds up to."""

    name: str
    files: dict[str, int] = field(default_factory=dict)
    functions: dict[str, int] = field(default_factory=dict)

    @property
    def lines(self) -> int:
        return sum(self.files.values())

    @property
    def function_p90(self) -> int:
        sizes = sorted(self.functions.values())
        return sizes[int(0.9 * (len(sizes) - 1))] if sizes else 0

    def excesses(self) -> Iterator[str]:
        budget = BUDGETS.get(self.name)
        if budget is not None and self.lines > budget:
            yield f"{self.name}: {self.lines} lines, budget {budget}"
        for name, lines in self.files.items():
            if lines > MAX_FILE_LINES:
                yield f"{name}: {lines} lines, limit {MAX_FILE_LINES}"
        for name, lines in self.functions.items():
            if lines > MAX_FUNCTION_LINES:
                yield f"{name}: {lines} lines, limit {MAX_FUNCTION_LINES}"


def code_lines(source: str) -> set[int]:
    """Numbers of the lines that hold code.

    >>> sorted(code_lines('"doc"\\nx = 1  # why\\n\\n# more\\ny = [\\n]\\n'))
    [2, 5, 6]
    """
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _LAYOUT:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                lines -= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return lines


def function_lines(source: str, code: set[int]) -> Iterator[tuple[str, int]]:
    """Every function's name and number of lines of code, those inside it included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{node.name}:{node.lineno}", len(code & set(range(node.lineno, (node.end_lineno or 0) + 1)))


def measure(root: Path) -> list[Package]:
    """One entry per folder and module directly below ``root``."""
    packages: dict[str, Package] = {}
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        name = relative.parts[0].removesuffix(".py")
        package = packages.setdefault(name, Package(name))
        source = path.read_text()
        code = code_lines(source)
        package.files[str(relative)] = len(code)
        package.functions.update((f"{relative}:{where}", lines) for where, lines in function_lines(source, code))
    return list(packages.values())


def main(root: Path) -> int:
    packages = measure(root)
    print(f"{'package':<12} {'lines':>6} {'budget':>6} {'files':>5} {'largest':>7} {'fn p90':>6} {'fn max':>6}")
    for package in packages:
        print(
            f"{package.name:<12} {package.lines:>6} {BUDGETS.get(package.name, '-'):>6} {len(package.files):>5} "
            f"{max(package.files.values()):>7} {package.function_p90:>6} {max(package.functions.values(), default=0):>6}"
        )
    excesses = [excess for package in packages for excess in package.excesses()]
    for excess in excesses:
        print(f"too large: {excess}", file=sys.stderr)
    return 1 if excesses else 0


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent.parent / "src" / "paceline"))
