"""Compares patches with a checkout or an unpacked package, read as text: nothing of it is imported."""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

from megatron_fugaku.errors import PatchError
from megatron_fugaku.patches.apply import PatchStatus, judge
from megatron_fugaku.patches.patch import Patch, digest_text
from megatron_fugaku.patches.upstreams import upstreams_at


def module_file(root: Path, module: str) -> Path | None:
    """Return the file of a module below ``root``, or None."""
    stem = root.joinpath(*module.split("."))
    return next((file for file in (stem.with_suffix(".py"), stem / "__init__.py") if file.is_file()), None)


@functools.lru_cache(maxsize=512)
def read_module(file: Path) -> tuple[str, ast.Module]:
    """Return the text and the syntax tree of a file."""
    with tokenize.open(file) as text:
        content = text.read()
    return content, ast.parse(content, str(file))


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a body and of its branches, but not those inside functions and classes."""
    for statement in body:
        yield statement
        for block in ("body", "orelse", "finalbody"):
            if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield from _statements(getattr(statement, block, ()))
        for handler in getattr(statement, "handlers", ()):
            yield from _statements(handler.body)


def _find(body: Iterable[ast.stmt], name: str) -> ast.stmt | None:
    for statement in _statements(body):
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and statement.name == name:
            return statement
    return None


def _imported_from(root: Path, module: str, tree: ast.Module, name: str) -> Iterator[tuple[str, str]]:
    """Where a name that a module does not define may come from: (module, name there)."""
    is_package = (module_file(root, module) or Path()).name == "__init__.py"
    for statement in _statements(tree.body):
        if not isinstance(statement, ast.ImportFrom):
            continue
        package = module.split(".") if is_package else module.split(".")[:-1]
        base = package[:len(package) - statement.level + 1] if statement.level else []
        source = ".".join([*base, *(statement.module.split(".") if statement.module else [])])
        for alias in statement.names:
            if alias.name == "*" or (alias.asname or alias.name) == name:
                yield source, name if alias.name == "*" else alias.name


def source_of(root: Path, path: str) -> str | None:
    """Return the source of ``"module:qualname"``, or of ``"module"``, below ``root``; None where it does not exist. A
    name that the module imports from another one below ``root`` is looked for there."""
    module, _, qualname = path.partition(":")
    file = module_file(root, module)
    if file is None:
        return None
    content, tree = read_module(file)
    if not qualname:
        return content
    found: ast.stmt | None = None
    body: list[ast.stmt] = tree.body
    for name in qualname.split("."):
        found = _find(body, name)
        if found is None:
            break
        body = found.body
    if found is None:
        first, _, rest = qualname.partition(".")
        for source, name in _imported_from(root, module, tree, first):
            text = source_of(root, f"{source}:{name}{'.' + rest if rest else ''}") if source != module else None
            if text is not None:
                return text
        return None
    start = min([found.lineno, *(decorator.lineno for decorator in found.decorator_list)])
    return "".join(content.splitlines(keepends=True)[start - 1:found.end_lineno])


def digest_at(root: Path, patch: Patch) -> str | None:
    """Return the digest of a patch's source below ``root``, as :func:`megatron_fugaku.patches.patch.digest` gives it
    for what is imported; None where there is no such source."""
    text = source_of(root, patch.digest_of or patch.target)
    return None if text is None else digest_text(text)


def versions_at(root: Path) -> dict[str, str]:
    """Return the upstreams in a folder, a checkout or a ``site-packages``: distribution to version."""
    found = dict(upstreams_at(root.resolve()))
    for distribution in importlib.metadata.distributions(path=[str(root)]):
        found.setdefault(distribution.metadata["Name"], distribution.version.partition("+")[0])
    return found


def check_against(root: Path, patches: Iterable[Patch]) -> list[PatchStatus]:
    """Compare the patches of the upstreams that stand in ``root`` with their sources there.

    Raises:
        PatchError: nothing that is patched stands there.
    """
    patches = list(patches)
    versions = versions_at(root)
    statuses = []
    for patch in patches:
        version = versions.get(patch.distribution)
        if version is None or not patch.concerns(version):
            continue
        found = digest_at(root, patch)
        if patch.supports(version) and found is None:
            statuses.append(PatchStatus(patch.id, "broken", version, "",
                                        f"{patch.digest_of or patch.target} does not exist"))
        else:
            statuses.append(judge(patch, version, found or ""))
    if not statuses:
        names = sorted({patch.distribution for patch in patches})
        raise PatchError(f"{root} has none of {', '.join(names)}", "there is nothing to compare patches with",
                         "give the folder of a checkout, or a site-packages folder", str(root))
    return statuses
