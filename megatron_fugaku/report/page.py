"""The HTML page of a run: one file with everything in it, for a browser, a phone or paper."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from megatron_fugaku.config import RunConfig, load_config
from megatron_fugaku.errors import DataError
from megatron_fugaku.report import facts, figures
from megatron_fugaku.report.files import read_json_lines, write_text
from megatron_fugaku.report.metrics import TIME_CATEGORIES, Metrics, load_metrics
from megatron_fugaku.report.palette import build_css
from megatron_fugaku.report.timeline import (
    MAX_LANES,
    Span,
    bubble_share,
    build_lanes,
    ideal_bubble_share,
    load_timeline,
)
from megatron_fugaku.report.timeline_figure import draw_timeline

_MAX_SAMPLES = 8
_ENDINGS = {"finished": "It finished", "exit_interval": "It stopped at exit_interval",
            "interrupted": "It was interrupted"}


@dataclass(frozen=True)
class Run:
    """What a run folder holds, read for the report. ``samples``: (iteration, prompt, text), latest first."""

    run_dir: Path
    config: RunConfig
    manifest: dict[str, Any]
    metrics: Metrics
    timeline: dict[int, list[Span]]
    samples: tuple[tuple[int, str, str], ...]
    notes: tuple[str, ...]


def load_run(run_dir: str | Path) -> Run:
    """Read a run folder.

    Raises:
        DataError: it is not a run folder, holds no metrics, or one of its files is broken.
        ConfigError: its config.yaml is not a run configuration.
    """
    folder = Path(run_dir)
    if not (folder / "config.yaml").is_file():
        raise DataError(f"{run_dir} is not a run folder: it has no config.yaml",
                        "a report is made from the folder that a run wrote", "give the run_dir of a run, such as "
                        "runs/<name>", str(run_dir))
    metrics = load_metrics(folder)
    timeline, timeline_notes = load_timeline(folder)
    samples, sample_notes = _load_samples(folder / "samples.jsonl")
    return Run(folder, load_config(folder / "config.yaml"), facts.load_manifest(folder), metrics, timeline, samples,
               (*metrics.notes, *timeline_notes, *sample_notes))


def _load_samples(path: Path) -> tuple[tuple[tuple[int, str, str], ...], list[str]]:
    if not path.is_file():
        return (), []
    records, notes = read_json_lines(path)
    try:
        samples = [(int(record["iteration"]), str(record["prompt"]), str(record["text"])) for _, record in records]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: a sample cannot be read: {error}", "it could not be shown",
                        "repair or remove the file", str(path)) from error
    return tuple(sorted(samples, key=lambda sample: -sample[0])), notes


def render_page(run: Run) -> str:
    """Return the page as HTML. The same folder gives the same text."""
    sections = [_head(run), _progress(run), _time(run), _timeline(run), _samples(run), _settings(run), _origin(run)]
    template = Template(resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(title=html.escape(f"{run.config.name} – training report"), colours=build_css(),
                               body="\n".join(part for part in sections if part))


def save_report(run_dir: str | Path, output: str | Path | None = None) -> Path:
    """Write the report of a run folder; return its path.

    Args:
        output: file name; None: ``report.html`` in the run folder.

    Raises:
        DataError, ConfigError: as :func:`load_run`, or ``output`` cannot be written.
        EnvironmentError: matplotlib is not installed.
    """
    page = render_page(load_run(run_dir))
    path = Path(output) if output is not None else Path(run_dir) / "report.html"
    write_text(path, page)
    return path


def _data_parallel_size(run: Run) -> int:
    parallel = run.config.parallel
    return max(1, run.metrics.world_size // (parallel.tensor_model_parallel_size
                                             * parallel.pipeline_model_parallel_size))


def _summary(run: Run) -> str:
    model, parallel, metrics = run.config.model, run.config.parallel, run.metrics
    parameters = run.manifest.get("num_parameters")
    size = f" of {facts.format_count(parameters)} parameters" if isinstance(parameters, int) else ""
    text = (f"A {'GPT' if model.style == 'gpt' else 'Llama-style'} model{size} ({model.num_layers} layers, hidden size "
            f"{model.hidden_size}, {model.num_attention_heads} heads, sequence length {model.seq_length}) ")
    if not metrics.train:
        return text + "has not finished a step yet."
    text += (f"trained on {facts.format_count(metrics.consumed_tokens)} tokens in {metrics.train[-1].iteration:,} "
             f"steps on {metrics.world_size} ranks (tensor {parallel.tensor_model_parallel_size} × pipeline "
             f"{parallel.pipeline_model_parallel_size} × data {_data_parallel_size(run)}). The training loss went "
             f"from {_loss(metrics.train[0].lm_loss)} to {_loss(metrics.train[-1].lm_loss)}")
    if metrics.validations:
        last = metrics.validations[-1]
        text += (f"; the validation loss is {_loss(last.lm_loss)} (perplexity {last.perplexity:,.4g}) after step "
                 f"{last.iteration:,}")
    return text + f". The median throughput is {facts.format_count(metrics.median('tokens_per_s'))} tokens per second."


def _loss(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "not finite"


def _head(run: Run) -> str:
    metrics, config = run.metrics, run.config
    end = metrics.end
    target = f" of {config.num_steps:,}" if config.num_steps else ""
    state = (f"{_ENDINGS.get(end.reason, f'It ended ({end.reason})')} after step {end.iteration:,}{target}." if end
             else f"It has no end on record: still running, or killed after step "
                  f"{metrics.train[-1].iteration if metrics.train else 0:,}{target}.")
    if metrics.starts and math.isfinite(metrics.starts[0].time):
        state = f"Started {datetime.fromtimestamp(metrics.starts[0].time, UTC):%Y-%m-%d %H:%M} UTC. " + state
    if metrics.resumes:
        where = ", ".join(f"{start.iteration:,}" for start in metrics.resumes)
        state += f" It was resumed after step {where}."
    if metrics.repeated:
        state += f" {metrics.explain_repeats()}"
    elif metrics.abandoned_steps:
        state += f" {metrics.abandoned_steps:,} steps were done again after a resume; the later ones are shown."
    tiles = {"tokens": facts.format_count(metrics.consumed_tokens), "steps": f"{len(metrics.train):,}"}
    if metrics.train:
        tiles["training loss"] = _loss(metrics.train[-1].lm_loss)
    if metrics.validations:
        tiles["validation loss"] = _loss(metrics.validations[-1].lm_loss)
    tiles |= {"tokens/s": facts.format_count(metrics.median("tokens_per_s")),
              "arithmetic": facts.format_flops(metrics.median("flops_per_s")),
              "time per step": facts.format_duration(metrics.median("step_s"))}
    skipped = sum(step.skipped for step in metrics.train)
    if skipped:
        tiles["skipped steps"] = f"{skipped:,}"
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in tiles.items())
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in run.notes)
    return (f"<h1>{html.escape(config.name)}</h1><p class=\"lead\">{html.escape(_summary(run))}</p>"
            f'<p class="muted">{html.escape(state)} Rates and times are medians over steps.</p>'
            + (f'<div class="notes">{notes}</div>' if notes else "") + f'<dl class="tiles">{cells}</dl>')


def _figure(svg: str, label: str, caption: str, wide: bool = False) -> str:
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(label)}" ', 1)
    return (f"<figure>{'<div class=scroll>' if wide else ''}{svg}{'</div>' if wide else ''}"
            f"<figcaption>{html.escape(caption)}</figcaption></figure>")


def _progress(run: Run) -> str:
    if not run.metrics.train:
        return ""
    first = run.metrics.train[0]
    vocabulary = run.manifest.get("padded_vocab_size")
    chance = (f" A model that knows nothing has {math.log(vocabulary):.2f}, the logarithm of the vocabulary size."
              if isinstance(vocabulary, int) and vocabulary > 1 else "")
    loss = _figure(figures.draw_loss(run.metrics), "Training and validation loss over steps",
                   f"Mean cross-entropy per token, from {_loss(first.lm_loss)} at step {first.iteration}.{chance}")
    schedule = _figure(figures.draw_schedule(run.metrics), "Learning rate and gradient norm over steps",
                       "Learning rate as scheduled in tokens; gradient norm before clipping.")
    return f'<h2>Learning</h2><div class="pair">{loss}{schedule}</div>'


def _time(run: Run) -> str:
    metrics = run.metrics
    if not metrics.train:
        return ""
    throughput = _figure(figures.draw_throughput(metrics), "Tokens per second over steps",
                         f"Median {metrics.median('tokens_per_s'):,.0f} tokens per second, "
                         f"{facts.format_flops(metrics.median('flops_per_s'))} over all ranks.")
    means = metrics.mean_time_s()
    if not means:
        return f'<h2>Speed</h2><div class="pair">{throughput}</div>'
    split = _figure(figures.draw_time_split(metrics), "Seconds per step by category, stacked",
                    "Where the seconds of a step go, mean over ranks. Waiting for another rank counts as "
                    "communication with it.")
    total = sum(means.values())
    rows = [[f'<span class="swatch" style="background:var(--{name})"></span>{figures.CATEGORY_LABELS[name]}',
             facts.format_duration(value), f"{value / total:.1%}" if total else "–"]
            for name, value in ((name, means[name]) for name in TIME_CATEGORIES)]
    rows.append(["<b>step</b>", facts.format_duration(total), "100.0%" if total else "–"])
    return (f'<h2>Speed</h2><div class="pair">{throughput}{split}</div><h3>Mean time of a step</h3>'
            + facts.render_table(["", "time", "share"], rows, numeric=True) + _checkpoints(metrics))


def _checkpoints(metrics: Metrics) -> str:
    if not metrics.checkpoints:
        return ""
    seconds = [item.save_s for item in metrics.checkpoints if math.isfinite(item.save_s)]
    took = f", in {facts.format_duration(sum(seconds) / len(seconds))} on average" if seconds else ""
    last, number = metrics.checkpoints[-1], len(metrics.checkpoints)
    return (f"<p>{number:,} {'checkpoint was' if number == 1 else 'checkpoints were'} written{took}. The latest is "
            f"<code>{html.escape(last.path)}</code>, after step {last.iteration:,}.</p>")


def _timeline(run: Run) -> str:
    if not run.timeline:
        return ""
    iteration, spans = list(run.timeline.items())[-1]
    lanes = build_lanes(spans)
    stages = run.config.parallel.pipeline_model_parallel_size
    num_ranks = len({span.rank for span in spans})
    lane_words = (f"one lane per pipeline stage (of {num_ranks} ranks, those of tensor and data rank 0)"
                  if num_ranks > MAX_LANES else "one lane per rank")
    text = f"Step {iteration:,}, {lane_words}. Numbers are micro-batches; empty places in a lane are waiting."
    share = bubble_share(spans)
    if share is not None and stages > 1:
        train = run.config.train
        microbatches = max(1, train.global_batch_size // (train.micro_batch_size * _data_parallel_size(run)))
        ideal = ideal_bubble_share(stages, microbatches,
                                   run.config.parallel.virtual_pipeline_model_parallel_size or 1)
        text += (f" The bubble, in which a rank runs neither forward nor backward, is {share:.1%} of the pipeline's "
                 f"time; with equal stages and free communication it would be {ideal:.1%} ({stages} stages, "
                 f"{microbatches} micro-batches).")
    others = [f"{other:,}" for other in run.timeline if other != iteration]
    if others:
        text += f" Step {', '.join(others)} was recorded too: mfugaku report --trace shows all."
    return "<h2>Pipeline timeline</h2>" + _figure(draw_timeline(lanes), "What each rank did during one step", text,
                                                  wide=True)


def _samples(run: Run) -> str:
    if not run.samples:
        return ""
    parts = []
    shown_iteration = None
    for iteration, prompt, text in run.samples[:_MAX_SAMPLES]:
        if iteration != shown_iteration:
            parts.append(f"<h3>After step {iteration:,}</h3>")
            shown_iteration = iteration
        rest = text[len(prompt):] if text.startswith(prompt) else text
        parts.append(f'<blockquote dir="auto"><b>{html.escape(prompt)}</b>{html.escape(rest.rstrip())}</blockquote>')
    more = len(run.samples) - _MAX_SAMPLES
    tail = f'<p class="muted">{more} earlier samples stand in samples.jsonl.</p>' if more > 0 else ""
    return ('<h2>Sample text</h2><p class="muted">The prompt is set in bold; the model wrote the rest.</p>'
            + "".join(parts) + tail)


def _settings(run: Run) -> str:
    return ('<h2>Settings</h2><p class="muted">What differs from the defaults; config.yaml in the run folder holds '
            "everything.</p>" + facts.render_pairs(facts.differing_settings(run.config)))


def _origin(run: Run) -> str:
    if not run.manifest:
        return ""
    words = {"num_parameters": "parameters"}
    nested = {name: value for name, value in run.manifest.items() if isinstance(value, dict | list) and value}
    plain = {words.get(name, name.replace("_", " ")): value for name, value in run.manifest.items()
             if name not in nested}
    parts = [facts.render_pairs(plain)] if plain else []
    for name, value in nested.items():
        if name == "patches":
            value = [_short_patch(patch) for patch in value]
        parts.append(f"<h3>{html.escape(name.replace('_', ' ').capitalize())}</h3>"
                     f"<div>{facts.render_value(value)}</div>")
    return "<h2>Versions, patches and machine</h2>" + "".join(parts)


def _short_patch(patch: Any) -> Any:
    """Leave out of a ledger entry what only a program compares; manifest.json has it."""
    if not isinstance(patch, dict):
        return patch
    return {name: value for name, value in patch.items() if name not in ("digest", "rebound")}
