"""``mfugaku bench kernels --target here``: our operators against torch's own, on this machine's CPU.

Both run on one thread, one after the other in every round; the least CPU time of a call counts. Shapes are those of one
rank of the 13B run, cut to a fraction of their rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from megatron_fugaku.bench.deepspeed_adam import load_cpu_adam
from megatron_fugaku.bench.records import Record, render_columns
from megatron_fugaku.kernels import cross_entropy
from megatron_fugaku.kernels.adamw import adamw
from megatron_fugaku.kernels.attention import attention
from megatron_fugaku.kernels.bias_gelu import bias_gelu
from megatron_fugaku.kernels.cast import cast
from megatron_fugaku.kernels.dropout import bias_dropout_add, dropout
from megatron_fugaku.kernels.embedding import embedding
from megatron_fugaku.kernels.grad_norm import sum_of_squares
from megatron_fugaku.kernels.implementations import set_implementations
from megatron_fugaku.kernels.matmul import multiply
from megatron_fugaku.kernels.norm import layer_norm, rms_norm
from megatron_fugaku.kernels.rope import reference as rope_by_torch
from megatron_fugaku.kernels.rope import rope
from megatron_fugaku.kernels.softmax import softmax
from megatron_fugaku.kernels.swiglu import reference as swiglu_by_torch
from megatron_fugaku.kernels.swiglu import swiglu

_HEADS, _WIDTH, _HIDDEN, _ROWS = 6, 144, 5184, 512


@dataclass(frozen=True)
class Case:
    """One comparison: what we do and what torch, or another peer, does for the same, and the least ratio asked for."""

    name: str
    ours: Callable[[], object]
    torchs: Callable[[], object]
    target: float
    peer: str = "torch"


def _products(dtype: torch.dtype) -> Iterator[Case]:
    name = str(dtype).removeprefix("torch.")
    query, key = (torch.randn(_ROWS, _HEADS, _WIDTH).to(dtype).transpose(0, 1) for _ in range(2))
    probabilities = torch.randn(_HEADS, _ROWS, _ROWS).to(dtype)
    x, weight = torch.randn(_ROWS, _HIDDEN // 6).to(dtype), torch.randn(_HIDDEN // 2, _HIDDEN // 6).to(dtype)
    half = dtype is not torch.float32
    for what, a, b, target in (("QK^T", query, key.transpose(1, 2), 2.0), ("PV", probabilities, key, 1.15),
                               ("P^T dO", probabilities.transpose(1, 2), key, 1.0), ("linear", x, weight.t(), 1.0)):
        yield Case(f"{what} {name}", lambda a=a, b=b: multiply(a, b), lambda a=a, b=b: torch.matmul(a, b),
                   10.0 if half and what != "linear" else target)


def _attention(dtype: torch.dtype, p: float) -> Iterator[Case]:
    name = f"{str(dtype).removeprefix('torch.')}{', dropout 0.1' if p else ''}"
    inputs = [torch.randn(1024, 1, 2, _WIDTH).to(dtype).requires_grad_() for _ in range(3)]
    gradient = torch.randn(1024, 1, 2, _WIDTH).to(dtype)

    def ours(*x):
        return attention(*x, 1 / 12, p=p, seed=1)

    def torchs(*x):
        heads_first = [each.permute(1, 2, 0, 3) for each in x]
        return functional.scaled_dot_product_attention(*heads_first, is_causal=True, dropout_p=p).permute(2, 0, 1, 3)

    detached = [x.detach() for x in inputs]
    yield Case(f"attention {name}", lambda: ours(*detached), lambda: torchs(*detached), 1.0)
    yield Case(f"attention forward and backward {name}", lambda: torch.autograd.grad(ours(*inputs), inputs, gradient),
               lambda: torch.autograd.grad(torchs(*inputs), inputs, gradient), 1.0)


def _elementwise() -> Iterator[Case]:
    x, bias, residual = torch.randn(_ROWS, _HIDDEN), torch.randn(_HIDDEN), torch.randn(_ROWS, _HIDDEN)
    yield from _with_gradients("bias + GELU", bias_gelu, lambda x, bias: functional.gelu(x + bias, approximate="tanh"),
                               [x, bias], 6.0)
    yield from _with_gradients("bias + exact GELU", lambda x, bias: bias_gelu(x, bias, exact=True),
                               lambda x, bias: functional.gelu(x + bias), [x, bias], 3.0)
    yield Case("dropout float32", lambda: dropout(x, 0.1), lambda: functional.dropout(x, 0.1), 10.0)
    yield Case("bias + dropout + residual float32", lambda: bias_dropout_add(x, bias, residual, 0.1),
               lambda: residual + functional.dropout(x + bias, 0.1), 10.0)


def _with_gradients(name: str, ours: Callable, torchs: Callable, inputs: Sequence[torch.Tensor],
                    target: float = 1.0) -> Iterator[Case]:
    """Forward alone, and with the gradients of all inputs."""
    yield Case(f"{name} float32", lambda: ours(*inputs), lambda: torchs(*inputs), target)
    tracked = [x.clone().requires_grad_() for x in inputs]
    upstream = torch.randn_like(ours(*inputs))
    yield Case(f"{name} forward and backward float32",
               lambda: torch.autograd.grad(ours(*tracked), tracked, upstream),
               lambda: torch.autograd.grad(torchs(*tracked), tracked, upstream), 1.0)


def _rows() -> Iterator[Case]:
    scores = torch.randn(_HEADS, _ROWS, _ROWS)
    mask = torch.ones(_ROWS, _ROWS, dtype=torch.bool).triu(1)
    yield from _with_gradients("softmax", softmax, lambda x: torch.softmax(x, -1), [scores])
    yield from _with_gradients(  # as Megatron has it where none of its kernels for GPUs is there
        "scale + causal softmax", lambda x: softmax(x, 0.083, causal=True),
        lambda x: torch.softmax((x * 0.083).masked_fill(mask, -10000.0), -1), [scores], 10.0)
    x, weight, bias = torch.randn(_ROWS, _HIDDEN), torch.randn(_HIDDEN), torch.randn(_HIDDEN)
    yield from _with_gradients("LayerNorm", layer_norm,
                               lambda *inputs: functional.layer_norm(inputs[0], (_HIDDEN,), *inputs[1:]),
                               [x, weight, bias])
    yield from _with_gradients("RMSNorm", rms_norm,
                               lambda *inputs: functional.rms_norm(inputs[0], (_HIDDEN,), inputs[1], 1e-5), [x, weight])
    yield from _with_gradients("SwiGLU", swiglu, swiglu_by_torch, [torch.randn(_ROWS, 2 * 3456)])
    logits, targets, ones = torch.randn(_ROWS, 10112), torch.randint(0, 10112, (_ROWS,)), torch.ones(_ROWS)
    tracked = logits.clone().requires_grad_()

    def loss_and_gradient() -> tuple[torch.Tensor, torch.Tensor]:
        work = logits.clone()  # torch keeps the logits, ours writes over them
        largest, powers, at_target = cross_entropy.operator()(work, targets, 0)
        cross_entropy.backward_operator()(work, targets, 0, ones, largest, ones / powers)
        return powers.log() + largest - at_target, work

    def torchs_loss_and_gradient() -> tuple[torch.Tensor, torch.Tensor]:
        loss = functional.cross_entropy(tracked, targets, reduction="none")
        return loss.detach(), *torch.autograd.grad(loss, tracked, ones)

    yield Case("cross-entropy forward and backward float32", loss_and_gradient, torchs_loss_and_gradient, 1.0)


def _embedding_and_rope() -> Iterator[Case]:
    x, angles = torch.randn(_ROWS, 1, 3 * _HEADS, 128)[:, :, ::3], torch.rand(_ROWS, 64)
    tables = angles.cos(), angles.sin()
    yield Case("RoPE float32", lambda: rope(x, *tables), lambda: rope_by_torch(x, *tables, False), 2.0)
    weight, tokens = torch.randn(10112, _HIDDEN // 4).requires_grad_(), torch.randint(0, 10112, (_ROWS,))
    upstream = torch.randn(_ROWS, _HIDDEN // 4)
    yield Case("embedding and its gradient float32",
               lambda: torch.autograd.grad(embedding(weight, tokens), weight, upstream),
               lambda: torch.autograd.grad(functional.embedding(tokens, weight), weight, upstream), 1.0)


def _optimizer(has_deepspeed: bool) -> Iterator[Case]:
    count, settings = _ROWS * _HIDDEN, {"lr": 1e-4, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}

    def make_state() -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        state = [torch.randn(count, generator=generator) for _ in range(4)]
        return [*state[:3], state[3].square()]

    def step_ours(state: list[torch.Tensor]) -> torch.Tensor:
        adamw(*state, step=10, **settings)
        return state[0]

    def step_torchs(state: list[torch.Tensor]) -> torch.Tensor:
        parameter, gradient, first, second = state
        torch._fused_adamw_([parameter], [gradient], [first], [second], [], [torch.tensor(9.0)], lr=1e-4, beta1=0.9,
                            beta2=0.95, weight_decay=0.1, eps=1e-8, amsgrad=False, maximize=False)
        return parameter

    ours, torchs = make_state(), make_state()
    yield Case("AdamW float32", lambda: step_ours(ours), lambda: step_torchs(torchs), 1.0)
    step_theirs = load_cpu_adam(**settings) if has_deepspeed else None
    if step_theirs is not None:
        theirs = make_state()
        yield Case("AdamW float32, DeepSpeed's", lambda: step_ours(ours), lambda: step_theirs(10, *theirs), 1.0,
                   "DeepSpeedCPUAdam")
    gradient = torch.randn(count)
    yield Case("norm of a gradient float32", lambda: sum_of_squares(gradient).sqrt(),
               lambda: torch.linalg.vector_norm(gradient), 1.0)
    for dtype in (torch.bfloat16, torch.float16):
        name, low = str(dtype).removeprefix("torch."), gradient.to(dtype)
        yield Case(f"float32 to {name}", lambda dtype=dtype: cast(gradient, dtype),
                   lambda dtype=dtype: gradient.to(dtype), 1.0)
        yield Case(f"{name} to float32", lambda low=low: cast(low, torch.float32), lambda low=low: low.float(), 1.0)


def list_cases(has_deepspeed: bool = False) -> Iterator[Case]:
    """Yield all cases.

    Args:
        has_deepspeed: with DeepSpeed's CPU optimizer among the peers, where it is installed: on its first use it is
            compiled, which takes a minute.
    """
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        yield from _products(dtype)
    for dtype in (torch.float32, torch.bfloat16):
        for p in (0.0, 0.1):
            yield from _attention(dtype, p)
    yield from _elementwise()
    yield from _rows()
    yield from _embedding_and_rope()
    yield from _optimizer(has_deepspeed)


def _cpu_time(call: Callable[[], object]) -> float:
    begin = time.process_time()
    call()
    return time.process_time() - begin


def measure(words: Iterable[str] = (), num_rounds: int = 5) -> list[Record]:
    """Return a record for each case whose name contains one of the words, or for all; the kernels run everywhere, also
    where ``auto`` would leave the work to torch."""
    words, records, before = tuple(words), [], torch.get_num_threads()
    torch.set_num_threads(1)
    set_implementations("kernel")
    try:
        for case in list_cases(has_deepspeed=not words or any(word in "AdamW float32, DeepSpeed's" for word in words)):
            if words and not any(word in case.name for word in words):
                continue
            case.ours()
            times = [(_cpu_time(case.ours), _cpu_time(case.torchs)) for _ in range(num_rounds)]
            ours, torchs = (min(column) for column in zip(*times, strict=True))
            records.append(Record("kernels", case.name, "cpu_time_per_call", ours, "s", case.peer, torchs, case.target))
    finally:
        set_implementations("auto")
        torch.set_num_threads(before)
    return records


def render_table(records: Iterable[Record]) -> str:
    """Return a line for each record."""
    return render_columns(("case", "ours, ms", "peer, ms", "ratio", "target", ""),
                          [(r.case, f"{1e3 * r.value:.2f}", f"{1e3 * r.peer_value:.2f}", f"{r.ratio:.2f}",
                            f"{r.target:g}", "" if r.ok else "below") for r in records])
