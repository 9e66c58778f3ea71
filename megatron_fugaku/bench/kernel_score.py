"""The A64FX score: what one layer of the 13B model would take on the 48 cores of a node, forward and backward.

The layer is that of one of 6 tensor-parallel ranks with one sequence in float32, as Megatron computes it without a
fused attention, unless we have one: examples/fugaku_13b has the model. Each step's cycles are those of a small case,
per element or flop, times what the whole step has; ours where we have the op, else stock torch's. Work is taken to be
shared evenly by all cores, but for torch's draw of random numbers, which runs in one thread; no step is faster than the
node's memory moves its bytes. Caches, barriers, communication and gradients of biases are not in it. Nothing is
measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from megatron_fugaku.bench.a64fx_cycles import CLOCK_HZ, FLOPS_PER_CYCLE, MEMORY_BYTES_PER_S, NUM_CORES, Cycles
from megatron_fugaku.bench.records import render_columns

SEQUENCE, HIDDEN, HEADS, HEAD, QKV, FFN = 2048, 5184, 6, 144, 2592, 3456
SQUARE, ROWS = HEADS * SEQUENCE * SEQUENCE, SEQUENCE * HIDDEN


def _stock(op: str, variant: str, shape: Sequence[int], unit: str = "element", num_units: int | None = None) -> dict:
    """A case that only stock torch runs, in the form of those that the benchmark's program prints."""
    name = f"{op} {variant} float32 {'x'.join(map(str, shape))}"
    return {"case": f"torch {name}", "op": op, "variant": variant, "dtype": "float32", "shape": list(shape),
            "unit": unit, "num_units": prod(shape) if num_units is None else num_units}


_LINEAR, _HEADS = (256, 432, 288), (HEADS, 256, HEAD)
STOCK_CASES = {case["op"] + " " + case["variant"]: case for case in (
    *(_stock("linear", form, _LINEAR, "flop", 2 * prod(_LINEAR)) for form in ("nt", "nn", "tn")),
    *(_stock("heads", form, _HEADS, "flop", 2 * HEADS * 256 * 256 * HEAD) for form in ("qk", "pv", "tn", "nt")),
    _stock("softmax", "forward causal", (12, 2048)), _stock("softmax", "backward causal", (12, 2048)),
    _stock("norm", "layer forward", (4, HIDDEN)), _stock("norm", "layer backward", (4, HIDDEN)),
    _stock("bernoulli", "", (4, HIDDEN)), _stock("dropout", "plain", (4, HIDDEN)),
    _stock("dropout", "bias_residual", (4, HIDDEN)), _stock("dropout", "backward", (4, HIDDEN)),
    _stock("bias_gelu", "forward", (8, FFN)), _stock("bias_gelu", "backward", (8, FFN)),
)}
SERIAL = "bernoulli "  # of the cases above


@dataclass(frozen=True)
class Step:
    """One step of a layer.

    Attributes:
        name: what it is called in a table.
        num_units: elements or flops.
        num_bytes: the least that has to move between memory and cores.
        ours: (op, variant) of our case, which may not be there yet.
        stock: key of ``STOCK_CASES``.
        draws: whether stock torch draws random numbers for it.
    """

    name: str
    num_units: int
    num_bytes: int
    ours: tuple[str, str]
    stock: str
    draws: bool = False

    @property
    def memory_ms(self) -> float:
        """Milliseconds in which the node's memory moves its bytes."""
        return 1e3 * self.num_bytes / MEMORY_BYTES_PER_S

    @property
    def roof_ms(self) -> float:
        """The least milliseconds: those of memory or, for a product, of all pipes at their peak."""
        # Of the flops of a matrix of scores, a causal mask leaves half.
        num_flops = {"gemm": self.num_units, "attention": self.num_units / 2}.get(self.ours[0], 0)
        return max(self.memory_ms, 1e3 * num_flops / (FLOPS_PER_CYCLE * NUM_CORES * CLOCK_HZ))


def _product(name: str, m: int, n: int, k: int, form: str, stock: str, batch: int = 1) -> Step:
    variant = form if batch == 1 else f"heads {form}"
    return Step(name, 2 * batch * m * n * k, 4 * batch * (m * n + m * k + n * k), ("gemm", variant), stock)


FORWARD = (
    Step("two layer norms", 2 * ROWS, 16 * ROWS, ("norm", "layer forward"), "norm layer forward"),
    _product("QKV", SEQUENCE, QKV, HIDDEN, "nt", "linear nt"),
    _product("QK^T", SEQUENCE, SEQUENCE, HEAD, "nt", "heads qk", HEADS),
    Step("scale, mask, softmax", SQUARE, 8 * SQUARE, ("softmax", "forward causal"), "softmax forward causal"),
    Step("attention dropout", SQUARE, 8 * SQUARE, ("dropout", "plain"), "dropout plain", draws=True),
    _product("PV", SEQUENCE, HEAD, SEQUENCE, "nn", "heads pv", HEADS),
    _product("attention's output", SEQUENCE, HIDDEN, QKV // 3, "nt", "linear nt"),
    Step("two bias, dropout, residual", 2 * ROWS, 24 * ROWS, ("dropout", "bias_residual"), "dropout bias_residual",
         draws=True),
    _product("MLP h to 4h", SEQUENCE, FFN, HIDDEN, "nt", "linear nt"),
    Step("bias, GELU", SEQUENCE * FFN, 8 * SEQUENCE * FFN, ("bias_gelu", "forward"), "bias_gelu forward"),
    _product("MLP 4h to h", SEQUENCE, HIDDEN, FFN, "nt", "linear nt"),
)
BACKWARD = (
    Step("two dropouts", 2 * ROWS, 16 * ROWS, ("dropout", "plain"), "dropout backward"),
    _product("MLP 4h to h, data", SEQUENCE, FFN, HIDDEN, "nn", "linear nn"),
    _product("MLP 4h to h, weights", HIDDEN, FFN, SEQUENCE, "tn", "linear tn"),
    Step("GELU", SEQUENCE * FFN, 12 * SEQUENCE * FFN, ("bias_gelu", "backward"), "bias_gelu backward"),
    _product("MLP h to 4h, data", SEQUENCE, HIDDEN, FFN, "nn", "linear nn"),
    _product("MLP h to 4h, weights", FFN, HIDDEN, SEQUENCE, "tn", "linear tn"),
    _product("attention's output, data", SEQUENCE, QKV // 3, HIDDEN, "nn", "linear nn"),
    _product("attention's output, weights", HIDDEN, QKV // 3, SEQUENCE, "tn", "linear tn"),
    _product("dP", SEQUENCE, SEQUENCE, HEAD, "nt", "heads nt", HEADS),
    _product("dV", SEQUENCE, HEAD, SEQUENCE, "tn", "heads tn", HEADS),
    Step("attention dropout", SQUARE, 8 * SQUARE, ("dropout", "plain"), "dropout backward"),
    Step("softmax, mask, scale", SQUARE, 12 * SQUARE, ("softmax", "backward causal"), "softmax backward causal"),
    _product("dQ", SEQUENCE, HEAD, SEQUENCE, "nn", "heads pv", HEADS),
    _product("dK", SEQUENCE, HEAD, SEQUENCE, "tn", "heads tn", HEADS),
    _product("QKV, data", SEQUENCE, HIDDEN, QKV, "nn", "linear nn"),
    _product("QKV, weights", QKV, HIDDEN, SEQUENCE, "tn", "linear tn"),
    Step("two layer norms", 2 * ROWS, 24 * ROWS, ("norm", "layer backward"), "norm layer backward"),
)
NOTHING = Cycles(0, 0)
#: What one op of ours does instead of several steps; flops are those of the whole matrix of scores, masked or not.
_ATTENTION_BYTES = 4 * SEQUENCE * HEADS * HEAD
FUSED = (
    (Step("attention", 4 * SQUARE * HEAD, 4 * _ATTENTION_BYTES, ("attention", "forward"), ""), FORWARD,
     ("QK^T", "scale, mask, softmax", "attention dropout", "PV")),
    (Step("attention", 10 * SQUARE * HEAD, 8 * _ATTENTION_BYTES, ("attention", "backward"), ""), BACKWARD,
     ("dP", "dV", "attention dropout", "softmax, mask, scale", "dQ", "dK")),
)
PASSES = {"forward": FORWARD, "backward": BACKWARD}


@dataclass(frozen=True)
class StepTime:
    """Bounds of the milliseconds of a step: with our ops, as far as there are any, and with stock torch's alone."""

    step: Step
    is_ours: bool
    ms: tuple[float, float]
    stock_ms: tuple[float, float]


def time_steps(steps: Sequence[Step], ours: Mapping[tuple[str, str], Cycles],
               stock: Mapping[str, Cycles]) -> list[StepTime]:
    """Return the times of steps.

    Args:
        steps: of one pass.
        ours: cycles per unit of our cases in float32, by (op, variant).
        stock: cycles per unit of stock torch, by the keys of ``STOCK_CASES``.
    """
    times = []
    for step in steps:
        by_stock = _milliseconds(step, stock[step.stock], stock[SERIAL] if step.draws else NOTHING)
        mine = ours.get(step.ours)
        by_ours = by_stock if mine is None else _milliseconds(step, mine, NOTHING)
        times.append(StepTime(step, mine is not None, by_ours, by_stock))
    for whole, of_pass, names in FUSED:
        if steps is of_pass and whole.ours in ours:
            times = _fuse(times, whole, names, ours[whole.ours])
    return times


def _fuse(times: Sequence[StepTime], whole: Step, names: Sequence[str], cycles: Cycles) -> list[StepTime]:
    """Put our op in the place of the steps that it does at once; stock torch takes what it takes for all of them."""
    parts = [time for time in times if time.step.name in names]
    stock = tuple(sum(time.stock_ms[bound] for time in parts) for bound in (0, 1))
    fused = StepTime(whole, True, _milliseconds(whole, cycles, NOTHING), stock)
    return [fused if time is parts[0] else time for time in times if time is parts[0] or time not in parts]


def _milliseconds(step: Step, cycles: Cycles, serial: Cycles) -> tuple[float, float]:
    bounds = []
    for whole, alone in ((cycles.low, serial.low), (cycles.high, serial.high)):
        shared = max(whole - alone, 0) / NUM_CORES
        bounds.append(max(1e3 * step.num_units * (shared + alone) / CLOCK_HZ, step.memory_ms))
    return bounds[0], bounds[1]


def add_up(times: Sequence[StepTime]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the bounds of a pass in milliseconds, with our ops and with stock torch's alone."""
    return tuple(tuple(sum(getattr(time, name)[bound] for time in times) for bound in (0, 1))
                 for name in ("ms", "stock_ms"))


def render_score(passes: Mapping[str, Sequence[StepTime]], torch: str) -> str:
    """Return the score as text: a line per step, and the sums."""
    rows = []
    for name, times in passes.items():
        rows += [[f"{name}: {time.step.name}", "ours" if time.is_ours else "torch", _range(time.ms),
                  _range(time.stock_ms)] for time in times]
        with_ours, stock = add_up(times)
        rows.append([f"{name.upper()}", "", _range(with_ours), _range(stock)])
    return (f"A64FX score: one layer of the 13B model on {NUM_CORES} cores, modelled, not measured\n"
            + render_columns(("ms", "op of", "low - high", f"torch {torch} alone"), rows))


def _range(bounds: tuple[float, float]) -> str:
    return " - ".join(f"{bound:.2f}" for bound in bounds)
