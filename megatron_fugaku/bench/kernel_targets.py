"""What the kernels are to reach on an A64FX: instructions per element or flop, and the share of its peak."""

from __future__ import annotations

from collections.abc import Collection, Mapping

#: The most instructions per unit, by (op, variant) of a case and dtype; "" where a target is for every dtype. Flops of
#: attention are all those of the S x S matrix, whether a causal mask skips them or not.
MOST_INSTRUCTIONS = {
    ("softmax", "forward", "float32"): 1.5,
    ("bias_gelu", "forward", "float32"): 1.7,
    ("bias_gelu", "backward", "float32"): 2.4,
    ("norm", "layer forward", "float32"): 0.85,
    ("norm", "layer backward", "float32"): 2.0,
    ("norm", "rms forward", "float32"): 0.8,
    ("cross_entropy", "", "float32"): 2.5,
    ("adamw", "", "float32"): 2.5,
    ("dropout", "plain", "float32"): 2.0,
    ("dropout", "bias_residual", "float32"): 2.4,
    ("reduce", "widen", ""): 0.75,
    ("reduce", "narrow", ""): 0.75,
    ("gemm", "", "float32"): 0.053,
    ("gemm", "", "bfloat16"): 0.060,
    ("gemm", "", "float16"): 0.060,
    ("gemm_fp16", "", "float16"): 0.030,
    ("attention", "forward", ""): 0.035,
    ("attention", "backward", ""): 0.040,
}
#: The least share of the peak of float32, by what LLVM's model says at worst.
LEAST_SHARE_OF_PEAK = {("gemm", "float32"): 0.95}
#: The same of the innermost loop alone.
LEAST_SHARE_OF_LOOP = {("gemm", "float32"): 0.99}
#: What of these is asked at the lengths of the 13B model, which deep cases have, as (op, variant, dtype): small cases
#: show changes soon, but overstate what a kernel does beside its work.
ASKED_OF_DEEP_CASES = {("gemm", "", "float32"), ("attention", "", ""), ("softmax", "forward causal", "")}
#: How many times fewer cycles products in float16 are to take than those of the same shape in float32, by either bound,
#: and the most that the root mean square of their errors may be, in multiples of that of the results.
LEAST_FLOAT16_SPEEDUP = 1.7
MOST_ERROR = {"gemm_fp16": 0.001}
#: The most that the busiest of 48 threads may have to do, in multiples of their mean.
MOST_IMBALANCE = 1.02
#: The most that all of them may do more than one thread, as a share of what that one does.
MOST_REDUNDANCY = 0.03


def _find_key(case: Mapping, keys: Collection[tuple[str, str, str]]) -> tuple[str, str, str] | None:
    """A variant of several words, such as ``forward causal``, is looked up by itself, then by its first word, then as
    "", which any of them is; so is a dtype."""
    variant = case["variant"]
    names = dict.fromkeys((variant, variant.split(" ")[0], ""))
    wanted = ((case["op"], name, dtype) for name in names for dtype in (case["dtype"], ""))
    return next((key for key in wanted if key in keys), None)


def _is_judged(case: Mapping) -> bool:
    return case["deep"] or _find_key(case, ASKED_OF_DEEP_CASES) is None


def most_instructions(case: Mapping) -> float | None:
    """Return the most instructions per unit asked for, None where nothing is.

    Args:
        case: with op, variant, dtype, and whether it is deep.
    """
    return MOST_INSTRUCTIONS.get(_find_key(case, MOST_INSTRUCTIONS)) if _is_judged(case) else None


def least_share_of_peak(case: Mapping) -> float | None:
    """Return the least share of the peak of multiply-adds asked for, likewise."""
    return LEAST_SHARE_OF_PEAK.get((case["op"], case["dtype"])) if _is_judged(case) else None


def least_share_of_loop(case: Mapping) -> float | None:
    """Return the least share of that peak asked for of the case's innermost loop alone, likewise."""
    return LEAST_SHARE_OF_LOOP.get((case["op"], case["dtype"])) if _is_judged(case) else None
