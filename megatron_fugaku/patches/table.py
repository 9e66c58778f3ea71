"""Every patch there is. ``mfugaku patches list`` prints this table, ``mfugaku patches check`` compares it.

What :mod:`megatron_fugaku.train` needs stands here; what programs of others need in addition, in :mod:`.script_table`.
"""

from __future__ import annotations

from megatron_fugaku.patches.patch import Patch
from megatron_fugaku.patches.script_table import SCRIPT_PATCHES

_WITHOUT_CUDA = "megatron-core asks torch.accelerator or the tensor at hand for the device"
_TORCH = {"distribution": "torch", "upstream": ">=2.10,<2.14", "kind": "shim", "remove_when": _WITHOUT_CUDA}
_MEGATRON = {"distribution": "megatron-core", "upstream": ">=0.14,<0.20"}
_CUDA_LITERAL = {**_MEGATRON, "kind": "wrap", "make": "megatron_fugaku.patches.cuda_names:build_wrapper",
                 "remove_when": _WITHOUT_CUDA}
_APEX = {**_MEGATRON, "kind": "replace", "remove_when": "megatron-core accepts an optimizer class from the caller"}
_RNG = {**_MEGATRON, "kind": "replace", "upstream_ref": "megatron/core/tensor_parallel/random.py",
        "remove_when": "megatron-core's tracker takes the generator from the device"}
_SAVE = {**_MEGATRON, "kind": "replace",
         "upstream_ref": "megatron/core/dist_checkpointing/strategies/filesystem_async.py",
         "remove_when": "megatron-core's writer can be told to write in the calling process"}

TRAINING_PATCHES: tuple[Patch, ...] = (
    # torch.cuda: asked by megatron-core on every device.
    Patch(id="cuda-current-device", target="torch.cuda:current_device",
          make="megatron_fugaku.patches.torch_cuda:build_current_device",
          reason="megatron-core allocates on torch.cuda.current_device(), which raises in a torch without CUDA",
          upstream_ref="torch/cuda/__init__.py", **_TORCH),
    Patch(id="cuda-synchronize", target="torch.cuda:synchronize",
          make="megatron_fugaku.patches.stand_ins:build_nothing",
          reason="megatron-core synchronises the device before and after pipeline and checkpoint steps, which raises",
          upstream_ref="torch/cuda/__init__.py", **_TORCH),
    Patch(id="cuda-manual-seed", target="torch.cuda:manual_seed",
          make="megatron_fugaku.patches.torch_cuda:build_manual_seed",
          check="megatron_fugaku.patches.torch_cuda:check_generator",
          reason="megatron-core seeds its random states through torch.cuda, which ignores it without CUDA",
          upstream_ref="torch/cuda/random.py", **_TORCH),
    Patch(id="cuda-get-rng-state", target="torch.cuda:get_rng_state",
          make="megatron_fugaku.patches.torch_cuda:build_get_rng_state",
          reason="megatron-core reads the random state of the device, which raises",
          upstream_ref="torch/cuda/random.py", **_TORCH),
    Patch(id="cuda-random-get-rng-state", target="torch.cuda.random:get_rng_state",
          make="megatron_fugaku.patches.torch_cuda:build_get_rng_state",
          reason="megatron-core reads the random state of the device by its second name, which raises",
          upstream_ref="torch/cuda/random.py", **_TORCH),
    Patch(id="cuda-current-stream", target="torch.cuda:current_stream",
          make="megatron_fugaku.patches.torch_streams:build_current_stream",
          reason="megatron-core's reductions wait for the current stream, which raises",
          upstream_ref="torch/cuda/__init__.py", **_TORCH),
    # Start-up.
    Patch(id="jit-fuser", target="megatron.core.jit:jit_fuser", kind="replace", phase="import",
          make="megatron_fugaku.patches.megatron_jit:build_plain_decorator", digest_of="megatron.core.jit",
          reason="decorating with torch.compile loads its compiler on every rank, two thirds of megatron-core's import "
          "time, for fusions that are switched off",
          upstream_ref="megatron/core/jit.py", remove_when="megatron-core decorates on first use", **_MEGATRON),
    Patch(id="paged-stash", target="megatron.core.transformer.moe.paged_stash", kind="shim", phase="import",
          unless="triton", since="0.18", make="megatron_fugaku.patches.stand_ins:build_paged_stash",
          reason="schedules and models import kernels of Triton, for an option of mixtures of experts",
          upstream_ref="megatron/core/transformer/moe/paged_stash.py",
          remove_when="megatron-core imports them where they are used", **_MEGATRON),
    # Random states.
    Patch(id="rng-set-state", target="megatron.core.tensor_parallel.random:_set_cuda_rng_state",
          make="megatron_fugaku.patches.megatron_rng:build_set_rng_state",
          reason="random states are put into a CUDA generator that does not exist", **_RNG),
    Patch(id="rng-fork", target="megatron.core.tensor_parallel.random:CudaRNGStatesTracker.fork",
          make="megatron_fugaku.patches.megatron_rng:build_fork",
          reason="a fork takes the CPU generator that dropout draws from for an intruder and warns at every layer",
          **_RNG),
    # The word "cuda" written out.
    Patch(id="schedules-cuda-literal", target="megatron.core.pipeline_parallel.schedules:torch", kind="shim",
          make="megatron_fugaku.patches.cuda_names:build_facade", digest_of="megatron.core.pipeline_parallel.schedules",
          reason="the pipeline schedules count tokens in a tensor made with device='cuda'",
          upstream_ref="megatron/core/pipeline_parallel/schedules.py", remove_when=_WITHOUT_CUDA, **_MEGATRON),
    Patch(id="causal-mask", target="megatron.core.transformer.utils:get_default_causal_mask", kind="replace",
          make="megatron_fugaku.patches.megatron_mask:build_causal_mask",
          reason="the causal mask is made with device='cuda', and anew in every layer",
          upstream_ref="megatron/core/transformer/utils.py", remove_when=_WITHOUT_CUDA, **_MEGATRON),
    Patch(id="tied-embeddings-cuda", target="megatron.core.models.common.language_module.language_module:"
          "LanguageModule.setup_embeddings_and_output_layer",
          reason="tied embeddings are moved to the device with .cuda() before they are made equal",
          upstream_ref="megatron/core/models/common/language_module/language_module.py", **_CUDA_LITERAL),
    # Optimizers.
    Patch(id="clip-norm-cuda", target="megatron.core.optimizer.clip_grads:get_grad_norm_fp32",
          reason="the gradient norm is summed in a tensor made with device='cuda'",
          upstream_ref="megatron/core/optimizer/clip_grads.py", **_CUDA_LITERAL),
    Patch(id="clip-norm-order", target="megatron.core.optimizer.clip_grads:l2_norm_impl", kind="replace",
          make="megatron_fugaku.patches.megatron_optimizer:build_l2_norm",
          digest_of="megatron.core.utils:local_multi_tensor_l2_norm",
          reason="torch cuts each gradient by the number of threads, and with it the bits of the norm change, and of "
          "all weights behind a clipped gradient", upstream_ref="megatron/core/utils.py",
          remove_when="megatron-core takes the norm of its gradients from the caller", **_MEGATRON),
    Patch(id="clip-scale-cuda", target="megatron.core.optimizer.clip_grads:clip_grad_by_total_norm_fp32",
          reason="clipping asserts that gradients have the type torch.cuda.FloatTensor",
          upstream_ref="megatron/core/optimizer/clip_grads.py", **_CUDA_LITERAL),
    Patch(id="fp32-optimizer-cuda", target="megatron.core.optimizer.optimizer:FP32Optimizer.__init__",
          reason="the loss scale of one is made with device='cuda'",
          upstream_ref="megatron/core/optimizer/optimizer.py", **_CUDA_LITERAL),
    Patch(id="float16-optimizer-cuda", target="megatron.core.optimizer.optimizer:"
          "Float16OptimizerWithFloat16Params.__init__",
          reason="half-precision parameters are recognised by the type name torch.cuda.BFloat16Tensor",
          upstream_ref="megatron/core/optimizer/optimizer.py", **_CUDA_LITERAL),
    Patch(id="distributed-optimizer-cuda", target="megatron.core.optimizer.distrib_optimizer:"
          "DistributedOptimizer.__init__",
          reason="parameters are recognised by the type names torch.cuda.FloatTensor and torch.cuda.BFloat16Tensor",
          upstream_ref="megatron/core/optimizer/distrib_optimizer.py", **_CUDA_LITERAL),
    Patch(id="distributed-optimizer-state-cuda", target="megatron.core.optimizer.distrib_optimizer:"
          "DistributedOptimizer.sharded_state_dict",
          reason="the sharded state is moved to the device with .cuda() before it is gathered",
          upstream_ref="megatron/core/optimizer/distrib_optimizer.py", **_CUDA_LITERAL),
    Patch(id="adam-class", target="megatron.core.optimizer:Adam",
          make="megatron_fugaku.patches.megatron_optimizer:build_adam", digest_of="megatron.core.optimizer",
          reason="torch's AdamW keeps a step tensor per parameter, which sharded checkpoints lose or alias",
          upstream_ref="megatron/core/optimizer/__init__.py", **_APEX),
    Patch(id="adam-is-fused", target="megatron.core.optimizer:USING_PYTORCH_OPTIMIZER",
          make="megatron_fugaku.patches.megatron_optimizer:build_false", digest_of="megatron.core.optimizer",
          reason="torch's AdamW would be built instead of the class in its place", since="0.15",
          upstream_ref="megatron/core/optimizer/__init__.py", **_APEX),
    Patch(id="distributed-adam-class", target="megatron.core.optimizer.distrib_optimizer:Adam",
          make="megatron_fugaku.patches.megatron_optimizer:build_adam",
          digest_of="megatron.core.optimizer.distrib_optimizer",
          reason="the distributed optimizer refuses classes other than its own Adam",
          upstream_ref="megatron/core/optimizer/distrib_optimizer.py", **_APEX),
    Patch(id="distributed-adam-is-fused", target="megatron.core.optimizer.distrib_optimizer:HAVE_APEX_OR_TE",
          make="megatron_fugaku.patches.megatron_optimizer:build_true",
          digest_of="megatron.core.optimizer.distrib_optimizer",
          reason="the distributed optimizer would look for a step in every parameter's state",
          upstream_ref="megatron/core/optimizer/distrib_optimizer.py", **_APEX),
    Patch(id="distributed-adam-is-apex", target="megatron.core.optimizer.distrib_optimizer:USING_APEX_OPTIMIZER",
          make="megatron_fugaku.patches.megatron_optimizer:build_true",
          digest_of="megatron.core.optimizer.distrib_optimizer",
          reason="the distributed optimizer would not save the step, which stands in the parameter groups",
          upstream_ref="megatron/core/optimizer/distrib_optimizer.py", **_APEX),
    # Checkpoints.
    Patch(id="save-results-queue", target="megatron.core.dist_checkpointing.strategies.filesystem_async:"
          "_get_write_results_queue", make="megatron_fugaku.patches.megatron_checkpoint:build_results_queue",
          reason="saving starts a manager process on every rank", before="0.17", **_SAVE),
    Patch(id="save-results-queue-named", target="megatron.core.dist_checkpointing.strategies.filesystem_async:"
          "get_write_results_queue", make="megatron_fugaku.patches.megatron_checkpoint:build_results_queue",
          reason="saving starts a manager process on every rank", since="0.17", **_SAVE),
    Patch(id="save-in-process", target="megatron.core.dist_checkpointing.strategies.filesystem_async:"
          "FileSystemWriterAsync.write_preloaded_data_multiproc",
          make="megatron_fugaku.patches.megatron_checkpoint:build_writer",
          reason="saving forks writer processes, which an MPI with RDMA memory does not survive", before="0.17",
          **_SAVE),
)

PATCHES: tuple[Patch, ...] = TRAINING_PATCHES + SCRIPT_PATCHES
