"""AdamW with the interface of Apex's FusedAdam, computed by our kernel or by torch's fused one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim.adam import adam
from torch.optim.adamw import adamw

from megatron_fugaku.kernels import adamw as kernels


class FusedAdamW(torch.optim.Optimizer):
    """AdamW (Loshchilov and Hutter, arXiv:1711.05101) that counts its steps per parameter group.

    megatron-core shards, saves and restores the state of Apex's FusedAdam, whose only per-parameter state are the
    two moments; torch's own AdamW keeps a step tensor per parameter, which those paths do not know. The arithmetic
    is that of :mod:`megatron_fugaku.kernels.adamw` for contiguous float32, unless it was chosen against, and else that
    of :func:`torch.optim.adamw.adamw` with ``fused=True``.

    Attributes:
        grad_scale: what the next step multiplies gradients by before anything else; 1 again behind it. It spares a
            pass over them for clipping their norm. Whether ``grad`` itself is multiplied is not said.

    Args:
        params: parameters or groups, fp32.
        lr: learning rate; None, as in Megatron's default, until a schedule says it.
        betas: decay of the first and second moment.
        eps: added to the root of the second moment.
        weight_decay: decoupled when ``adam_w_mode``, otherwise added to the gradient.
        adam_w_mode: False gives Adam.
        capturable: of CUDA graphs, which are not here; refused.

    Raises:
        ValueError: a number is out of its range, or ``capturable``.
    """

    def __init__(self, params: Iterable, lr: float | None = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0.0, adam_w_mode: bool = True, capturable: bool = False):
        if capturable:
            raise ValueError("capturable is set, which is for CUDA graphs. They need a GPU. Leave it out.")
        if (lr is not None and lr < 0) or eps < 0 or weight_decay < 0 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"lr {lr}, eps {eps}, weight_decay {weight_decay} must not be negative and betas {betas} "
                             "must lie in [0, 1)")
        self.adam_w_mode = adam_w_mode
        self.grad_scale = 1.0
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    # torch wraps these to hide them from its compiler, which the wrapper loads on first use: seconds on every rank.
    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; return the closure's loss, if one is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            for param in params:
                state = self.state[param]
                if not state:
                    state["exp_avg"] = torch.zeros_like(param)
                    state["exp_avg_sq"] = torch.zeros_like(param)
            number = self._count_step(group, params)
            by_torch = [param for param in params if not self._update_by_kernel(group, param, number)]
            if by_torch:
                self._update_by_torch(group, by_torch, number)
        self.grad_scale = 1.0
        return loss

    def _count_step(self, group: dict[str, Any], params: list[torch.Tensor]) -> int:
        """Return the number of this step for the parameters of a group, 1 for the first."""
        group["step"] = group.get("step", 0) + 1
        return group["step"]

    def _update_by_kernel(self, group: dict[str, Any], param: torch.Tensor, number: int) -> bool:
        """Return whether the kernel is for this parameter, and has updated it."""
        state = self.state[param]
        tensors = param, param.grad, state["exp_avg"], state["exp_avg_sq"]
        if not kernels.is_for_kernel(*tensors):
            return False
        kernels.adamw(*tensors, lr=group["lr"], betas=group["betas"], eps=group["eps"],
                      weight_decay=group["weight_decay"], step=number, scale=self.grad_scale,
                      decoupled=self.adam_w_mode)
        return True

    def _update_by_torch(self, group: dict[str, Any], params: list[torch.Tensor], number: int) -> None:
        gradients, (beta1, beta2) = [p.grad for p in params], group["betas"]
        if self.grad_scale != 1.0:
            torch._foreach_mul_(gradients, self.grad_scale)
        update = adamw if self.adam_w_mode else adam
        update(
            params, gradients, [self.state[p]["exp_avg"] for p in params],
            [self.state[p]["exp_avg_sq"] for p in params], [],
            # torch's kernel advances each of these by one before it uses it.
            [torch.tensor(float(number - 1)) for _ in params],
            foreach=False, capturable=False, differentiable=False, fused=True, grad_scale=None, found_inf=None,
            amsgrad=False, beta1=beta1, beta2=beta2, lr=group["lr"], weight_decay=group["weight_decay"],
            eps=group["eps"], maximize=False)
