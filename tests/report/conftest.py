"""Run folders as the trainer writes them, with plausible numbers, for the tests of the report."""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from megatron_fugaku.config import build_config, dump_config
from megatron_fugaku.report.page import load_run, render_page

FORWARD_S, BACKWARD_S, SEND_S = 0.020, 0.041, 0.0015


@dataclass(frozen=True)
class Layout:
    """Parallel sizes and micro-batches of a made-up run."""

    pipeline: int = 2
    tensor: int = 2
    data: int = 1
    microbatches: int = 8

    @property
    def world_size(self) -> int:
        return self.pipeline * self.tensor * self.data


def one_f_one_b(stage: int, stages: int, microbatches: int) -> list[tuple[str, int]]:
    """Order of the passes of a stage in the 1F1B schedule."""
    warmup = min(stages - stage - 1, microbatches)
    order = [("forward", i) for i in range(warmup)]
    for i in range(microbatches - warmup):
        order += [("forward", warmup + i), ("backward", i)]
    return order + [("backward", i) for i in range(microbatches - warmup, microbatches)]


def simulate_pipeline(stages: int, microbatches: int) -> list[list[tuple[str, int, float, float]]]:
    """Start and end of each pass per stage, every pass as early as its inputs allow."""
    orders = [one_f_one_b(stage, stages, microbatches) for stage in range(stages)]
    done: dict[tuple[int, str, int], float] = {}
    free = [0.003] * stages
    result: list[list[tuple[str, int, float, float]]] = [[] for _ in range(stages)]
    while any(orders):
        for stage, order in enumerate(orders):
            while order:
                name, microbatch = order[0]
                neighbour = stage - 1 if name == "forward" else stage + 1
                ready = 0.0
                if 0 <= neighbour < stages:
                    if (neighbour, name, microbatch) not in done:
                        break
                    ready = done[neighbour, name, microbatch] + SEND_S
                start = max(free[stage], ready)
                end = start + (FORWARD_S if name == "forward" else BACKWARD_S)
                done[stage, name, microbatch] = free[stage] = end
                result[stage].append((name, microbatch, start, end))
                order.pop(0)
    return result


def timeline_lines(iteration: int, rank: int, layout: Layout) -> list[dict]:
    """The spans of one rank, each written when it ends."""
    tensor_rank = rank % layout.tensor
    data_rank = rank // layout.tensor % layout.data
    stage = rank // (layout.tensor * layout.data)
    place = {"pipeline_rank": stage, "tensor_rank": tensor_rank, "data_rank": data_rank}
    lines: list[dict] = []

    def add(name: str, category: str, start: float, end: float, microbatch: int | None) -> None:
        lines.append({"iteration": iteration, "name": name, "category": category, "start_s": round(start, 6),
                      "end_s": round(end, 6), "microbatch": microbatch, **place})

    add("next_batch", "data", 0.0, 0.003, None)
    clock = 0.003
    for name, microbatch, start, end in simulate_pipeline(layout.pipeline, layout.microbatches)[stage]:
        if start > clock + 1e-9:
            add("recv_forward" if name == "forward" else "recv_backward", "pp", clock, start, microbatch)
        if layout.tensor > 1:
            for part in (0.35, 0.8):
                at = start + part * (end - start)
                add("all_reduce", "tp", at, at + 0.0018, microbatch)
        add(name, "compute", start, end, microbatch)
        clock = end
    last = max(end for passes in simulate_pipeline(layout.pipeline, layout.microbatches) for *_, end in passes)
    add("reduce_scatter", "dp", last, last + 0.022, None)
    add("optimizer", "optimizer", last + 0.022, last + 0.06, None)
    return lines


def metrics_lines(first: int, last: int, layout: Layout, tokens_per_step: int, resumed_from: str | None) -> list[dict]:
    """The events of one start of the job, from step ``first`` to step ``last``."""
    noise = random.Random(first)
    lines: list[dict] = [{"event": "start", "iteration": first - 1, "time": 1795392000 + 40 * first,
                          "world_size": layout.world_size, "resumed_from": resumed_from}]
    for iteration in range(first, last + 1):
        loss = 3.4 + 5.7 * math.exp(-iteration / 45) + noise.gauss(0, 0.07)
        time_s = {"compute": 0.41, "tp": 0.052, "pp": 0.071, "dp": 0.024, "optimizer": 0.038, "data": 0.004,
                  "other": 0.006}
        time_s = {name: value * noise.uniform(0.93, 1.12) for name, value in time_s.items()}
        if iteration == first:
            time_s["other"] += 0.3
        step_s = sum(time_s.values())
        warmup = min(1.0, iteration / 20)
        lines.append({
            "event": "train", "iteration": iteration, "consumed_tokens": iteration * tokens_per_step, "lm_loss": loss,
            "grad_norm": 0.7 + 3 * math.exp(-iteration / 15) + abs(noise.gauss(0, 0.1)),
            "learning_rate": 3e-4 * warmup * (0.55 + 0.45 * math.cos(math.pi * iteration / 240)), "step_s": step_s,
            "tokens_per_s": tokens_per_step / step_s, "flops_per_s": 6 * 11.3e6 * tokens_per_step / step_s,
            "skipped": False, "time_s": time_s,
        })
        if iteration % 40 == 0:
            lines.append({"event": "validation", "iteration": iteration, "lm_loss": loss + 0.08,
                          "perplexity": math.exp(loss + 0.08)})
            lines.append({"event": "checkpoint", "iteration": iteration, "save_s": 1.3,
                          "path": f"checkpoints/iter_{iteration:07d}"})
    return lines


def write_lines(path: Path, lines: list[dict], mode: str = "w") -> None:
    """Write one JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open(mode, encoding="utf-8") as stream:
        stream.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def build_run_folder(folder: Path, layout: Layout = Layout(), num_steps: int = 200) -> Path:
    """Write a run that was interrupted at 3/5 of its steps and resumed from the checkpoint before."""
    folder.mkdir(parents=True, exist_ok=True)
    sequence = 256
    config = build_config({
        "name": "quickstart-tp2-pp2",
        "model": {"num_layers": 4, "hidden_size": 256, "num_attention_heads": 8, "seq_length": sequence,
                  "vocab_size": 8000},
        "parallel": {"tensor_model_parallel_size": layout.tensor, "pipeline_model_parallel_size": layout.pipeline,
                     "sequence_parallel": layout.tensor > 1},
        "train": {"micro_batch_size": 1, "global_batch_size": layout.microbatches * layout.data,
                  "train_iters": num_steps, "eval_interval": 40},
        "optimizer": {"lr": 3e-4, "min_lr": 3e-5, "lr_warmup_tokens": 40960},
    })
    (folder / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    tokens = config.tokens_per_step
    stop, resume = num_steps * 3 // 5 + 7, num_steps * 3 // 5
    write_lines(folder / "metrics.jsonl", metrics_lines(1, stop, layout, tokens, None))
    write_lines(folder / "metrics.jsonl", [
        {"event": "end", "iteration": stop, "reason": "interrupted"},
        *metrics_lines(resume + 1, num_steps, layout, tokens, f"checkpoints/iter_{resume:07d}"),
        {"event": "end", "iteration": num_steps, "reason": "finished"},
    ], "a")
    for rank in range(layout.world_size):
        write_lines(folder / "timeline" / f"rank{rank:05d}.jsonl", timeline_lines(3, rank, layout))
    write_lines(folder / "samples.jsonl", [
        {"iteration": num_steps, "prompt": "日本の首都は",
         "text": "日本の首都は、東京である。<設定ファイル>を参照してください。"},
        {"iteration": num_steps, "prompt": "The list of files",
         "text": " is read from the standard input & printed.\n"},
    ])
    (folder / "manifest.json").write_text(json.dumps({
        "world_size": layout.world_size, "num_parameters": 11_292_672, "padded_vocab_size": 8192,
        "versions": {"megatron_fugaku": "0.1.0", "torch": "2.13.0+cpu", "megatron-core": "0.16.1",
                     "mpi": "Open MPI v4.1.4"},
        "machine": {"isa": "x86-64 AVX2", "cores": 2, "memory_bytes": 25_769_803_776},
        "patches": [{"id": "cuda-current-device", "target": "torch.cuda:current_device", "kind": "replace"},
                    {"id": "cpu-rng-tracker", "target": "megatron.core.tensor_parallel.random:_get_cuda_rng_state",
                     "kind": "replace"}],
        "kernels": {},
        "data": {"manifest": "corpus/manifest.json", "sha256": "9f2c" * 16},
    }), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of a whole run."""
    return render_page(load_run(build_run_folder(tmp_path_factory.mktemp("page") / "run")))


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return build_run_folder(tmp_path / "run")


@pytest.fixture
def make_run_folder(tmp_path: Path):
    """Return a function that builds a run folder of a given layout."""
    def make(name: str = "run", **sizes: int) -> Path:
        num_steps = sizes.pop("num_steps", 60)
        return build_run_folder(tmp_path / name, Layout(**sizes), num_steps)
    return make


@pytest.fixture
def append_lines():
    """Return a function that appends JSON objects to a file, one a line."""
    return lambda path, *lines: write_lines(path, list(lines), "a")
