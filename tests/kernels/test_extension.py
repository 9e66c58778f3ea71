"""Loading the operators, forcing instruction sets, and life without the extension."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys

import pytest
import torch
from stretch import stretched

from megatron_fugaku.kernels import bias_gelu, dropout, extension
from megatron_fugaku.kernels.extension import describe_kernels

ISAS = ("avx512", "avx2", "sve", "neon", "portable")

HASHES = """
import hashlib, torch
from megatron_fugaku.kernels.attention import attention
from megatron_fugaku.kernels.bias_gelu import bias_gelu
from megatron_fugaku.kernels.dropout import bias_dropout_add
from megatron_fugaku.kernels.implementations import set_implementations
from megatron_fugaku.kernels.matmul import bfloat16_operator, float16_operator, multiply
from megatron_fugaku.kernels.extension import describe_kernels
torch.manual_seed(1)
set_implementations({"matmul": "kernel"})
digest = hashlib.sha256()
for dtype in (torch.float32, torch.bfloat16, torch.float16):
    x, bias, residual = (torch.randn(*s).to(dtype).requires_grad_() for s in ((37, 111), (111,), (37, 111)))
    out = bias_gelu(bias_dropout_add(x, bias, residual, 0.2), bias)
    out.backward(torch.ones_like(out))
    query, key, value = (torch.randn(70, 2, 3, 20).to(dtype).requires_grad_() for _ in range(3))
    attended = attention(query, key, value, 0.2, p=0.1, seed=3)
    attended.backward(torch.ones_like(attended))
    product = multiply(query.detach()[:, 0].transpose(1, 2), value.detach()[:, 1])
    for t in (out, x.grad, residual.grad, attended, query.grad, key.grad, value.grad, product):
        digest.update(t.detach().contiguous().view(torch.uint8).numpy().tobytes())
in_float16 = torch.empty_like(product)
float16_operator()(query.detach()[:, 0].transpose(1, 2), value.detach()[:, 1], in_float16, 1.0, False)
in_bfloat16 = torch.empty(product.shape, dtype=torch.bfloat16)
bfloat16_operator()(query.detach()[:, 0].transpose(1, 2).bfloat16(), value.detach()[:, 1].bfloat16(), in_bfloat16, 1.0,
                    False)
for t in (in_float16, in_bfloat16):
    digest.update(t.view(torch.uint8).numpy().tobytes())
print(",".join(choice.isa for choice in describe_kernels()), digest.hexdigest())
"""


@pytest.fixture
def fresh():
    """As before the first use; gives a function that forgets again what has been loaded."""
    def forget() -> None:
        for cache in (extension.load_operators, dropout.operator, bias_gelu.operator, bias_gelu.backward_operator):
            cache.cache_clear()

    forget()
    yield forget
    forget()


def run(code: str, kernels: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], env=os.environ | {"MFUGAKU_KERNELS": kernels},
                          capture_output=True, text=True, timeout=stretched(300), check=False)


@pytest.fixture
def built():
    if extension.load_operators() is None:
        pytest.skip("the extension of the kernels was not built")


def test_choices_are_told_with_their_reason(built):
    choices = describe_kernels()
    assert {choice.op for choice in choices} == {"reduce", "copy", "dropout", "bias_gelu", "gemm", "gemm_fp16",
                                                 "gemm_bf16", "attention", "norm", "softmax", "swiglu",
                                                 "cross_entropy", "adamw", "rope"}
    for choice in choices:
        assert choice.isa in ISAS
        assert choice.isa in choice.reason


@pytest.mark.slow
def test_every_instruction_set_of_this_cpu_gives_the_same_bits(built):
    """As the C++ tests do, through torch, autograd and a new process for each."""
    has = describe_kernels()[0].reason.partition(": ")[2]
    hashes = {}
    for isa in ISAS:
        done = run(HASHES, f"all={isa}")
        if isa in has.replace(",", " ").split():
            names, hashes[isa] = done.stdout.split()
            assert set(names.split(",")) == {isa}
        else:
            assert f"This CPU has no {isa}" in done.stderr
    assert len(hashes) >= 2
    assert len(set(hashes.values())) == 1


@pytest.mark.parametrize(("forced", "message"), [
    ("dropuot=portable", r"There is no kernel 'dropuot'.*Choose among reduce, copy, .*rope and all.*"),
    ("all=mmx", r"'mmx' is not an instruction set.*Choose among portable, avx2, avx512, neon and sve.*"),
    (f"dropout={'avx2' if platform.machine() == 'aarch64' else 'neon'}",
     r"This CPU has no (neon|avx2), which is chosen for dropout\. .*illegal instruction\. It has: .*"),
])
def test_a_choice_that_cannot_be_had_is_one_error_with_what_to_do(built, forced, message):
    code = ("import torch\nfrom megatron_fugaku.errors import EnvironmentError\n"
            "from megatron_fugaku.kernels.dropout import dropout\n"
            "try:\n    dropout(torch.ones(3), 0.5)\nexcept EnvironmentError as error:\n    print(error)\n")
    done = run(code, forced)
    assert re.fullmatch(message + r" \[MFUGAKU_KERNELS\]\n", done.stdout), done.stdout + done.stderr


def test_without_the_extension_torch_runs_and_says_so_once(fresh, monkeypatch, tmp_path):
    monkeypatch.setattr(extension, "_library", lambda: tmp_path / "_ops.so")
    x = torch.randn(50, 20)
    with pytest.warns(RuntimeWarning, match=r"was not built.*torch's own operators.*Build it") as seen:
        torch.manual_seed(1)
        fallback = dropout.dropout(x, 0.5)
        activated = bias_gelu.bias_gelu(x)
    assert len(seen) == 1
    assert describe_kernels() == []
    monkeypatch.undo()
    fresh()
    torch.manual_seed(1)
    assert torch.equal(dropout.dropout(x, 0.5), fallback)
    torch.testing.assert_close(activated, torch.nn.functional.gelu(x, approximate="tanh"))


def test_an_extension_for_another_python_is_named(fresh, monkeypatch, tmp_path):
    (tmp_path / "_ops.cpython-399-nowhere.so").write_bytes(b"nothing")
    monkeypatch.setattr(extension, "_library", lambda: tmp_path / "_ops.cpython-311.so")
    with pytest.raises(extension.EnvironmentError, match=r"_ops\.cpython-399-nowhere\.so"):
        dropout.dropout(torch.ones(3), 0.5)
