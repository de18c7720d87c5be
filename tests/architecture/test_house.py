"""The house rules that a machine can check: sizes, names, imports, words."""

from __future__ import annotations

import ast
import importlib
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "palaver"
PURE = ("errors.py", "model/", "protocols/")

MAX_FILE_LINES = 500
MAX_MESSAGES_LINES = 580  # declarations only: one field, one line
MAX_FUNCTION_LINES = 50
MAX_METHODS = 25

EMPTY_NAMES = {"utils", "util", "common", "base", "misc", "helper", "helpers"}
PROMISED_NAMES = {
    "MediaServerConfigBuilder",  # the plan for ASP promises it, and it does build, step by step
}
EMPTY_ENDINGS = ("Manager", "Service", "Handler", "Helper", "Processor", "Builder", "Util", "Utils")

NO_TEXT = {
    ".gif",
    ".ico",
    ".jpg",
    ".mp3",
    ".npz",
    ".onnx",
    ".pcm",
    ".png",
    ".raw",
    ".wav",
    ".woff2",
}
NOT_OURS = {"LICENSE"}
SKIPPED_FOLDERS = {"__pycache__", "build", "dist", "htmlcov", "node_modules", "bench-results"}


@cache
def modules() -> dict[str, ast.Module]:
    """Parse each module of the package, by its path below ``src/palaver``."""
    return {
        path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(SOURCE.rglob("*.py"))
    }


def walk(*kinds: type[ast.AST]) -> Iterator[tuple[str, ast.AST]]:
    """Yield every node of those kinds with the module that it stands in."""
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, kinds):
                yield name, node


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Yield every function with the module that it stands in."""
    for name, node in walk(ast.FunctionDef, ast.AsyncFunctionDef):
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        yield name, node


def texts() -> Iterator[tuple[str, str]]:
    """Yield each text file of the project with its path."""
    for folder, below, files in os.walk(ROOT):
        here = Path(folder)
        below[:] = [
            name
            for name in below
            if name not in SKIPPED_FOLDERS
            and (not name.startswith(".") or name in {".ci", ".github"})
        ]
        for name in files:
            path = here / name
            if name not in NOT_OURS and path.suffix not in NO_TEXT and not name.startswith(".cov"):
                try:
                    yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
                except UnicodeDecodeError:
                    continue  # packets and sounds under other names


def test_files_are_small() -> None:
    """No file of the package is over 500 lines; one that only declares messages, 580."""
    long = []
    for path in SOURCE.rglob("*.py"):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > (MAX_MESSAGES_LINES if path.name == "messages.py" else MAX_FILE_LINES):
            long.append(f"{path.relative_to(SOURCE)}: {lines} lines")
    assert long == []


def test_functions_are_small() -> None:
    """No function of the package is over 50 lines, its docstring included."""
    long = []
    for name, node in functions():
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > MAX_FUNCTION_LINES:
            long.append(f"{name}:{node.lineno} {node.name}: {lines} lines")
    assert long == []


def test_classes_are_small() -> None:
    """No class of the package has more than 25 methods."""
    large = []
    for name, node in walk(ast.ClassDef):
        assert isinstance(node, ast.ClassDef)
        methods = sum(
            isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) for item in node.body
        )
        if methods > MAX_METHODS:
            large.append(f"{name}:{node.lineno} {node.name}: {methods} methods")
    assert large == []


def test_module_names_say_something() -> None:
    """No module or package is named by a word that promises nothing."""
    empty = [name for name in modules() if EMPTY_NAMES & set(Path(name).with_suffix("").parts)]
    assert empty == []


def test_class_names_say_something() -> None:
    """No class ends in a word that fits any class, but those whose names were promised."""
    empty = []
    for name, node in walk(ast.ClassDef):
        assert isinstance(node, ast.ClassDef)
        if node.name.endswith(EMPTY_ENDINGS) and node.name not in PROMISED_NAMES:
            empty.append(f"{name}:{node.lineno} {node.name}")
    assert empty == []


def test_imports_of_our_own_stand_at_the_top() -> None:
    """No function imports from the package: that would hide an arrow of the tree, or a cycle."""
    hidden = []
    for name, function in functions():
        for node in ast.walk(function):
            if isinstance(node, ast.ImportFrom):
                imported = [node.module or ""]
            elif isinstance(node, ast.Import):
                imported = [alias.name for alias in node.names]
            else:
                continue
            if any(module.split(".")[0] == "palaver" for module in imported):
                hidden.append(f"{name}:{node.lineno} in {function.name}")
    assert hidden == []


def test_public_names_exist() -> None:
    """Each name in an ``__all__`` is there, once, and every public package has been imported."""
    wrong = []
    for name in modules():
        if name.endswith("__main__.py"):
            continue
        dotted = ".".join(("palaver", *Path(name).with_suffix("").parts)).removesuffix(".__init__")
        module = importlib.import_module(dotted)
        exported = list(getattr(module, "__all__", ()))
        wrong += [f"{dotted}.{item} is missing" for item in exported if not hasattr(module, item)]
        wrong += [f"{dotted}.{item} stands twice" for item in exported if exported.count(item) > 1]
    assert wrong == []


def test_pure_code_waits_for_nothing() -> None:
    """The model and the protocols hold no coroutine and read no clock, not even datetime's."""
    clocks = {"now", "utcnow", "today"}
    impure = []
    for name, node in walk(ast.AsyncFunctionDef, ast.Await, ast.Attribute):
        if not name.startswith(PURE):
            continue
        if isinstance(node, ast.Attribute):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else ""
            owner = node.value.id if isinstance(node.value, ast.Name) else owner
            if not (node.attr in clocks and owner in {"datetime", "date"}):
                continue
        impure.append(f"{name}:{getattr(node, 'lineno', 0)}")
    assert impure == []


def test_tests_use_no_mocks() -> None:
    """A test joins real ends, fakes that we ship, or real servers: it patches no name."""
    pattern = re.compile(r"unittest[.]mock|from unittest [i]mport mock|[i]mport pytest_mock")
    found = [name for name, text in texts() if name.startswith("tests/") and pattern.search(text)]
    assert found == []
