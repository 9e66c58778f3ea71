"""The port layer: small declared changes that let unmodified upstream packages run on CPUs."""

from megatron_fugaku.patches.apply import LedgerEntry, PatchDriftWarning, PatchStatus, apply, check, ledger, run_checks
from megatron_fugaku.patches.on_import import prepare_imports
from megatron_fugaku.patches.patch import Patch
from megatron_fugaku.patches.table import PATCHES

__all__ = ["PATCHES", "LedgerEntry", "Patch", "PatchDriftWarning", "PatchStatus", "apply", "check", "ledger",
           "prepare_imports", "run_checks"]
