"""``python -m megatron_fugaku <verb>``, the same as the ``mfugaku`` command."""

import sys

from megatron_fugaku.cli import main

if __name__ == "__main__":
    sys.exit(main())
