"""Started on one rank: builds each configuration given, compares it with plain torch, prints JSON."""

import json
import sys
from pathlib import Path

import torch
from megatron.core import parallel_state

from megatron_fugaku import patches
from megatron_fugaku.config import load_config, padded_vocab_size
from megatron_fugaku.train.runtime import initialize_parallel

sys.path.insert(0, str(Path(__file__).parent))
from plain_models import loss_of

VOCABULARY = 500  # padded to 512


def perturb(parameters) -> None:
    """Give biases and norms values that can be told from those they begin with."""
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))


def examine(path: str) -> dict:
    from megatron_fugaku.model import build_model_chunks, build_transformer_config
    from megatron_fugaku.model.flops import flops_per_token
    from megatron_fugaku.model.initialize import global_names

    config = load_config(path)
    initialize_parallel(config)
    transformer_config = build_transformer_config(config, 0)
    [chunk] = build_model_chunks(config, transformer_config, VOCABULARY)
    [again] = build_model_chunks(config, transformer_config, VOCABULARY)
    other_config = config.model_copy(update={"train": config.train.model_copy(update={"seed": 99})})
    [other] = build_model_chunks(other_config, transformer_config, VOCABULARY)
    named = dict(global_names(chunk))
    moments = {name: [float(p.detach().double().mean()), float(p.detach().double().square().mean().sqrt()), p.numel()]
               for name, p in named.items()}
    same = all(torch.equal(a, b) for a, b in zip(chunk.parameters(), again.parameters(), strict=True))
    differing = [name for name, p in global_names(other) if not torch.equal(p, named[name])]

    perturb(named.values())
    weights = {name: p.detach().double().requires_grad_() for name, p in named.items()}
    random = torch.Generator().manual_seed(7)
    text = torch.randint(0, VOCABULARY, (3, config.model.seq_length + 1), generator=random)
    tokens, labels = text[:, :-1].contiguous(), text[:, 1:].contiguous()
    positions = torch.arange(tokens.shape[1]).expand_as(tokens)
    loss = chunk(tokens, positions, None, labels=labels).mean()
    loss.backward()
    expected = loss_of(tokens, labels, weights, config.model.resolved())
    expected.backward()
    errors = {name: float((p.grad - weights[name].grad).norm() / weights[name].grad.norm().clamp(min=1e-30))
              for name, p in named.items()}
    padded = padded_vocab_size(VOCABULARY, config)
    parallel_state.destroy_model_parallel()
    return {"loss": float(loss), "expected_loss": float(expected), "gradient_errors": errors, "moments": moments,
            "dropouts": sorted({type(part).__module__ for part in chunk.modules()
                                if isinstance(part, torch.nn.Dropout)}),
            "same": same, "differing": differing, "padded": padded,
            "rows": named["embedding.word_embeddings.weight"].shape[0],
            "flops_per_token": flops_per_token(config.model, padded)}


patches.apply()
torch.distributed.init_process_group("mpi")
answer = {Path(path).stem: examine(path) for path in sys.argv[1:]}
print("\n" + json.dumps(answer))
torch.distributed.destroy_process_group()
