"""Started on one rank: trains each configuration a little, then generates with and without the cache; prints JSON."""

import json
import sys
from pathlib import Path

import torch
from megatron.core import parallel_state

from megatron_fugaku import patches
from megatron_fugaku.commands.generate import inference_config
from megatron_fugaku.config import load_config
from megatron_fugaku.train.runtime import initialize_parallel

patches.apply()
torch.distributed.init_process_group("mpi")

from megatron.core.inference.contexts import StaticInferenceContext  # noqa: E402

from megatron_fugaku.checkpoint import DistCheckpointer  # noqa: E402
from megatron_fugaku.serve import SamplingOptions, load_generator  # noqa: E402
from megatron_fugaku.train import pretrain  # noqa: E402

PROMPTS = ["import json\n", "def ", ""]
NUM_TOKENS = 12


@torch.no_grad()
def compare(generator, prompt: str) -> dict:
    """Greedy tokens and logits, step by step, from the cache and from a whole forward pass."""
    tokens = [generator.tokenizer.eod, *generator.tokenizer.tokenize(prompt)]
    context = StaticInferenceContext(1, generator.model.max_sequence_length)
    pending, differences, agree = tokens, [], True
    for _ in range(NUM_TOKENS):
        cached = generator.next_logits(context, pending)
        ids = torch.tensor([tokens])
        whole = generator.model(ids, torch.arange(len(tokens))[None], None, runtime_gather_output=True)
        whole = whole[0, -1, : generator.tokenizer.vocab_size].float()
        differences.append(float((cached - whole).abs().max() / whole.abs().max()))
        agree = agree and int(cached.argmax()) == int(whole.argmax())
        pending = [int(whole.argmax())]
        tokens = tokens + pending
    return {"difference": max(differences), "agree": agree}


def examine(path: str) -> dict:
    config = load_config(path)
    initialize_parallel(config)
    pretrain(config, DistCheckpointer(config))
    parallel_state.destroy_model_parallel()

    config = inference_config(config.directory, 1)
    initialize_parallel(config)
    generator, iteration = load_generator(config)
    greedy = SamplingOptions(max_new_tokens=NUM_TOKENS, temperature=0)
    sampled = SamplingOptions(max_new_tokens=NUM_TOKENS, temperature=1.0, top_p=0.9, seed=3)
    answer = {
        "iteration": iteration,
        "compared": [compare(generator, prompt) for prompt in PROMPTS],
        "greedy": [generator.generate(prompt, greedy) for prompt in PROMPTS],
        "greedy_again": [generator.generate(prompt, greedy) for prompt in PROMPTS],
        "sampled": [generator.generate(PROMPTS[0], sampled) for _ in range(2)],
    }
    parallel_state.destroy_model_parallel()
    return answer


answers = {Path(path).stem: examine(path) for path in sys.argv[1:]}
print("\n" + json.dumps(answers))
torch.distributed.destroy_process_group()
