"""Applies every patch in a process of its own and prints what was seen, as JSON; the tests judge it."""

import importlib
import json
import sys
import warnings

import torch
import torch.cuda.random
import torch.optim

from megatron_fugaku import patches
from megatron_fugaku.patches.patch import resolve

WATCHED = {"torch": torch, "torch.Tensor": torch.Tensor, "torch.cuda": torch.cuda,
           "torch.cuda.random": torch.cuda.random, "torch.random": torch.random, "torch.optim": torch.optim,
           "torch.distributed": torch.distributed, "torch.nn.functional": torch.nn.functional, "importlib": importlib,
           "torch.optim.AdamW": torch.optim.AdamW}


def snapshot() -> dict[str, int]:
    return {f"{owner}:{name}": id(value) for owner, thing in WATCHED.items() for name, value in vars(thing).items()}


def draw(count: int = 3) -> list[float]:
    return torch.rand(count).tolist()


def use_random_states() -> dict:
    """Walk through the tracker's life; every value is what the CPU generator gave at that point."""
    from megatron.core.tensor_parallel.random import CudaRNGStatesTracker

    tracker, seen = CudaRNGStatesTracker(), {}
    torch.manual_seed(1)
    tracker.add("model-parallel-rng", 11)
    tracker.add("other", 12)
    seen["default first"] = draw()
    with tracker.fork():
        seen["model first"] = draw()
        with tracker.fork("other"):
            seen["other first"] = draw()
            with tracker.fork("model-parallel-rng"):
                seen["model second"] = draw()
            seen["other second"] = draw()
        seen["model third"] = draw()
        with tracker.fork():
            seen["model fourth"] = draw()
        seen["model fifth"] = draw()
    seen["default second"] = draw()
    try:
        with tracker.fork("other"):
            seen["other third"] = draw()
            raise KeyError("inside")
    except KeyError:
        seen["default third"] = draw()
    with tracker.fork("other"):
        seen["other fourth"] = draw()
    states = tracker.get_states()
    with tracker.fork():
        seen["model sixth"] = draw()
    tracker.set_states(states)
    with tracker.fork():
        seen["model sixth again"] = draw()
    for label, call in (("unknown", lambda: tracker.fork("no such").__enter__()),
                        ("same seed", lambda: tracker.add("third", 11)),
                        ("same name", lambda: tracker.add("other", 13))):
        try:
            call()
        except Exception as error:
            seen[label] = str(error)
    seen["default fourth"] = draw()
    return seen


def main() -> None:
    at_hand = [patch for patch in patches.TRAINING_PATCHES if patch.is_applicable()]
    for patch in at_hand:
        resolve(patch.target)
    # Takes the mask's function by name before it is patched.
    importlib.import_module("megatron.core.fusions.fused_softmax")
    before = snapshot()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        first = patches.apply()
        second = patches.apply()
    after = snapshot()
    from megatron.core.transformer import utils

    mask = utils.get_default_causal_mask(3)
    answer = {
        "changed": sorted(name for name in before if after.get(name) != before[name]),
        "added": sorted(set(after) - set(before)),
        "warnings": [str(item.message) for item in warned],
        "idempotent": first == second,
        "ledger": patches.ledger(),
        "wrong": patches.run_checks(),
        "statuses": [status.status for status in patches.check(at_hand)],
        "current_device": str(torch.cuda.current_device()),
        "is_available": torch.cuda.is_available(),
        "synchronize": torch.cuda.synchronize(),
        "mask": mask.tolist(),
        "mask_is_kept": utils.get_default_causal_mask(3) is mask,
        "mask_is_rebound": [name for name, module in sys.modules.items() if name.startswith("megatron.core")
                            and getattr(module, "get_default_causal_mask", utils.get_default_causal_mask)
                            is not utils.get_default_causal_mask],
        "random": use_random_states(),
    }
    print("\n" + json.dumps(answer))


main()
