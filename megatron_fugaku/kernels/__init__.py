"""Operators of our own where torch's are slow on CPUs: one module per operator, such as :mod:`.dropout`.

Each is a function on tensors with gradients. It runs a compiled kernel, chosen at run time by what the CPU has, for
float32, bfloat16 and float16 on the CPU, and plain torch, which stands beside it as the reference, for anything else
and where the extension was not built. ``MFUGAKU_KERNELS=dropout=portable`` forces an instruction set;
:func:`.extension.describe_kernels` tells the choices.
"""
