"""What the kernels are to reach on an A64FX: instructions per element or flop, and the share of its peak."""

from __future__ import annotations

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
#: How many times fewer cycles products in float16 are to take than those of the same shape in float32, by either bound,
#: and the most that the root mean square of their errors may be, in multiples of that of the results.
LEAST_FLOAT16_SPEEDUP = 1.7
MOST_ERROR = {"gemm_fp16": 0.001}
#: The most that the busiest of 48 threads may have to do, in multiples of their mean.
MOST_IMBALANCE = 1.02


def most_instructions(op: str, variant: str, dtype: str) -> float | None:
    """Return the most instructions per unit asked for, None where nothing is.

    A variant of several words, such as ``forward causal``, is looked up by itself, then by its first word, then as "".
    """
    for name in dict.fromkeys((variant, variant.split(" ")[0], "")):
        for of_type in (dtype, ""):
            if (op, name, of_type) in MOST_INSTRUCTIONS:
                return MOST_INSTRUCTIONS[op, name, of_type]
    return None
