"""``mfugaku generate RUN_DIR --prompt TEXT``; under mpirun the model is cut over all ranks (tensor parallel)."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from megatron_fugaku import comm, patches
from megatron_fugaku.config import RunConfig, check_config, load_config
from megatron_fugaku.errors import ConfigError
from megatron_fugaku.patches.noise import silence_upstream


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("run_dir", type=Path, help="run folder, with config.yaml and checkpoints/")
    parser.add_argument("--prompt", action="append", required=True, help="text to continue; may be given repeatedly")
    parser.add_argument("--iteration", type=int, help="step of the checkpoint (default: the latest)")
    parser.add_argument("--max-new-tokens", type=int, default=100)
    parser.add_argument("--temperature", type=float, default=0.8, help="0 takes the most probable token")
    parser.add_argument("--top-k", type=int, default=0)
    parser.add_argument("--top-p", type=float, default=0.95)
    parser.add_argument("--seed", type=int, default=1234)
    parser.add_argument("--save", action="store_true", help="also append the samples to samples.jsonl of the run "
                        "folder, for its report")


def inference_config(run_dir: Path, world_size: int) -> RunConfig:
    """Return a run's configuration with its model cut over ``world_size`` tensor-parallel ranks.

    Raises:
        ConfigError: it is not a run folder, or the model cannot be cut so.
    """
    path = run_dir / "config.yaml"
    if not path.is_file():
        raise ConfigError(f"{run_dir} has no config.yaml", "it is not a run folder",
                          "give the folder that `mfugaku pretrain` wrote", str(run_dir))
    config = load_config(path, [
        f"parallel={{tensor_model_parallel_size: {world_size}}}",
        "parallel.pipeline_model_parallel_size=1", "parallel.virtual_pipeline_model_parallel_size=null",
        "parallel.sequence_parallel=false", "parallel.use_distributed_optimizer=false",
        "parallel.overlap_grad_reduce=false", "parallel.overlap_param_gather=false",
        "recompute={recompute_granularity: null, recompute_method: null, recompute_num_layers: null, "
        "recompute_pipeline_stages: null}",
    ])
    check_config(config, world_size=world_size, files=False)
    return config.model_copy(update={"run_dir": run_dir})


def run(args: argparse.Namespace) -> int:
    """Print the continuation of each prompt."""
    silence_upstream()
    patches.prepare_imports()
    from megatron_fugaku.train.runtime import distributed_runtime

    launched = comm.rank_info()
    config = inference_config(args.run_dir, launched.world_size)
    with distributed_runtime(config):
        from megatron_fugaku.serve import SamplingOptions, load_generator

        options = SamplingOptions(args.max_new_tokens, args.temperature, args.top_k, args.top_p, args.seed)
        generator, iteration = load_generator(config, args.iteration)
        for prompt in args.prompt:
            text = generator.generate(prompt, options)
            if launched.rank:
                continue
            print(f"> {prompt}\n{text.strip()}\n", flush=True)
            if args.save:
                with (args.run_dir / "samples.jsonl").open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"iteration": iteration, "prompt": prompt, "text": text},
                                          ensure_ascii=False) + "\n")
    return 0
