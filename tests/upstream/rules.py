"""Why a test that did not pass is none of ours, by what it says: the first rule that matches its message counts.

What no rule matches counts as failed. ``DECLARED`` is for tests whose message alone does not show the reason.
"""

from __future__ import annotations

import re

#: What the goal of the port leaves out.
EXCLUDED = ("Transformer Engine", "Apex", "FP8 or FP4", "Triton", "CUDA graphs")
#: What else has nothing to do with the port: it needs something that the machine of the run did not have.
ABSENT = ("a GPU", "more ranks", "network", "a package", "left out by upstream", "fails on GPUs too")

RULES: tuple[tuple[str, str], ...] = (
    # More specific than what follows: graphs ask for Transformer Engine, FP8 is done by it.
    ("CUDA graphs", r"(?i)cuda.?graphs? (UT )?(support|requires?)|using cudagraphs|graph_supported|CUDAGraph"),
    ("FP8 or FP4", r"(?i)\bfp8\b|FP8GlobalState|_fp8_|\bfp4\b|mxfp8|nvfp4|blockwise is only supported"),
    ("Transformer Engine",
     r"(?i)transformer.?engine|\bTE\b|\bTE ?[<>]=|TESpecProvider|TE[A-Z]\w+' is not defined|Requires TE|HAVE_TE|"
     r"TEFused|TENorm|use_te|Spec function is not supported|kitchen required"),
    ("Apex", r"(?i)\bapex\b|amp_C|fused_layer_norm_cuda|FusedLayerNorm|fused_weight_gradient_mlp_cuda"),
    ("Triton", r"(?i)\btriton\b|'(function|_GeneratorContextManager)' object is not subscriptable"),
    ("more ranks", r"world_size \(\d+\) is (not divisible|less)|is over ?sized with world size|requires? (at least )?"
                   r"\d+ (GPUs|ranks|devices)|WORLD_SIZE > 1|world.?size(=| ?>=? ?|: )\d+|larger than world size|"
                   r"TP \(\d+\) \* PP \(\d+\) > \d+|needs \d+ ranks|not enough GPUs|specifically requires|"
                   r"must be divisible by (ep_size|both)|(?i:unsupported world size)|"
                   r"Data parallel size should be divisible"),
    ("network", r"ConnectionError|Max retries exceeded|Name or service not known|OfflineModeIsEnabled|"
                r"couldn't connect to 'https|/opt/data|(?i:tokenizer (directory|path|metadata file) does)|"
                r"LocalEntryNotFound|HF_HUB_OFFLINE|outgoing traffic has been disabled"),
    ("a package", r"Grouped GEMM is not available|PackageNotFoundError|No module named '(?!megatron|torch['.])|"
                  r"could not import|is required for .* tests|(?i:is not installed)|nvidia.resiliency.ext|"
                  r"(?i:need latest flash attn)|flash_attn|mamba|emerging.optimizers|modelopt|(?i:requires? .*package)|muon optimizer for LTS|"
                  r"pyzmq is required"),
    ("a GPU", r"Torch not compiled with CUDA|Found no NVIDIA driver|_nccl_version|cudaGetDevice|_cuda_\w+'|"
              r"_CudaDevice|(?i:device capability|not supported on this device|cuda (is )?not available|"
              r"only supported in accel)|NVTX|needs a GPU|'cuda(:\d+)?' (device|backend)|CUDA (device|runtime|kernel)|"
              r"Cannot access accelerator|assert 'cpu' == 'cuda'|nvshmem|"
              r"fp16 is not supported on your device|(?i:fp16 (is )?not supported)"),
    # DeepSpeed 0.19.8 does without what its tests of 0.19.6 ask for.
    ("fails on GPUs too", r"no attribute '(sparse_tensor_module_names|MiCS_Init)'|A leftover 'sparse_gradients' flag"),
    ("left out by upstream", r"^Skipped: |unconditional skip"),
)

#: Regular expressions of node ids: the reason, and what shows it.
DECLARED: tuple[tuple[str, str, str], ...] = (
    ("a GPU", r"test_optimizer_cpu_offloading\.py", "moves an optimizer's state from a GPU to the CPU"),
    ("Transformer Engine", r"test_initialization\.py::Test::test_te_", "initializes layers of Transformer Engine"),
    ("Transformer Engine", r"test_t5_model\.py.*\bte\b|test_heterogeneous_gpt_model\.py",
     "its layers are those of Transformer Engine, None without it"),
    ("Transformer Engine", r"test_attention_variant_dsa\.py|test_te_layers_batch_invariant\.py|"
     r"test_transformer_block_custom_pgs\.py::.*(non_uniform_transformer_block|mlp_with_custom_pgs)",
     "builds layers of Transformer Engine, which upstream replaces by a mock where it is not installed"),
    ("more ranks", r"TestCrossRanksReads::test_full_dp_reads", "places what it saves on 8 ranks"),
    ("Transformer Engine", r"test_pipeline_layout\.py::test_forward_vpp",
     "its layers are those of Transformer Engine; the first case fails for it and leaves its state to the others"),
)


def find_reason(test: str, why: str) -> str:
    """Return what a test that did not pass needs; empty where nothing shows that it needs anything."""
    for reason, pattern, _ in DECLARED:
        if re.search(pattern, test):
            return reason
    return next((reason for reason, pattern in RULES if re.search(pattern, why)), "")
