"""Do the tests hold the numbers? Small mistakes are made in the code, one at a time, and the tests must see each.

    python benchmarks/mutants.py                            # every module below: about 200 changes
    python benchmarks/mutants.py learning/muon scoring      # these modules, or all of a folder
    python benchmarks/mutants.py learning/muon --each 0     # every change that there is
    python benchmarks/mutants.py --seed 2                   # other changes

A change is one of these: another comparison, arithmetic or boolean operator, a number or a flag that is a little off,
arguments that are swapped or left out, a condition that always or never holds, a statement or a call that is gone, a
result that is not returned. Docstrings, annotations, messages and what is printed stay as they are.

The changed module lives in a temporary copy of the project. Only the test files of its row in TESTS run, up to the
first failure. "caught" says that a test failed, "no end" that the tests did not end in time, which counts as caught.
The exit code is 0 if at least 90% are caught. Changes that alter nothing a user sees stand in EQUIVALENT, with the
reason; they are not made.

It needs Linux: torch is imported once, and each changed module is then imported by a fork of that process.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
EACH = 12  # changes of a module, if there are so many
BAR = 0.9  # share to be caught
PATIENCE = 20.0  # seconds, and ten times what the tests of the unchanged module take
MEMORY = 8 << 30  # bytes that a change may make the tests take beyond what the imports have

TESTS = {  # module -> the files that test it, the quickest first
    "learning/losses": ["test_losses"],
    "shared/metrics": ["test_metrics"],
    "scoring/scores": ["test_scores", "test_metrics"],
    "shared/thresholds": ["test_scores", "test_metrics"],
    "learning/augment": ["test_augment"],
    "learning/schedule": ["test_schedule"],
    "learning/muon": ["test_muon"],
    "learning/seeds": ["test_seeds"],
    "models/parts": ["test_models"],
    "scoring/predict": ["test_evaluate"],
    "oxford_pet": ["test_oxford_pet"],
    "scoring/splits": ["test_splits"],
    "photos/leaks": ["test_leaks"],
    "preprocess": ["test_preprocess"],
    "source/fetch": ["test_fetch"],
    "shared/checkpoint": ["test_checkpoint"],
    "learning/resume": ["test_resume"],
    "verify": ["test_verify", "test_verify_clone"],
    "commands/lock": ["test_lock"],
}

NAN = "0 / 0 is not a number, but then another value is taken"
NOTHING = "a share of 0 adds 0"
NAME = "the length of a file's name, which nobody reads"

# module -> (how the line begins, what becomes what, why nobody sees it)
EQUIVALENT: dict[str, list[tuple[str, str, str]]] = {
    "learning/losses": [
        (
            "weight = ",
            "torch.where(trimaps == BORDER, border_weight, 1.0).to(logits.dtype)"
            " -> torch.where(trimaps == BORDER, border_weight, 1.0)",
            "the engine's log-odds are float32, as these weights are already",
        ),
        ("if share < 1", "share < 1 -> (share <= 1)", NOTHING),
        ("if share < 1", "share < 1 -> True", NOTHING),
        ("if share > 0", "share > 0 -> (share >= 0)", NOTHING),
        ("if share > 0", "share > 0 -> True", NOTHING),
    ],
    "shared/metrics": [
        ("return", "(2 * tp + fp + fn).clamp(min=1) -> (2 * tp + fp + fn)", NAN),
        ("return", "(tp + fp + fn).clamp(min=1) -> (tp + fp + fn)", NAN),
    ],
    "scoring/scores": [
        ("return", "(tp + fp).clamp(min=1) -> (tp + fp)", NAN),
        ("p, r = ", "our_length.clamp(min=1) -> our_length", NAN),
        ("p, r = ", "their_length.clamp(min=1) -> their_length", NAN),
        ("harmonic = ", "(p + r).clamp(min=1e-12) -> (p + r)", NAN),
        ("harmonic = ", "1e-12 -> 1.25e-12", "no sum of two shares of pixels is so small and not 0"),
        (
            "boundary_f1(",
            "boundary_f1(predicted & counts, real & counts) -> boundary_f1(real & counts, predicted & counts)",
            "F1 is the same both ways round",
        ),
    ],
    "learning/augment": [
        ("size = ", "-2 -> 2", "of four axes, the last two begin at 2"),
        (
            "down = ",
            "torch.arange(height).to(images) -> torch.arange(height)",
            "the division by the height makes floats of it; on a GPU it would fail",
        ),
    ],
    "scoring/predict": [
        ("colours = ", "images.to(self.device) -> images", "on a GPU it would fail"),
        ("if x.shape", "-2 -> 2", "of four axes, the last two begin at 2"),
        ("if x.shape", "x.shape[-2:] == (height, width) -> False", "resized to the same size it stays the same"),
    ],
    "oxford_pet": [
        (
            "self.pixels: ",
            "np.load(file, mmap_mode=\"c\", allow_pickle=False) -> np.load(file, mmap_mode='c')",
            "NumPy's default",
        ),
        (
            "if classes and not (sound",
            "sound and underscore and breed and number.isdecimal() -> (sound and breed and number.isdecimal())",
            "without an underscore there is no breed either",
        ),
    ],
    "preprocess": [
        (
            "write_header(",
            "write_header(array, len(entries), side) -> write_header(array, side, len(entries))",
            "it only takes the room of the header, which is written again at the end",
        ),
    ],
    "commands/lock": [
        ("return hashlib", "False -> True", "it matters only where OpenSSL forbids MD5 for security"),
        ("return hashlib", "hashlib.md5(usedforsecurity=False) -> hashlib.md5()", "likewise"),
    ],
    "scoring/splits": [("return self.pixels", "1 -> 2", "all photographs have the same side")],
    "learning/schedule": [
        ("case ", "progress < RISE -> (progress <= RISE)", "at the top both halves have the same rate"),
        ("best, waited, count", "0 -> 1", "the first epoch is always the best so far, and sets it to 0"),
        ("assert_never", "assert_never(settings.schedule) -> pass", "mypy holds it: no value can come here"),
    ],
    "learning/resume": [
        ("digest = ", "8 -> 9", NAME),
        ("digest = ", "8 -> 7", NAME),
        (
            "digest = ",
            "hashlib.blake2b(repr(sorted(made_from.items())).encode(), digest_size=8)"
            " -> hashlib.blake2b(repr(sorted(made_from.items())).encode())",
            NAME,
        ),
        (
            "return torch.load",
            'torch.load(io.BytesIO(content[32:]), map_location="cpu", weights_only=True)'
            " -> torch.load(io.BytesIO(content[32:]), map_location='cpu')",
            "torch's default",
        ),
        ("self.due = ", "took > CHEAP -> (took >= CHEAP)", "no write takes exactly so long"),
    ],
}

HEAVY = (  # what the tests import beside the project
    "hypothesis.extra.numpy",
    "numpy",
    "PIL.Image",
    "pydantic",
    "pytest",
    "requests",
    "scipy.ndimage",
    "torch._dynamo",
    "torch._inductor.config",
    "torchmetrics.functional.segmentation",
    "yaml",
)
COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
CALCULATED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.RShift: ast.LShift,
    ast.LShift: ast.RShift,
}
NAMES = {"min": "max", "any": "all", "sum": "mean", "cos": "sin", "floor": "ceil", "argmin": "argmax"}
NAMES |= {new: old for old, new in NAMES.items()}
WORDS = {"bilinear": "nearest", "reflection": "zeros", "replicate": "constant", "big": "little", "ab": "wb"}
WORDS |= {"nearest": "bilinear"}
DROPPED = {"abs", "clamp", "contiguous", "double", "exp", "expanduser", "flip", "lower", "lstrip", "resolve", "round"}
DROPPED |= {"rstrip", "sqrt", "square", "strip", "to"}  # methods that give back something of the same kind
EITHER_WAY = {"min", "max", "isinstance", "maximum", "minimum"}  # functions whose first two arguments may be swapped
# Arguments that matter on other machines, only after another mistake, or to a reader alone.
UNSEEN = {"strict", "encoding", "newline", "metavar"}
FIELDS = {"annotation", "returns", "decorator_list", "bases", "type_comment"}  # parts of the tree that compute nothing


class Mutant(NamedTuple):
    module: str
    row: int
    line: str  # as it was
    kind: str
    what: str  # becomes what
    source: str  # of the whole module

    @property
    def key(self) -> tuple[str, str, str]:
        return self.module, self.line, self.what

    @property
    def changed(self) -> str:
        return self.source.splitlines()[self.row - 1].strip()


# --- changes ----------------------------------------------------------------------------------------------------------


def mutants(module: str, source: str) -> list[Mutant]:
    """Every change, without two alike on one line."""
    lines = source.splitlines()
    found: dict[tuple[str, str, str], Mutant] = {}
    for node, kind, new in visited(ast.parse(source)):
        text = "pass" if new is None else ast.unparse(ast.fix_missing_locations(new))
        if isinstance(node, ast.expr) and not isinstance(new, ast.Constant | ast.Name | ast.Call | ast.Attribute):
            text = f"({text})"
        old = ast.get_source_segment(source, node) or ""
        mutant = Mutant(
            module,
            node.lineno,
            lines[node.lineno - 1].strip(),
            kind,
            f"{' '.join(old.split())} -> {text}",
            replaced(source, node, text),
        )
        found.setdefault(mutant.key, mutant)
    return list(found.values())


def replaced(source: str, node: ast.expr | ast.stmt, text: str) -> str:
    lines = [line.encode() for line in source.splitlines(keepends=True)]  # the tree counts bytes
    start = sum(map(len, lines[: node.lineno - 1])) + node.col_offset
    end = sum(map(len, lines[: (node.end_lineno or 0) - 1])) + (node.end_col_offset or 0)
    content = b"".join(lines)
    return (content[:start] + text.encode() + content[end:]).decode()


Change = tuple[ast.expr | ast.stmt, str, "ast.AST | None"]  # what is replaced, the kind, and by what


def visited(node: ast.AST, within_raise: bool = False) -> Iterator[Change]:
    """All changes below a node."""
    within_raise = within_raise or isinstance(node, ast.Raise)
    if silent(node):
        return
    if isinstance(node, ast.stmt):
        yield from ((node, kind, new) for kind, new in statement(node))
    if isinstance(node, ast.expr) and not within_raise:
        yield from ((node, kind, new) for kind, new in expression(node))
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        truths = (True, False) if not isinstance(node, ast.While) else (False,)
        yield from ((node.test, "condition", ast.Constant(truth)) for truth in truths if not constant(node.test))
    if isinstance(node, ast.comprehension):
        yield from ((test, "condition", ast.Constant(True)) for test in node.ifs)
    for name, value in ast.iter_fields(node):
        if name in FIELDS or (isinstance(node, ast.keyword) and node.arg in UNSEEN):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from visited(child, within_raise)


def constant(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant)


def silent(node: ast.AST) -> bool:
    """Imports, text, what is printed, and what runs only as a script or for the type checker."""
    if isinstance(node, ast.Import | ast.ImportFrom | ast.JoinedStr):
        return True
    if isinstance(node, ast.Expr):
        return constant(node.value) or (isinstance(node.value, ast.Call) and called(node.value) == "print")
    if isinstance(node, ast.If):
        return any(isinstance(n, ast.Name) and n.id in ("__name__", "TYPE_CHECKING") for n in ast.walk(node.test))
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"


def called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)


def statement(node: ast.stmt) -> Iterator[tuple[str, ast.AST | None]]:
    match node:
        case ast.Return(value) if value is not None and not constant(value):
            yield "return", ast.Return(ast.Constant(None))
        case ast.Expr(ast.Call()) | ast.AugAssign() | ast.Delete() | ast.Continue() | ast.Break() | ast.Raise():
            yield "statement", None
        case ast.Assign([ast.Subscript() | ast.Attribute()]):
            yield "statement", None
        case ast.Assign([ast.Name(name)], value):
            if any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(value)):
                yield "statement", None


def expression(node: ast.expr) -> Iterator[tuple[str, ast.AST | None]]:
    match node:
        case ast.Compare(ops=ops):
            for index, operator in enumerate(ops):
                new = deepcopy(node)
                new.ops[index] = COMPARED[type(operator)]()
                yield "comparison", new
        case ast.BinOp(left, operator, right) if type(operator) in CALCULATED and not (text(left) or text(right)):
            yield "arithmetic", ast.BinOp(left, CALCULATED[type(operator)](), right)
        case ast.UnaryOp(ast.Not() | ast.USub() | ast.Invert(), operand):
            yield "sign", operand
        case ast.BoolOp(operator, values):
            yield "boolean", ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values)
            for index in range(len(values)):
                rest = values[:index] + values[index + 1 :]
                yield "boolean", ast.BoolOp(operator, rest) if len(rest) > 1 else rest[0]
        case ast.Constant(bool(value)):
            yield "flag", ast.Constant(not value)
        case ast.Constant(int(value)):
            yield "number", ast.Constant(value + 1)
            if value > 0:
                yield "number", ast.Constant(value - 1)
        case ast.Constant(float(value)):
            yield "number", ast.Constant(value * 1.25 if value else 0.5)
        case ast.Constant(str(value)) if value in WORDS:
            yield "word", ast.Constant(WORDS[value])
        case ast.Name(name) if name in NAMES and name not in ("sum", "mean"):
            yield "name", ast.Name(NAMES[name])
        case ast.Call():
            yield from call(node)


def text(node: ast.expr) -> bool:
    """A string, or a path that is put together from strings."""
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes))


def call(node: ast.Call) -> Iterator[tuple[str, ast.AST | None]]:
    if isinstance(node.func, ast.Attribute):
        if node.func.attr in DROPPED:
            yield "call", node.func.value
        if node.func.attr in NAMES:
            yield "name", ast.Call(ast.Attribute(node.func.value, NAMES[node.func.attr]), node.args, node.keywords)
    starred = any(isinstance(argument, ast.Starred) for argument in node.args)
    if len(node.args) > 1 and not starred and called(node) not in EITHER_WAY:
        *first, one, other = node.args
        if ast.dump(one) != ast.dump(other):
            yield "arguments", ast.Call(node.func, [*first, other, one], node.keywords)
    for index, keyword in enumerate(node.keywords):
        if keyword.arg and keyword.arg not in UNSEEN:
            yield "argument", ast.Call(node.func, node.args, node.keywords[:index] + node.keywords[index + 1 :])


def drawn(candidates: Sequence[Mutant], each: int, seed: int) -> list[Mutant]:
    """Some of every kind; another edit of the module does not shift the draw."""

    def number(mutant: Mutant) -> str:
        return hashlib.sha256("\n".join([str(seed), *mutant.key]).encode()).hexdigest()

    ranked, seen = [], Counter[str]()
    for mutant in sorted(candidates, key=number):
        ranked.append((seen[mutant.kind], mutant))
        seen[mutant.kind] += 1
    chosen = sorted(ranked, key=lambda pair: pair[0])[: each or None]
    return sorted((mutant for _, mutant in chosen), key=lambda mutant: (mutant.row, mutant.what))


# --- tests ------------------------------------------------------------------------------------------------------------


def copied(folder: Path) -> Path:
    """What git tracks here, and what it would."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return folder


def warm() -> None:
    """What each fork then has already; one thread, as threads do not survive a fork."""
    for name in HEAVY:
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)


def outcome(copy: Path, tests: Sequence[str], limit: float) -> tuple[int, str]:
    """The exit code of the tests (-1: they did not end) and what they printed."""
    scratch, log = copy.parent / "scratch", copy.parent / "log.txt"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    sys.stdout.flush()
    if (child := os.fork()) == 0:
        tested(copy, tests, scratch, log)
    end = time.monotonic() + limit
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > end:
            break
        time.sleep(0.01)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # also what the tests started
    if not ended[0]:
        os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(ended[1]) if ended[0] else -1, log.read_text(errors="replace")


def tested(copy: Path, tests: Sequence[str], scratch: Path, log: Path) -> None:
    """In a fork: run the tests and end."""
    code = 3
    try:
        os.setsid()
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream, target in ((0, os.open(os.devnull, os.O_RDONLY)), (1, file), (2, file)):
            os.dup2(target, stream)
        has = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (has + MEMORY, has + MEMORY))
        os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        sys.dont_write_bytecode = True  # or a change within the same second would not be seen
        tempfile.tempdir = os.environ["TMPDIR"] = str(scratch)
        os.chdir(copy)
        sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != ROOT / "benchmarks"]
        import pytest

        files = [f"tests/{name}.py" for name in tests]
        options = ["-x", "-q", "--assert=plain", "-o", "addopts=-p no:cacheprovider"]
        code = int(pytest.main([*options, *files], plugins=[SameExamples()]))
    finally:
        os._exit(code)


class SameExamples:
    """Every run sees the same examples, and a failure is enough: it need not become the smallest."""

    def pytest_collection(self) -> None:
        from hypothesis import Phase, settings

        phases = (Phase.explicit, Phase.generate)
        settings.register_profile("mutants", deadline=None, derandomize=True, database=None, phases=phases)
        settings.load_profile("mutants")


# --- the script -------------------------------------------------------------------------------------------------------


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"of {', '.join(TESTS)}; default: all")
    parser.add_argument(
        "--each", type=int, default=EACH, metavar="N", help=f"changes of a module; default {EACH}, 0: all"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="draws other changes; default 1")
    args = parser.parse_args()
    for word in args.modules:
        if not any(within(module, word) for module in TESTS):
            parser.error(f"{word} is none of {', '.join(TESTS)}")
    args.modules = [m for m in TESTS if not args.modules or any(within(m, word) for word in args.modules)]
    return args


def within(module: str, word: str) -> bool:
    return module == word.removesuffix(".py") or module.startswith(f"{word.rstrip('/')}/")


def main() -> None:
    args = arguments()
    warm()
    results: list[tuple[str, int, int]] = []  # module, made, caught
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as room:
        copy = copied(Path(room) / "copy")
        for module in args.modules:
            results.append((module, *judged(copy, module, args.each, args.seed)))
    print(f"\n{'module':<20} {'made':>5} {'caught':>7}")
    for module, made, caught in [*results, ("all", sum(r[1] for r in results), sum(r[2] for r in results))]:
        print(f"{module:<20} {made:>5} {caught:>7} {caught / max(made, 1):>6.0%}")
    print(f"{time.monotonic() - begun:.0f} s")
    sys.exit(caught < BAR * made)


def same(mutant: Mutant, begin: str, what: str) -> bool:
    return mutant.line.startswith(begin) and mutant.what == what


def judged(copy: Path, module: str, each: int, seed: int) -> tuple[int, int]:
    """How many changes were made in a module, and how many of them the tests caught."""
    file, tests = copy / "src" / f"{module}.py", TESTS[module]
    source = file.read_text(encoding="utf-8")
    start = time.monotonic()
    code, log = outcome(copy, tests, 600)
    if code:
        sys.exit(f"{log}\n{module}: its tests fail before anything is changed")
    limit = PATIENCE + 10 * (time.monotonic() - start)
    candidates = mutants(module, source)
    unseen = EQUIVALENT.get(module, [])
    for begin, what, _ in unseen:
        if not any(same(mutant, begin, what) for mutant in candidates):
            print(f"note: EQUIVALENT names a change of {module} that there is no longer: {begin}: {what}")
    seen = [m for m in candidates if not any(same(m, begin, what) for begin, what, _ in unseen)]
    made = drawn(seen, each, seed)
    print(f"\n{module}: {len(made)} of {len(candidates)} changes, by {', '.join(tests)}", flush=True)
    caught = 0
    for mutant in made:
        file.write_text(mutant.source, encoding="utf-8")
        code, _ = outcome(copy, tests, limit)
        caught += code != 0
        verdict = {0: "SURVIVED", -1: "no end  "}.get(code, "caught  ")
        print(f"{verdict} src/{module}.py:{mutant.row}: {mutant.changed}\n         {mutant.what}", flush=True)
    file.write_text(source, encoding="utf-8")
    return len(made), caught


if __name__ == "__main__":
    main()
