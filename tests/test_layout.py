"""The order of the house: which room may import which, what a rank may import, how long a file may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "megatron_fugaku"
MODULES = sorted(PACKAGE.rglob("*.py"))

#: Rooms in the order in which data walks through them: each may import those to its left.
WALK = ("config", "plan", "launch", "data", "model", "train", "checkpoint")
#: Rooms at the end of the walk: each may import all of WALK, none may import another.
ENDS = ("finetune", "eval", "serve", "report", "bench")
#: What carries the walk from below: anyone may import it, and it imports no room.
BELOW = ("errors", "atomic_file", "environment", "elf", "mpi_families", "mpi_choice", "native_library", "c_library",
         "processor", "freed_memory", "flight", "kernels", "comm", "patches", "port")
#: May import everything; nothing imports them.
ABOVE = ("cli", "commands", "__main__")

#: Packages that people need and ranks do not: never imported when a module is loaded.
NOT_ON_RANKS = {"rich", "typer", "matplotlib", "tensorboard", "datasets", "wandb", "gradio", "transformers", "pandas",
                "tqdm"}
MAX_LINES = 600


def room_of(module: str) -> str:
    """``megatron_fugaku.train.loop`` -> ``train``; the package itself -> ``""``."""
    return [*module.split("."), ""][1]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, top_level_only: bool = False) -> Iterator[tuple[int, str]]:
    """(line, absolute module) of the imports of a file; ``from a import b`` counts as ``a.b`` when a is the package."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    for node in loaded(tree) if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write imports absolutely"
            if node.module == "megatron_fugaku":
                yield from ((node.lineno, f"megatron_fugaku.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module


def loaded(node: ast.AST) -> Iterator[ast.AST]:
    """The statements that run when a module is loaded, without those for type checkers only."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from loaded(child)


def allowed_rooms(room: str) -> set[str]:
    """Rooms that a module of ``room`` may import, its own aside."""
    if room in BELOW:
        return set(BELOW)
    if room in WALK:
        return set(BELOW) | set(WALK[: WALK.index(room)])
    if room in ENDS:
        return set(BELOW) | set(WALK)
    assert room in ABOVE or room == "", f"megatron_fugaku.{room} has no place in the house; give it one here"
    return set(BELOW) | set(WALK) | set(ENDS) | set(ABOVE) if room else {"port"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rooms_import_only_what_stands_before_them(path):
    room = room_of(module_name(path))
    allowed = allowed_rooms(room) | {room, "", "__version__"}
    wrong = [f"line {line}: {name}" for line, name in imports(path)
             if name.split(".")[0] == "megatron_fugaku" and room_of(name) not in allowed]
    assert not wrong, f"{room} may import only {sorted(allowed - {''})}: {wrong}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_ranks_do_not_need_is_imported_where_it_is_used(path):
    wrong = [f"line {line}: {name}" for line, name in imports(path, top_level_only=True)
             if name.split(".")[0] in NOT_ON_RANKS or name.startswith("torch.utils.tensorboard")]
    assert not wrong, f"import inside the function that needs it: {wrong}"


def test_files_stay_short():
    folders = [(PACKAGE, "*.py"), (ROOT / "tests", "*.py"), (ROOT / "csrc", "*.cpp"), (ROOT / "csrc", "*.h")]
    long = {str(path.relative_to(ROOT)): lines for folder, pattern in folders for path in folder.rglob(pattern)
            if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES}
    assert not long, f"more than {MAX_LINES} lines, split by idea: {long}"


def test_every_verb_has_a_module():
    from megatron_fugaku.cli import VERBS

    found = {path.stem for path in (PACKAGE / "commands").glob("*.py")} - {"__init__"}
    assert found == set(VERBS)


def test_tests_mirror_the_package():
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and not path.name.startswith("__")}
    other = {"golden", "examples", "csrc", "docker", "aarch64", "upstream"}
    strangers = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name[0] not in "._"}
    assert strangers - rooms - other == set()
