"""Finds places in the sources, and edits them: a function by its name, in it a statement by a few tokens.

Such a place survives what is done to sources every day: other lines are edited, a file is renamed or moved, a
statement is wrapped or indented otherwise, a comment is rewritten. An edit names

- a function: "Snapshots.publish" of Cython or Python, "wagma_fetch_add" of C, "operations.c:flush" where that
  name alone is of several; or a macro, or a table of a module, such as "TRANSITIONS";
- a token: text of one statement, or from one into the next, that the function contains once. White space
  counts only between two words; comments and docstrings don't count at all.
"""

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[2]
SUFFIXES = (".py", ".pyx", ".pxd", ".c", ".h")

# The first group of each is blanked: comments and docstrings. What is left are other strings.
STRING = r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
PYTHON = re.compile(rf'("""(?:\\.|[^\\])*?"""|#[^\n]*|\\\n)|{STRING}', re.DOTALL)
C = re.compile(rf"(/\*.*?\*/|//[^\n]*|\\\n)|{STRING}", re.DOTALL)
# The head of a class or a function, in Python and Cython; in C of a function, and of a macro.
HEAD = re.compile(
    r"(?:(?:cdef )?class (\w+)|(?:async )?def (\w+)\(|cp?def [^=(]*?(\w+)\().*?:(?=\s|\Z)", re.DOTALL
)
C_HEAD = re.compile(r"^[A-Za-z_][\w\s*]*?\b(\w+)\([^;{}]*\)\s*\{", re.MULTILINE)
MACRO = re.compile(r"^#define (\w+)(?:.*\\\n)*.*$", re.MULTILINE)
TABLE = re.compile(r"(\w+)(?:: [^=]+)? = ")


class Misfit(Exception):
    """An edit does not fit exactly one place of the sources."""


@dataclass(frozen=True)
class Function:
    """Where a function stands: a path, and offsets in its text."""

    name: str
    path: str
    begin: int
    end: int


@dataclass(frozen=True)
class Statement:
    """Where a statement stands: offsets in a text."""

    begin: int
    end: int
    simple: bool  # not the head of a block


@dataclass(frozen=True)
class Edit:
    """A change of one function.

    Args:
        change: gets the text of a file, and where the function stands in it; returns the text after the edit.
    """

    function: str
    change: Callable[[str, Function], str]


# The edits.


def replace(function: str, token: str, by: str) -> Edit:
    """Put other text in the place of a token."""

    def change(text: str, where: Function) -> str:
        begin, end = find(text, where, token)
        return text[:begin] + by + text[end:]

    return Edit(function, change)


def delete(function: str, token: str) -> Edit:
    """Delete the statement that a token stands in."""

    def change(text: str, where: Function) -> str:
        found = simple_statement(text, where, token)
        return text[: found.begin] + (";" if is_c(where.path) else "pass") + text[found.end :]

    return Edit(function, change)


def insert(function: str, statements: str, *, before: str = "", after: str = "") -> Edit:
    """Insert statements before or after the one that a token stands in, with its indentation."""

    def change(text: str, where: Function) -> str:
        found = statement(text, where, before) if before else simple_statement(text, where, after)
        line = text.rfind("\n", 0, found.begin) + 1
        indent = re.match(r"[ \t]*", text[line:])[0]
        lines = textwrap.indent(statements, indent).lstrip()
        if before:
            return f"{text[: found.begin]}{lines}\n{indent}{text[found.begin :]}"
        return f"{text[: found.end]}\n{indent}{lines}{text[found.end :]}"

    assert bool(before) != bool(after)
    return Edit(function, change)


def swap(function: str, one: str, other: str) -> Edit:
    """Let two statements change places."""

    def change(text: str, where: Function) -> str:
        statements = [simple_statement(text, where, token) for token in (one, other)]
        first, second = sorted(statements, key=lambda found: found.begin)
        return (
            text[: first.begin]
            + text[second.begin : second.end]
            + text[first.end : second.begin]
            + text[first.begin : first.end]
            + text[second.end :]
        )

    return Edit(function, change)


# The sources.


class Sources:
    """The texts of source files, by their paths."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.texts = texts

    @classmethod
    def read(cls, root: Path = ROOT, package: str = "wagma_rma") -> "Sources":
        """Read the sources of a package, but not the C that Cython has made of them."""
        return cls(
            {
                str(path.relative_to(root)): path.read_text()
                for path in sorted((root / package).rglob("*.*"))
                if path.suffix in SUFFIXES and not (path.suffix == ".c" and path.with_suffix(".pyx").exists())
            }
        )

    def functions(self) -> dict[str, list[Function]]:
        """Return all functions and tables by their names."""
        found: dict[str, list[Function]] = {}
        for path, text in self.texts.items():
            for function in functions_of(path, text):
                found.setdefault(function.name, []).append(function)
                if is_c(path):
                    found.setdefault(f"{Path(path).name}:{function.name}", []).append(function)
        return found

    def function(self, name: str) -> Function:
        """Return the only function of a name."""
        found = self.functions().get(name, [])
        if not found:
            raise Misfit(f"no function {name}")
        if len(found) > 1:
            raise Misfit(f"{len(found)} functions {name}: {', '.join(one.path for one in found)}")
        return found[0]

    def body(self, name: str) -> str:
        """Return the text of a function, without comments and docstrings."""
        where = self.function(name)
        return code(where.path, self.texts[where.path])[where.begin : where.end]

    def edited(self, edits: Iterable[Edit]) -> dict[str, str]:
        """Make some edits, one after the other; return the files that they change, with their new texts.

        Raises:
            Misfit: an edit does not fit exactly one place, or they change nothing.
        """
        after = Sources(dict(self.texts))
        for edit in edits:
            where = after.function(edit.function)
            after.texts[where.path] = edit.change(after.texts[where.path], where)
        changed = {
            path: text
            for path, text in after.texts.items()
            if essence(path, text) != essence(path, self.texts[path])
        }
        if not changed:
            raise Misfit("nothing is changed")
        return changed


# What stands where in a text.


def is_c(path: str) -> bool:
    """Say whether a file is written in C."""
    return path.endswith((".c", ".h"))


def blanked(path: str, text: str, strings: bool) -> str:
    """Return a text with blanks for its comments and docstrings, and for its other strings if these too."""

    def blanks(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match[0]) if match[1] or strings else match[0]

    return (C if is_c(path) else PYTHON).sub(blanks, text)


@cache
def code(path: str, text: str) -> str:
    """Return a text with blanks for its comments and docstrings."""
    return blanked(path, text, strings=False)


@cache
def essence(path: str, text: str) -> str:
    """Return what must change if the meaning of a text changes: its code without white space."""
    return "".join(code(path, text).split())


@cache
def functions_of(path: str, text: str) -> tuple[Function, ...]:
    """Return the functions of a file, its macros, and the tables of a module."""
    if not is_c(path):
        return tuple(python_functions(path, text))
    bare = blanked(path, text, strings=True)
    found = [Function(macro[1], path, *macro.span()) for macro in MACRO.finditer(text)]
    for head in C_HEAD.finditer(bare):
        depth, end = 1, head.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(bare[end], 0)
            end += 1
        found.append(Function(head[1], path, head.start(), end))
    return tuple(found)


def python_functions(path: str, text: str) -> Iterator[Function]:
    """Yield the functions and tables of a file of Python or Cython."""
    bare = blanked(path, text, strings=True)
    blocks: list[tuple[int, str, int]] = []  # of classes and functions: indentation, name, where it begins
    end = 0
    for line in [*logical_lines(path, text), Statement(len(text), len(text), True)]:
        indent = line.begin - bare.rfind("\n", 0, line.begin) - 1
        while blocks and (indent <= blocks[-1][0] or line.begin == len(text)):
            yield Function(".".join(name for _, name, _ in blocks), path, blocks[-1][2], end)
            blocks.pop()
        end = line.end
        if head := HEAD.match(bare, line.begin, line.end):
            blocks.append((indent, next(filter(None, head.groups())), line.begin))
        elif not blocks and (table := TABLE.match(bare, line.begin, line.end)):
            yield Function(table[1], path, line.begin, line.end)


@cache
def logical_lines(path: str, text: str) -> tuple[Statement, ...]:
    """Return the lines of a file of Python or Cython, each with those that continue it."""
    bare = blanked(path, text, strings=True)
    found, offset, depth, begin = [], 0, 0, -1
    for line in bare.splitlines(keepends=True):
        if line.strip():
            if begin < 0:
                begin = offset + len(line) - len(line.lstrip())
            depth += sum(map(line.count, "([{")) - sum(map(line.count, ")]}"))
            if not depth and not text.endswith("\\\n", offset, offset + len(line)):
                end = offset + len(line.rstrip())
                found.append(Statement(begin, end, bare[end - 1] != ":"))
                begin = -1
        offset += len(line)
    return tuple(found)


def c_statements(text: str, where: Function) -> Iterator[Statement]:
    """Yield the statements of a C function, and the heads and the ends of its blocks."""
    bare = blanked(where.path, text, strings=True)
    begin, depth = bare.index("{", where.begin) + 1, 0
    for end in range(begin, where.end):
        depth += {"(": 1, ")": -1}.get(bare[end], 0)
        if bare[end] in "{};" and depth == 0:
            begin += len(bare[begin:end]) - len(bare[begin:end].lstrip())
            yield Statement(begin, end + 1, bare[end] == ";")
            begin = end + 1


@cache
def pattern(token: str) -> re.Pattern[str]:
    """Return what finds a token however it is laid out."""
    parts = re.findall(rf"{STRING}|\w+|\S", token)
    begins, ends = [re.match(r"\w", part) for part in parts], [re.search(r"\w\Z", part) for part in parts]
    joined = re.escape(parts[0])
    for i, (_, part) in enumerate(pairwise(parts)):
        joined += (r"\s+" if ends[i] and begins[i + 1] else r"\s*") + re.escape(part)
    return re.compile((r"(?<!\w)" if begins[0] else "") + joined + (r"(?!\w)" if ends[-1] else ""))


def find(text: str, where: Function, token: str) -> tuple[int, int]:
    """Return the offsets of a token in a function that contains it once."""
    found = list(pattern(token).finditer(code(where.path, text), where.begin, where.end))
    if len(found) != 1:
        raise Misfit(f"token {token!r} found {len(found)} times in {where.name}")
    return found[0].span()


def statement(text: str, where: Function, token: str) -> Statement:
    """Return the statement of a function that a token begins in."""
    begin, _ = find(text, where, token)
    statements = c_statements(text, where) if is_c(where.path) else logical_lines(where.path, text)
    return next(found for found in statements if found.begin <= begin < found.end)


def simple_statement(text: str, where: Function, token: str) -> Statement:
    """Return the statement that a token stands in, which must be no head of a block."""
    found = statement(text, where, token)
    if not found.simple or find(text, where, token)[1] > found.end:
        raise Misfit(f"token {token!r} is not part of one simple statement of {where.name}")
    return found
