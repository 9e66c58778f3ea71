"""Job folders: everything a batch system needs to run one YAML file, rendered from it and written at once."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from megatron_fugaku.config import RunConfig, data_parallel_size, dump_config
from megatron_fugaku.errors import LaunchError, PlanError
from megatron_fugaku.plan.map_files import VCOORDFILE, render_vcoordfile
from megatron_fugaku.plan.map_json import PLACEMENT_FILE, render_map
from megatron_fugaku.plan.map_search import search_map
from megatron_fugaku.plan.memory import GIB, MemoryPlan, check_memory, plan_memory
from megatron_fugaku.plan.rank_map import RankMap
from megatron_fugaku.plan.topology import build_torus, parse_torus
from megatron_fugaku.plan.traffic import plan_busiest_traffic, rank_matrix

SYSTEMS = ("pjm", "slurm")
_PLACEMENT_FILES = {"pjm": VCOORDFILE}


@dataclass(frozen=True)
class Job:
    """A rendered job: text per file name, and what to tell the person who asked for it."""

    files: Mapping[str, str]
    summary: str


def quote_for_shell(text: str) -> str:
    """Quote ``text`` for bash so that shell variables in it still expand."""
    escaped = "".join("\\" + char if char in '"`\\' else char for char in str(text))
    return f'"{escaped}"'


def plan_placement(config: RunConfig) -> RankMap | None:
    """Return the best map onto the torus that ``launch`` names, for collectives by lanes; None when it names none.

    Raises:
        PlanError: topology, pjm.node, num_nodes and the parallel sizes do not agree.
    """
    launch = config.launch
    if launch.pjm.node is not None:
        shape = parse_torus(launch.pjm.node)
        count = 1
        for size in shape:
            count *= size
        if count != launch.num_nodes:
            raise PlanError(f"launch.pjm.node {launch.pjm.node} holds {count} nodes but launch.num_nodes is "
                            f"{launch.num_nodes}", "ranks and nodes would not match", "make them agree",
                            "launch.pjm.node")
        if launch.topology is not None and parse_torus(launch.topology) != shape:
            raise PlanError(f"launch.topology {launch.topology} differs from launch.pjm.node {launch.pjm.node}",
                            "ranks would be placed on nodes that the job does not have", "make them agree",
                            "launch.topology")
    if launch.topology is None:
        return None
    parse_torus(launch.topology)  # jobs have one to three axes
    return search_map(rank_matrix(config), build_torus(launch.topology), plan_busiest_traffic(config),
                      launch.ranks_per_node).rank_map


def estimate_memory(config: RunConfig) -> MemoryPlan | None:
    """Return the memory estimate, checked against launch.node_memory_gib; None when the vocabulary is unknown.

    Raises:
        PlanError: a node would not hold its ranks.
    """
    if config.model.vocab_size is None:
        return None
    plan = plan_memory(config)
    if config.launch.node_memory_gib is not None:
        check_memory(plan, int(config.launch.node_memory_gib * GIB))
    return plan


def explain_layout(config: RunConfig) -> str:
    """Return ``13824 ranks = tensor 6 x data 288 x pipeline 8, 1 per node on 13824 nodes``."""
    parallel, launch = config.parallel, config.launch
    dp = data_parallel_size(config, config.num_ranks)
    return (f"{config.num_ranks} ranks = tensor {parallel.tensor_model_parallel_size} x data {dp} x pipeline "
            f"{parallel.pipeline_model_parallel_size}, {launch.ranks_per_node} per node on {launch.num_nodes} "
            f"node{'s' * (launch.num_nodes > 1)}")


def render_job(config: RunConfig, system: str, folder: str) -> Job:
    """Render the files of a job.

    Args:
        config: a checked run.
        system: "pjm" or "slurm".
        folder: the job folder as scripts shall name it; a relative one is relative to the directory of submission.

    Raises:
        PlanError: the ranks do not fit the torus or the memory of a node.
    """
    import jinja2

    placement = plan_placement(config) if system == "pjm" else None
    memory = estimate_memory(config)
    launch = config.launch
    context = {
        "config": config, "launch": launch, "system": system, "folder": folder,
        "python": launch.python or sys.executable, "num_nodes": launch.num_nodes, "num_ranks": config.num_ranks,
        "ranks_per_node": launch.ranks_per_node, "cpus_per_rank": launch.cpus_per_rank, "placement": placement,
        "layout": explain_layout(config), "lanes_file": PLACEMENT_FILE if placement else None,
        "placement_file": _PLACEMENT_FILES.get(system) if placement else None,
        "placement_sentence": placement.explain() if placement else None,
        "memory_table": memory.explain() if memory else None, "run_directory": str(config.directory),
        "checkpoint_directory": str(config.checkpoint_directory),
    }
    engine = jinja2.Environment(
        loader=jinja2.PackageLoader("megatron_fugaku.launch"), undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True, autoescape=False)
    engine.filters["shell"] = quote_for_shell

    def render(template: str) -> str:
        return engine.get_template(template).render(context)

    files = {"job.sh": render(f"{system}_job.sh.j2"), "environment.sh": render(f"{system}_environment.sh.j2"),
             "config.yaml": dump_config(config), "README.txt": render("README.txt.j2")}
    if placement is not None:
        cores = launch.cpus_per_rank if launch.ranks_per_node > 1 else None
        files[VCOORDFILE] = render_vcoordfile(placement.coordinates, cores)
        files[PLACEMENT_FILE] = render_map(placement, plan_busiest_traffic(config))
    lines = [context["layout"] + "."]
    lines += [placement.explain()] if placement else []
    lines.append(f"Memory:\n{memory.explain()}" if memory else "Memory: not estimated, model.vocab_size is not given.")
    return Job(files, "\n".join(lines))


def write_job(config: RunConfig, system: str, output: Path, overwrite: bool = False) -> Job:
    """Render a job and write its folder; it appears complete or not at all.

    Args:
        config: a checked run.
        system: "pjm" or "slurm".
        output: folder to make.
        overwrite: replace a job folder that stands there; any other folder is left alone.

    Raises:
        LaunchError: ``output`` exists, or cannot be written.
        PlanError: see :func:`render_job`.
    """
    job = render_job(config, system, str(output))
    if output.exists() and any(output.iterdir() if output.is_dir() else [output]):
        is_job = output.is_dir() and (output / "job.sh").is_file() and (output / "config.yaml").is_file()
        if not (overwrite and is_job):
            raise LaunchError(f"{output} exists already" + ("" if is_job else " and is not a job folder"),
                              "what stands there would be lost",
                              "give --overwrite to replace it" if is_job else "choose another folder", "--output")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
        try:
            for name, text in job.files.items():
                (temporary / name).write_text(text, encoding="utf-8")
                (temporary / name).chmod(0o755 if name == "job.sh" else 0o644)
            temporary.chmod(0o755)
            if output.exists():
                # A folder cannot be replaced in one step: set the old one aside, within it nothing is lost.
                old = temporary.with_name(temporary.name + ".old")
                os.replace(output, old)
                os.replace(temporary, output)
                shutil.rmtree(old)
            else:
                os.replace(temporary, output)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise LaunchError(f"{output} cannot be written: {error.strerror}", "the job cannot be submitted without it",
                          "choose a folder that can be written", "--output") from error
    command = "pjsub" if system == "pjm" else "sbatch"
    return Job(job.files, f"{job.summary}\nWrote {output}: {', '.join(sorted(job.files))}. Submit with: {command} "
               f"{output / 'job.sh'}")
