"""Train LLMs on CPU supercomputers with unmodified megatron-core, DeepSpeed and Megatron-DeepSpeed.

Importing this package changes nothing: patches are applied by ``megatron_fugaku.patches.apply`` and the
MPI backend is registered by ``import megatron_fugaku.comm``.
"""

__version__ = "0.1.0"
