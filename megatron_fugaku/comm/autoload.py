"""What ``import torch`` calls, through the entry point group ``torch.backends``, where this package is installed.

It makes ``init_process_group("mpi")`` work in a script that knows nothing of this package. Nothing is loaded that torch
has not loaded already, and MPI does not start. ``TORCH_DEVICE_BACKEND_AUTOLOAD=0`` is torch's own switch for it.
"""

from __future__ import annotations

import warnings


def register_with_torch() -> None:
    """Register the backend; where that is not possible, say so once and leave torch as it is."""
    try:
        from megatron_fugaku.comm.registration import register

        register()
    except Exception as error:  # an error here would take torch away from every program on the machine
        warnings.warn(f"megatron_fugaku's MPI backend is not registered: {type(error).__name__}: {error}. "
                      'init_process_group("mpi") will not find it. Install the package again, or set '
                      "TORCH_DEVICE_BACKEND_AUTOLOAD=0 to do without.", stacklevel=2)
