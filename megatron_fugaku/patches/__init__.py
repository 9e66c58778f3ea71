"""The port layer: small declared changes that let unmodified upstream packages run on CPUs."""

from megatron_fugaku.patches.apply import LedgerEntry, PatchDriftWarning, PatchStatus, apply, check, ledger, run_checks
from megatron_fugaku.patches.on_import import patch_on_import, prepare_imports
from megatron_fugaku.patches.patch import Patch
from megatron_fugaku.patches.table import PATCHES, TRAINING_PATCHES

__all__ = ["PATCHES", "TRAINING_PATCHES", "LedgerEntry", "Patch", "PatchDriftWarning", "PatchStatus", "apply", "check",
           "ledger", "patch_on_import", "prepare_imports", "run_checks"]
