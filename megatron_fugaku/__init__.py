"""Train LLMs on CPU supercomputers with unmodified megatron-core, DeepSpeed and Megatron-DeepSpeed.

Importing this package changes nothing: :func:`patch` prepares a process for programs that were written for GPUs,
patches are applied by ``megatron_fugaku.patches.apply``, and the MPI backend is registered by
``import megatron_fugaku.comm``.
"""

__version__ = "0.1.0"


def patch() -> None:
    """Let what this process imports from now on, Megatron-LM, DeepSpeed or a script of one's own, run on CPUs over MPI:
    what ``mfugaku run`` does before it runs a program. See :func:`megatron_fugaku.port.patch`."""
    from megatron_fugaku.port import patch as apply

    apply()
