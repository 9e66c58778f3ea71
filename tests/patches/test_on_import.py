"""Patches that act while upstream is first imported, each in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_torch_s_compiler_is_not_loaded_by_a_rank():
    out = run("""
import sys, torch
from megatron_fugaku import patches
patches.prepare_imports()
patches.prepare_imports()
assert sum(type(finder).__name__ == "_PatchingFinder" for finder in sys.meta_path) == 1
import megatron.core.jit
from megatron.core.fusions.fused_bias_gelu import bias_gelu
assert [entry["id"] for entry in patches.ledger()] == ["jit-fuser"]
patches.apply()
assert type(bias_gelu).__name__ == "function" and bias_gelu.__module__.startswith("megatron.core")
assert megatron.core.jit.__spec__.loader is megatron.core.jit.__loader__
assert "Patching" not in type(megatron.core.jit.__loader__).__name__
import megatron_fugaku.checkpoint
from megatron_fugaku.patches.adamw import FusedAdamW
weight = torch.nn.Parameter(torch.ones(3))
optimizer = FusedAdamW([weight])
weight.grad = torch.ones(3)
optimizer.step()
optimizer.load_state_dict(optimizer.state_dict())
optimizer.zero_grad()
print([name for name in ("torch._dynamo", "torch._inductor") if name in sys.modules])
""")
    assert out.strip() == "[]"


def test_a_late_call_still_keeps_what_comes_after_from_compiling():
    out = run("""
import torch, megatron.core
from megatron_fugaku import patches
assert megatron.core.jit.jit_fuser is torch.compile
patches.prepare_imports()
patches.apply()
function = lambda x: x
print(megatron.core.jit.jit_fuser(function) is function, torch.compile is megatron.core.jit.jit_fuser)
""")
    assert out.strip() == "True False"
