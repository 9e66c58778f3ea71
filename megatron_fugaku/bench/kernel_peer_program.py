"""Stock torch's side of `mfugaku bench kernels`: started by kernel_peers.py in an emulated aarch64 Python.

    python3 kernel_peer_program.py LIBMARKS CASES.json

Runs what stock torch has for each case between two marks and prints a line of JSON per region. A case whose
instructions are counted per element is run on its first row alone too, in a region before: what a call costs however
little it has to do, Python's part of it above all, is in both.

Knows nothing of this package but the words of its cases.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional

TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
Call = Callable[[], object]


def make(shape, dtype: torch.dtype) -> torch.Tensor:
    """Return numbers between -2 and 2."""
    count = torch.Size(shape).numel()
    return ((torch.arange(count) * 37 % 101 - 50) / 25.0).to(dtype).reshape(shape)


def bias_gelu(shape, dtype, variant) -> Call:
    """GELU behind a bias, exact or by tanh: torch adds the bias first. Its backward has the sum already."""
    x, bias, gradient = make(shape, dtype), make(shape[-1:], dtype), make(shape, dtype)
    form = "none" if variant.startswith("exact") else "tanh"
    if variant.endswith("forward"):
        return lambda: functional.gelu(x + bias, approximate=form)
    return lambda: torch.ops.aten.gelu_backward(gradient, x, approximate=form)


def dropout(shape, dtype, variant) -> Call:
    """Dropout in training, between a bias and a residual or alone, and the gradient of the latter."""
    x, bias, residual = make(shape, dtype), make(shape[-1:], dtype), make(shape, dtype)
    if variant == "backward":
        mask = torch.ones(shape, dtype=torch.bool)
        return lambda: torch.ops.aten.native_dropout_backward(x, mask, 1 / 0.9)
    if variant == "plain":
        return lambda: functional.dropout(x, 0.1)
    return lambda: residual + functional.dropout(x + bias, 0.1)


def reduce(shape, dtype, variant) -> Call:
    """Sums and conversions."""
    x, y, wide = make(shape, dtype), make(shape, dtype), make(shape, torch.float32)
    return {"sum": lambda: torch.add(x, y), "widen": lambda: x.to(torch.float32),
            "narrow": lambda: wide.to(dtype), "squares": lambda: torch.linalg.vector_norm(x)}[variant]


def adamw(shape, dtype, variant) -> Call:
    """One step of torch's fused AdamW; with halves, it knows no float32 copy of them, and they take its place."""
    tensors = [make(shape, torch.float32) for _ in range(3)]
    weight, first, second = tensors
    gradient, low, step = make(shape, dtype), make(shape, dtype), torch.tensor(9.0)

    def run() -> None:
        torch._fused_adamw_([weight], [gradient.float()], [first], [second.abs_()], [], [step], lr=1e-4, beta1=0.9,
                            beta2=0.95, weight_decay=0.1, eps=1e-8, amsgrad=False, maximize=False)
        if variant == "low":
            low.copy_(weight)

    return run


def rope(shape, dtype, variant) -> Call:
    """Rotary positions as megatron-core computes them, cosines and sines included, of [positions, heads, head size]."""
    x = make((shape[0], 3 * shape[1], shape[2]), dtype)[:, ::3].unsqueeze(1)
    angles = make((shape[0], 1, 1, shape[2]), torch.float32)

    def half_turned() -> torch.Tensor:
        if variant == "interleaved":
            return torch.stack((-x[..., 1::2], x[..., ::2]), -1).view(x.shape)
        a, b = x.chunk(2, -1)
        return torch.cat((-b, a), -1)

    return lambda: x * angles.cos().to(dtype) + half_turned() * angles.sin().to(dtype)


def copy(shape, dtype, variant) -> Call:
    """A copy into memory that is there."""
    x, out = make(shape, dtype), make(shape, dtype)
    return lambda: out.copy_(x)


def softmax(shape, dtype, variant) -> Call:
    """Over the last dimension; causal ones scaled and masked as Megatron does where it has no fused kernel."""
    x, gradient = make(shape, dtype), make(shape, dtype)
    y = torch.softmax(x, -1)
    if not variant.endswith("causal"):
        return {"forward": lambda: torch.softmax(x, -1),
                "backward": lambda: torch.ops.aten._softmax_backward_data(gradient, y, -1, dtype)}[variant]
    mask = torch.ones(shape).triu(1).bool()
    if variant.startswith("forward"):
        return lambda: torch.softmax((x * 0.083).masked_fill_(mask, -10000.0), -1)
    return lambda: torch.ops.aten._softmax_backward_data(gradient, y, -1, dtype).masked_fill_(mask, 0).mul_(0.083)


def norm(shape, dtype, variant) -> Call:
    """Over the last dimension, with weight, and for layers with bias. With a residual torch has an addition beside."""
    if " residual " in variant:
        x, other, run = make(shape, dtype), make(shape, dtype), norm(shape, dtype, variant.replace(" residual", ""))
        return lambda: (x + other, run())
    x, weight, bias, gradient = make(shape, dtype), make(shape[-1:], dtype), make(shape[-1:], dtype), make(shape, dtype)
    if variant == "layer backward":
        _, mean, scale = torch.native_layer_norm(x, shape[-1:], weight, bias, 1e-5)
        return lambda: torch.ops.aten.native_layer_norm_backward(gradient, x, shape[-1:], mean, scale, weight, bias,
                                                                 [True] * 3)
    if variant == "rms backward":
        return with_gradient(lambda x: functional.rms_norm(x, shape[-1:], weight), gradient, x, weight)
    return {"layer forward": lambda: functional.layer_norm(x, shape[-1:], weight, bias),
            "rms forward": lambda: functional.rms_norm(x, shape[-1:], weight)}[variant]


def with_gradient(run: Callable, gradient: torch.Tensor, x: torch.Tensor, *others: torch.Tensor) -> Call:
    """The backward pass of a function of x alone, again and again."""
    with torch.enable_grad():
        inputs = [tensor.requires_grad_() for tensor in (x, *others)]
        result = run(x)
    return lambda: torch.autograd.grad(result, inputs, gradient, retain_graph=True)


def swiglu(shape, dtype, variant) -> Call:
    """SiLU of one half times the other."""
    x, gradient = make([*shape[:-1], 2 * shape[-1]], dtype), make(shape, dtype)

    def run(x: torch.Tensor) -> torch.Tensor:
        gate, other = x.chunk(2, -1)
        return functional.silu(gate) * other

    return (lambda: run(x)) if variant == "forward" else with_gradient(run, gradient, x)


def cross_entropy(shape, dtype, variant) -> Call:
    """The losses of all rows and the gradient of the logits."""
    logits, targets = make(shape, dtype), torch.arange(shape[0])

    def both() -> object:
        with torch.enable_grad():
            x = logits.detach().requires_grad_()
            loss = functional.cross_entropy(x, targets, reduction="none")
        return torch.autograd.grad(loss, x, torch.ones_like(loss))

    return both


def gemm(shape, dtype, variant) -> Call:
    """Products of [batch, m, n, k], and those of attention's heads in Megatron's layout."""
    batch, m, n, k = shape
    form = variant.removeprefix("heads ")
    a = make((batch, k, m), dtype).transpose(1, 2) if form == "tn" else make((batch, m, k), dtype)
    b = make((batch, n, k), dtype).transpose(1, 2) if form == "nt" else make((batch, k, n), dtype)
    if variant == "heads nt":
        a, b = make((m, batch, k), dtype).transpose(0, 1), make((n, batch, k), dtype).permute(1, 2, 0)
    elif variant.startswith("heads"):
        b = make((k, batch, n), dtype).transpose(0, 1)
    return (lambda: a[0] @ b[0]) if batch == 1 else (lambda: torch.bmm(a, b))


def attention(shape, dtype, variant) -> Call:
    """Causal attention of [heads, sequence, head size] without dropout, which torch's kernel for CPUs does not have."""
    x = [make(shape, dtype).unsqueeze(0) for _ in range(3)]
    if variant == "forward":
        return lambda: functional.scaled_dot_product_attention(*x, is_causal=True)
    rest = tuple(x[1:])
    return with_gradient(lambda q: functional.scaled_dot_product_attention(q, *rest, is_causal=True), x[0], x[0], *rest)


def bernoulli(shape, dtype, variant) -> Call:
    """The draw of a mask, the part of dropout that torch computes in one thread."""
    mask = make(shape, dtype)
    return lambda: mask.bernoulli_(0.9)


def linear(shape, dtype, variant) -> Call:
    """Products of [m, n, k]: a layer's output, the gradients of its input and of its weight."""
    m, n, k = shape
    x, weight, gradient = make((m, k), dtype), make((n, k), dtype), make((m, n), dtype)
    return {"nt": lambda: x @ weight.t(), "nn": lambda: gradient @ weight, "tn": lambda: gradient.t() @ x}[variant]


def heads(shape, dtype, variant) -> Call:
    """Products of [heads, sequence, head size] in attention, on Megatron's [sequence, batch, heads, head size]."""
    count, length, size = shape
    q, k = (make((length, count, size), dtype).transpose(0, 1) for _ in range(2))
    p, out = make((count, length, length), dtype), make((count, length, length), dtype)
    return {"qk": lambda: torch.baddbmm(out, q, k.transpose(1, 2), beta=0.0, alpha=0.083),
            "nt": lambda: torch.bmm(q, k.transpose(1, 2)), "pv": lambda: torch.bmm(p, q),
            "tn": lambda: torch.bmm(p.transpose(1, 2), q)}[variant]


#: What stock torch has for an op of ours, and the other ops of a layer. An element's shape begins with its rows.
STOCK = {function.__name__: function for function in (
    adamw, attention, bernoulli, bias_gelu, copy, cross_entropy, dropout, gemm, heads, linear, norm, reduce, rope,
    softmax, swiglu)} | {"gemm_fp16": gemm}


def first_row(shape: list[int]) -> list[int]:
    """A vector is cut to a 64th: it has no rows."""
    return [1, *shape[1:]] if len(shape) > 1 else [max(shape[0] // 64, 1)]


def main() -> None:
    """Run all cases, each once before it counts, for what torch sets up on first use."""
    marks = ctypes.CDLL(sys.argv[1])
    cases = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    torch.set_grad_enabled(False)
    for case in cases:
        if case["op"] not in STOCK:
            continue
        shapes = [first_row(case["shape"]), case["shape"]] if case["unit"] == "element" else [case["shape"]]
        for shape in shapes:
            call = STOCK[case["op"]](shape, TYPES[case["dtype"]], case["variant"])
            call()
            marks.mfugaku_begin_region()
            call()
            marks.mfugaku_end_region()
            share = torch.Size(shape).numel() / torch.Size(case["shape"]).numel()
            print(json.dumps({"case": case["case"], "num_units": case["num_units"] * share,
                              "torch": torch.__version__}), flush=True)


if __name__ == "__main__":
    main()
