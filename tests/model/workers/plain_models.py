"""GPT and Llama in plain torch, after the papers: Radford et al. 2019 and Touvron et al. (arXiv:2302.13971), with
grouped queries (arXiv:2305.13245) and rotary embeddings (arXiv:2104.09864). Weights come by megatron-core's names."""

from __future__ import annotations

import math

import torch

from megatron_fugaku.config import ModelConfig

Weights = dict[str, torch.Tensor]


def normalise(x: torch.Tensor, weights: Weights, name: str, model: ModelConfig) -> torch.Tensor:
    if model.normalization == "RMSNorm":
        return x / (x.square().mean(-1, keepdim=True) + model.layernorm_epsilon).sqrt() * weights[f"{name}.weight"]
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + model.layernorm_epsilon).sqrt()
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x: torch.Tensor, weights: Weights, name: str) -> torch.Tensor:
    y = x @ weights[f"{name}.weight"].T
    return y + weights[f"{name}.bias"] if f"{name}.bias" in weights else y


def rotate(x: torch.Tensor, model: ModelConfig) -> torch.Tensor:
    """Turn the first channels of x [B, S, heads, D]; channel i goes with channel i + width/2."""
    width = int(model.kv_channels * model.rotary_percent)
    half = width // 2
    turned, rest = x[..., :width], x[..., width:]
    frequencies = model.rotary_base ** (-torch.arange(half, dtype=x.dtype) * 2 / width)
    angles = (torch.arange(x.shape[1], dtype=x.dtype)[:, None] * frequencies)[None, :, None, :]
    a, b = turned[..., :half], turned[..., half:]
    return torch.cat([a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin(), rest], -1)


def attend(x: torch.Tensor, weights: Weights, name: str, model: ModelConfig) -> torch.Tensor:
    batch, length, _ = x.shape
    groups, width = model.num_query_groups, model.kv_channels
    queries_of_group = model.num_attention_heads // groups
    # Megatron keeps a group together: its queries, its key, its value.
    mixed = linear(x, weights, f"{name}.linear_qkv").view(batch, length, groups, queries_of_group + 2, width)
    q = mixed[:, :, :, :queries_of_group].reshape(batch, length, -1, width)
    k = mixed[:, :, :, -2].repeat_interleave(queries_of_group, 2)
    v = mixed[:, :, :, -1].repeat_interleave(queries_of_group, 2)
    if model.position_embedding_type == "rope":
        q, k = rotate(q, model), rotate(k, model)
    scores = torch.einsum("bihd,bjhd->bhij", q, k) / math.sqrt(width)
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    probabilities = scores.masked_fill(future, -math.inf).softmax(-1)
    mixed_values = torch.einsum("bhij,bjhd->bihd", probabilities, v).reshape(batch, length, -1)
    return linear(mixed_values, weights, f"{name}.linear_proj")


def feed_forward(x: torch.Tensor, weights: Weights, name: str, model: ModelConfig) -> torch.Tensor:
    inner = linear(x, weights, f"{name}.linear_fc1")
    if model.swiglu:
        gate, up = inner.split(model.ffn_hidden_size, -1)
        inner = gate * torch.sigmoid(gate) * up
    else:
        inner = 0.5 * inner * (1 + torch.erf(inner / math.sqrt(2)))
    return linear(inner, weights, f"{name}.linear_fc2")


def logits_of(tokens: torch.Tensor, weights: Weights, model: ModelConfig) -> torch.Tensor:
    """tokens [B, S] to logits [B, S, V]."""
    table = weights["embedding.word_embeddings.weight"]
    x = table[tokens]
    if model.position_embedding_type == "learned_absolute":
        x = x + weights["embedding.position_embeddings.weight"][: tokens.shape[1]]
    for layer in range(model.num_layers):
        name = f"decoder.layers.{layer}"
        normal = normalise(x, weights, f"{name}.input_layernorm", model)
        x = x + attend(normal, weights, f"{name}.self_attention", model)
        normal = normalise(x, weights, f"{name}.pre_mlp_layernorm", model)
        x = x + feed_forward(normal, weights, f"{name}.mlp", model)
    x = normalise(x, weights, "decoder.final_layernorm", model)
    return x @ weights.get("output_layer.weight", table).T


def loss_of(tokens: torch.Tensor, labels: torch.Tensor, weights: Weights, model: ModelConfig) -> torch.Tensor:
    """Mean cross entropy."""
    log_probabilities = logits_of(tokens, weights, model).log_softmax(-1)
    return -log_probabilities.gather(-1, labels[..., None]).mean()
