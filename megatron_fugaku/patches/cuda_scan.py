"""Finds what of CUDA the sources of an upstream name, and says what answers it on a CPU."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from megatron_fugaku.patches.against import read_module
from megatron_fugaku.patches.patch import Patch

#: Packages whose work needs a GPU.
CUDA_PACKAGES = frozenset((
    "amp_C", "apex", "causal_conv1d", "cudnn", "cupy", "deep_ep", "deep_gemm", "flash_attn", "flash_attn_3",
    "flash_mla", "flashattn_hopper", "flashinfer", "grouped_gemm", "mamba_ssm", "nvtx", "pynvml", "transformer_engine",
    "transformer_engine_torch", "triton", "tutel",
))
#: Names of ``torch.cuda`` that a torch without CUDA answers by itself, truthfully: no device, no memory of one.
WORKS_WITHOUT_CUDA = frozenset((
    "amp", "empty_cache", "graphs", "ipc_collect", "is_available", "is_bf16_supported", "is_current_stream_capturing",
    "is_initialized", "max_memory_allocated", "max_memory_reserved", "memory", "memory_allocated", "memory_cached",
    "memory_reserved", "memory_stats", "nccl", "nvtx", "profiler", "random", "seed", "seed_all", "_lazy_call",
    "_lazy_init", "device", "default_generators", "CUDAGraph", "OutOfMemoryError",
))


@dataclass(frozen=True)
class CudaName:
    """A name of CUDA in the sources of an upstream.

    Attributes:
        name: ``torch.cuda.X``, or the package imported.
        num_uses: how often it is named.
        first_use: ``file:line`` of the first time.
        answer: what answers it here: a patch's id, ``torch``, ``optional`` where every import of a package is guarded
            or inside a function, or ``none``.
    """

    name: str
    num_uses: int
    first_use: str
    answer: str


def _uses(tree: ast.Module) -> Iterator[tuple[str, int, bool]]:
    """(name, line, whether it is reached whenever the module is loaded) of the CUDA names in a module."""

    def walk(node: ast.AST, is_certain: bool) -> Iterator[tuple[str, int, bool]]:
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            if text.startswith("torch.cuda.") and text.count(".") == 2:
                yield text, node.lineno, is_certain
        elif isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else \
                [node.module or ""] if not node.level else []
            for module in modules:
                package = module.partition(".")[0]
                if package in CUDA_PACKAGES or package.endswith("_cuda"):
                    yield package, node.lineno, is_certain
                if module == "torch.cuda" and isinstance(node, ast.ImportFrom):
                    yield from ((f"torch.cuda.{alias.name}", node.lineno, is_certain) for alias in node.names)
        inner = is_certain and not isinstance(
            node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.Try | ast.If)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inner)

    yield from walk(tree, True)


def scan_cuda_names(files: Iterable[Path], patches: Iterable[Patch], root: Path) -> list[CudaName]:
    """Return the CUDA names in ``files``, those that nothing answers first, then by name; ``root`` shortens paths."""
    patched = {patch.target.replace(":", "."): patch.id for patch in patches}
    uses: dict[str, list[tuple[str, bool]]] = {}
    for file in sorted(files):
        for name, line, is_certain in _uses(read_module(file)[1]):
            uses.setdefault(name, []).append((f"{file.relative_to(root)}:{line}", is_certain))

    def answer(name: str) -> str:
        if name.startswith("torch.cuda."):
            if name in patched:
                return patched[name]
            return "torch" if name.removeprefix("torch.cuda.") in WORKS_WITHOUT_CUDA else "none"
        return "none" if any(is_certain for _, is_certain in uses[name]) else "optional"

    found = [CudaName(name, len(where), where[0][0], answer(name)) for name, where in uses.items()]
    return sorted(found, key=lambda cuda: (cuda.answer != "none", cuda.name))


def files_to_scan(root: Path, distributions: Iterable[str]) -> list[Path]:
    """Return the sources of the upstreams in a folder: packages, and the programs at the top of a checkout."""
    packages = {"megatron" if name.lower().startswith("megatron") else name for name in distributions} - {"torch"}
    found = [path for package in packages for path in (root / package).rglob("*.py")]
    if any(name in ("Megatron-LM", "Megatron-DeepSpeed") for name in distributions):
        found += [*root.glob("*.py"), *(root / "tools").glob("*.py")]
    return found
