"""The mutants of a source file: small ones, each one constant, sign, index or comparison changed, and structural ones.

The small ones are found in the source. The structural ones (order, place, reuse of random numbers) are written down in
mutants_structural.toml. Both are tried by mutate.py.
"""

import ast
import tomllib
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

STRUCTURAL = Path(__file__).with_name("mutants_structural.toml")
EXPLANATIONS = Path(__file__).with_name("mutants_explained.toml")


@dataclass(frozen=True)
class Room:
    """Patterns of the source files with small mutants, below src/sfumato, and of the tests, below tests.

    The tests also run on the structural mutants of the room, which may be in other files.
    """

    sources: tuple[str, ...]
    tests: tuple[str, ...]

    def test_files(self, root: Path) -> list[str]:
        """Paths of the test files, relative to the root of the checkout.

        Raises:
            ValueError: a pattern matches no file.
        """
        return matched(root, [f"tests/{pattern}" for pattern in self.tests])

    def source_files(self, sources: Path) -> list[str]:
        """Paths of the source files with small mutants, relative to src/sfumato.

        Raises:
            ValueError: a pattern matches no file.
        """
        return matched(sources, self.sources)


ROOMS = {
    "schedule": Room(("diffusion/schedules/*.py",), ("diffusion/test_schedule*.py",)),
    "conditions": Room(
        ("data/conditions.py", "networks/conditioning.py"),
        ("data/test_conditions.py", "diffusion/test_conditional.py", "networks/test_conditioning.py"),
    ),
    "denoiser": Room(("diffusion/denoiser.py",), ("diffusion/test_denoiser.py",)),
    "losses": Room(
        ("diffusion/losses.py", "diffusion/time_densities.py"),
        ("diffusion/test_losses.py", "diffusion/test_time_densities.py", "diffusion/test_label_dropout.py"),
    ),
    "solvers": Room(
        ("sampling/solvers/*.py",), ("sampling/test_solver*.py", "sampling/test_ode.py", "parity/test_*.py")
    ),
    "ode": Room(("sampling/ode.py",), ("sampling/test_ode.py",)),
    "timesteps": Room(
        ("sampling/timesteps.py", "utils/registry.py"), ("sampling/test_timesteps.py", "utils/test_registry.py")
    ),
    "guidance": Room(("diffusion/guidance/*.py",), ("diffusion/test_guidance*.py", "diffusion/test_clipping.py")),
    "likelihood": Room(("likelihood/*.py",), ("likelihood/test_*.py",)),
    "sampling": Room(
        ("sampling/sampler.py", "sampling/inversion.py"),
        ("sampling/test_sampler*.py", "sampling/test_inversion.py", "sampling/test_sphere.py"),
    ),
    "networks": Room(
        (), tuple(f"networks/test_{part}*.py" for part in ("convnet", "unet", "networks", "condition", "matrices"))
    ),
    "training": Room(
        (),
        tuple(
            f"training/test_{part}*.py"
            for part in ("step", "ema", "opt", "validation", "augm", "engine", "resume", "saving")
        ),
    ),
    "data": Room(
        (),
        tuple(
            f"data/test_{part}.py"
            for part in ("augment", "augmentation_transforms", "dataset", "epochs", "loader", "rng", "shapes")
        ),
    ),
    "resizing": Room((), ("sources/test_resizing*.py",)),
    "metrics": Room((), ("metrics/test_[!er]*.py",)),  # without those of the example and the reference, which are slow
    "generation": Room((), ("sampling/test_acceleration.py", "sampling/test_generate.py")),
    "evaluation": Room((), ("metrics/test_class_shares.py", "training/test_quick_evaluation.py")),
}

SWAPS: dict[type[ast.AST], tuple[str, tuple[str, ...]]] = {
    ast.Add: ("+", ("-",)),
    ast.Sub: ("-", ("+",)),
    ast.Mult: ("*", ("/",)),
    ast.Div: ("/", ("*",)),
    ast.FloorDiv: ("//", ("/",)),
    ast.Mod: ("%", ("*",)),
    ast.Lt: ("<", ("<=", ">")),
    ast.LtE: ("<=", ("<", ">=")),
    ast.Gt: (">", (">=", "<")),
    ast.GtE: (">=", (">", "<=")),
    ast.Eq: ("==", ("!=",)),
    ast.NotEq: ("!=", ("==",)),
    ast.Is: ("is", ("is not",)),
    ast.IsNot: ("is not", ("is",)),
    ast.In: ("in", ("not in",)),
    ast.NotIn: ("not in", ("in",)),
    ast.And: ("and", ("or",)),
    ast.Or: ("or", ("and",)),
}
"""Each operator as it is written, and what is written in its place."""

TWINS = {"min": "max", "minimum": "maximum", "amin": "amax", "zeros": "ones", "zeros_like": "ones_like"}
TWINS |= {other: one for one, other in TWINS.items()}
"""Functions and arguments that are comparisons or constants by another name."""


def matched(folder: Path, patterns: Iterable[str]) -> list[str]:
    """Sorted paths of the files that match the patterns, relative to the folder.

    Raises:
        ValueError: a pattern matches no file.
    """
    found = []
    for pattern in patterns:
        files = sorted(str(path.relative_to(folder)) for path in folder.glob(pattern))
        if not files:
            raise ValueError(f"no file matches {pattern!r} in {folder}")
        found += files
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class Mutant:
    """One change: the bytes from `start` to `end` of a file below src/sfumato become `text`.

    `line` is where, `before` and `after` the whole line (or lines) without and with it. `within` is
    the first and last line of the function that it is in; where there is none, or in a default, importing the file is
    enough to meet it. `fault` is what a structural mutant does wrong, in words.
    """

    file: str
    line: int
    before: str
    after: str
    start: int
    end: int
    text: str
    within: tuple[int, int] | None
    fault: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.fault or f'{self.before}  ->  {self.after}'}"

    @property
    def key(self) -> tuple[str, str, str]:
        """What explanations know it by, wherever its line moves."""
        return self.file, self.before, self.after

    def applied_to(self, source: bytes) -> bytes:
        """The mutated file."""
        return source[: self.start] + self.text.encode() + source[self.end :]


class Source:
    """A source file, and where its mutants are.

    Args:
        file: its path below src/sfumato.
        text: what it holds.
    """

    def __init__(self, file: str, text: bytes) -> None:
        self.file, self.text = file, text
        self.line_starts = [0, *accumulate(len(line) for line in self.text.splitlines(keepends=True))]
        self.tree = ast.parse(self.text)

    def mutants(self) -> list[Mutant]:
        """In the order of their places."""
        changes = (change for node in visited(self.tree) for change in self.changes(node))
        return [self.mutant(*change) for change in sorted(changes)]

    def structural(self, fault: str, written: str, put: str) -> Mutant:
        """The mutant with `put` in the one place where `written` stands.

        Raises:
            ValueError: it stands nowhere, or in several places.
        """
        places = self.text.count(written.encode())
        if places != 1:
            raise ValueError(f"{self.file}: {fault}: {written!r} stands in {places} places; it must be exactly one")
        return self.mutant(self.text.index(written.encode()), written, put, fault)

    def changes(self, node: ast.AST) -> Iterator[tuple[int, str, str]]:
        """Places in a node itself, what is written there, and what is put instead."""
        match node:
            case ast.Constant(value=bool() as truth):
                yield self.start(node), str(truth), str(not truth)
            case ast.Constant(value=int() | float() as number):
                written = self.text[self.start(node) : self.end(node)].decode()
                yield self.start(node), written, repr(number + 1 if isinstance(number, int) else number * 1.1 + 0.01)
            case ast.UnaryOp(op=ast.USub()):
                yield self.start(node), "-", ""
            case ast.UnaryOp(op=ast.Not()):
                yield self.start(node), "not ", ""
            case ast.BinOp(left=left, right=right) | ast.AugAssign(target=left, value=right):
                yield from self.swaps(node.op, left, right)
            case ast.BoolOp(values=values):
                for left, right in pairwise(values):
                    yield from self.swaps(node.op, left, right)
            case ast.Compare(left=first, comparators=others):
                for op, (left, right) in zip(node.ops, pairwise([first, *others]), strict=True):
                    yield from self.swaps(op, left, right)
            case ast.Name(id=name) if name in TWINS:
                yield self.start(node), name, TWINS[name]
            case ast.Attribute(attr=name) if name in TWINS:
                yield self.end(node) - len(name), name, TWINS[name]
            case ast.keyword(arg=str(name)) if name in TWINS:
                yield self.start(node), name, TWINS[name]

    def swaps(self, op: ast.AST, left: ast.expr, right: ast.expr) -> Iterator[tuple[int, str, str]]:
        """The changes of the operator between two operands, beside which are brackets and spaces only."""
        written, others = SWAPS.get(type(op), ("", ()))
        place = self.text.index(written.encode(), self.end(left), self.start(right))
        return ((place, written, other) for other in others)

    def mutant(self, place: int, written: str, put: str, fault: str = "") -> Mutant:
        """The mutant of one change."""
        line, end = bisect_right(self.line_starts, place), place + len(written.encode())
        first, last = self.line_starts[line - 1], self.line_starts[bisect_right(self.line_starts, end - 1)]
        before = self.text[first:last].decode().strip()
        after = (self.text[first:place] + put.encode() + self.text[end:last]).decode().strip()
        return Mutant(self.file, line, before, after, place, end, put, self.function_at(line), fault)

    def function_at(self, line: int) -> tuple[int, int] | None:
        """The first and last line of the outermost function whose body a line is in."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef) and node.body[0].lineno <= line <= (node.end_lineno or 0):
                return min([node.lineno, *(part.lineno for part in node.decorator_list)]), node.end_lineno or 0
        return None

    def start(self, node: ast.expr | ast.keyword) -> int:
        """The first byte of a node."""
        return self.line_starts[node.lineno - 1] + node.col_offset

    def end(self, node: ast.expr) -> int:
        """The first byte after a node."""
        return self.line_starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)


def visited(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it that compute: not errors and their messages, annotations, decorators, or zip's strict."""
    yield node
    below: Iterable[ast.AST | None] = ast.iter_child_nodes(node)
    match node:
        case ast.Raise() | ast.JoinedStr() | ast.keyword(arg="strict"):
            below = ()
        case ast.AnnAssign(value=value):
            below = (value,)
        case ast.FunctionDef(args=arguments, body=body):
            below = (*arguments.defaults, *arguments.kw_defaults, *body)
        case ast.ClassDef(body=body):
            below = body
    for child in filter(None, below):
        yield from visited(child)


def explanations() -> dict[tuple[str, str, str], str]:
    """The reason why no test can catch a mutant, by the key of the mutant."""
    groups = tomllib.loads(EXPLANATIONS.read_text())["equivalent"]
    return {(group["file"], before, after): group["why"] for group in groups for before, after in group["mutants"]}


def structural_mutants(room: str, sources: Path) -> list[Mutant]:
    """Those that are written down for a room, in files below `sources`.

    Raises:
        ValueError: one does not fit its source any more, or leaves no Python.
    """
    found = []
    for group in tomllib.loads(STRUCTURAL.read_text())["structural"]:
        if group["room"] == room:
            source = Source(group["file"], (sources / group["file"]).read_bytes())
            found += [source.structural(*change) for change in group["mutants"]]
            for mutant in found[-len(group["mutants"]) :]:
                ast.parse(mutant.applied_to(source.text))
    return found
