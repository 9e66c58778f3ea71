"""Why a test that did not pass is none of ours, by what it says: the first reason of which a pattern matches counts.

What no pattern matches counts as failed. ``DECLARED`` is for tests whose message alone does not show the reason.
"""

from __future__ import annotations

import re

#: What the goal of the port leaves out.
EXCLUDED = ("Transformer Engine", "Apex", "FP8 or FP4", "Triton", "CUDA graphs")
#: What is run nowhere.
SKIPPED = "left out by upstream"
#: What else has nothing to do with the port: it needs something that the machine of the run did not have.
ABSENT = ("a GPU", "more ranks", "network", "a package", "fails on GPUs too")

RULES: tuple[tuple[str, tuple[str, ...]], ...] = (
    # More specific than what follows: graphs ask for Transformer Engine, FP8 is done by it.
    ("CUDA graphs", (r"(?i)cuda.?graphs? (UT )?(support|requires?)", "using cudagraphs", "CUDAGraph")),
    ("FP8 or FP4", (r"(?i)\bfp8\b", "FP8GlobalState", "_fp8_", r"(?i)\bfp4\b", "(?i)mxfp8", "(?i)nvfp4",
                    "blockwise is only supported")),
    ("Transformer Engine", ("(?i)transformer.?engine", r"\bTE\b", r"TE[A-Z]\w+' is not defined", "TEFused", "HAVE_TE",
                            "Spec function is not supported", "(?i)kitchen required")),
    ("Apex", (r"(?i)\bapex\b", "amp_C", "fused_layer_norm_cuda", "fused_weight_gradient_mlp_cuda")),
    # Without Triton, upstream's kernels are what stands for its decorator: nothing that has a grid.
    # NVIDIA's Emerging Optimizers and mamba_ssm import it.
    ("Triton", (r"(?i)\btriton\b", "(?i)emerging.optimizers", "(?i)mamba",
                "'(function|_GeneratorContextManager)' object is not subscriptable")),
    ("more ranks", (r"world_size \(\d+\) is (not divisible|less)", "is over ?sized with world size",
                    r"requires? (at least )?\d+ (GPUs|ranks|devices)", "WORLD_SIZE > 1", "larger than world size",
                    r"world.?size(=| ?>=? ?|: )\d+", r"TP \(\d+\) \* PP \(\d+\) > \d+", r"needs \d+ ranks",
                    "not enough GPUs", "specifically requires", "must be divisible by (ep_size|both)",
                    "(?i)unsupported world size", "(?i)data parallel size should be divisible")),
    ("network", ("ConnectionError", "Max retries exceeded", "Name or service not known", "OfflineModeIsEnabled",
                 "couldn't connect to 'https", "/opt/data", "(?i)tokenizer (directory|path|metadata file) does",
                 "LocalEntryNotFound", "HF_HUB_OFFLINE", "outgoing traffic has been disabled")),
    ("a package", (r"No module named '(?!megatron|torch['.])", "PackageNotFoundError", "could not import",
                   "is required for .* tests", "(?i)is not installed", "nvidia.resiliency.ext", "flash_attn",
                   "(?i)need latest flash attn", "modelopt", "muon optimizer for LTS", "(?i)requires? .*package",
                   "pyzmq is required")),
    ("a GPU", ("Torch not compiled with CUDA", "Found no NVIDIA driver", "_nccl_version", "cudaGetDevice",
               r"_cuda_\w+'", "_CudaDevice", "(?i)device capability", "not supported on this device", "(?i)nvtx",
               "nvshmem", "(?i)cuda (is )?not available", "only supported in accel", "needs a GPU",
               r"'cuda(:\d+)?' (device|backend)", "CUDA (device|runtime|kernel)", "Cannot access accelerator",
               "assert 'cpu' == 'cuda'", "(?i)allocated memory (for .*)?should (de|in)crease after (off|re)load",
               "fp16 is not supported on your device", "(?i)fp16 (is )?not supported", "Grouped GEMM is not available",
               "nccl_allocator",
               "Deep EP and Hybrid EP are not available")),
    # torch 2.13 and DeepSpeed 0.19.8 do without what Megatron-LM 0.16 and the tests of DeepSpeed 0.19.6 ask for.
    ("fails on GPUs too", ("'FileSystemWriter' object has no attribute 'metadata_path'", "NullHandler-dcp_logger",
                           "no attribute '(sparse_tensor_module_names|MiCS_Init|_offload_gradient_safety_enabled)'",
                           "MiCS .* has been removed",
                           "'str' object has no attribute 'num_kv_heads'",
                           "A leftover 'sparse_gradients' flag")),
    (SKIPPED, ("^Skipped: ", "unconditional skip", "^ValueError: DeepSpeed BFloat16 tests need .* NCCL")),
)

#: Regular expressions of node ids: the reason, and what shows it.
DECLARED: tuple[tuple[str, str, str], ...] = (
    ("a GPU", r"test_optimizer_cpu_offloading\.py", "moves an optimizer's state from a GPU to the CPU"),
    ("a GPU", r"::test_straggler_detector", "upstream's detector times by events of a GPU, and is off without one"),
    ("Triton", r"test_layer_wise_optimizer\.py", "its optimizer, Muon, is one of NVIDIA's Emerging Optimizers"),
    ("more ranks", r"TestCrossRanksReads::|TestFullyParallelSaveAndLoad::test_(save_distribution|load_distribution|"
     r"memory_usage)", "places what it saves on 8 ranks"),
    ("more ranks", r"test_different_initialize_order_unconsistency", "two orders of 2 ranks are the same groups"),
    ("Transformer Engine", r"test_initialization\.py::Test::test_te_", "initializes layers of Transformer Engine"),
    ("Transformer Engine", r"test_t5_model\.py::TestT5Model::|test_t5_model\.py.*\bte\b|"
     r"test_heterogeneous_gpt_model\.py|test_t5_inference_wrapper\.py|"
     r"test_encoder_decoder_text_generation_controller\.py",
     "its layers are those of Transformer Engine, None without it"),
    ("Transformer Engine", r"test_attention_variant_dsa\.py|test_te_layers_batch_invariant\.py|"
     r"test_transformer_block_custom_pgs\.py::.*(non_uniform_transformer_block|mlp_with_custom_pgs)",
     "builds layers of Transformer Engine, which upstream replaces by a mock where it is not installed"),
    ("Transformer Engine", r"test_vlm_text_generation_controller\.py",
     "its norm is that of Transformer Engine; without it upstream takes torch's, which knows no such arguments"),
    ("Transformer Engine", r"test_pipeline_layout\.py::test_forward_vpp|test_save_and_load_checkpoint_vpp",
     "its layers are those of Transformer Engine; the first case fails for it and leaves its state to the others"),
)


def find_reason(test: str, why: str) -> str:
    """Return what a test that did not pass needs; empty where nothing shows that it needs anything."""
    for reason, pattern, _ in DECLARED:
        if re.search(pattern, test):
            return reason
    return next((reason for reason, patterns in RULES if any(re.search(pattern, why) for pattern in patterns)), "")
