"""``mfugaku plan CONFIG.yaml [--torus 48x6x48] [--write DIR]``: where the ranks of a run should go, and why."""

from __future__ import annotations

import argparse
from pathlib import Path

from megatron_fugaku.config import check_config, load_config
from megatron_fugaku.errors import EnvironmentError, PlanError


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("config", metavar="CONFIG", help="YAML file of the run")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="for example launch.num_nodes=64")
    parser.add_argument("--torus", metavar="SHAPE", help="nodes per axis: 48x6x48 on Fugaku, 4x4x4, 24x12l with a line "
                        "that is not closed (default: launch.topology)")
    parser.add_argument("--algorithm", choices=("lanes", "rings"), default="lanes", help="what the run's collectives "
                        "are: lanes over all links of a group, or rings in the order of the ranks (default: lanes)")
    parser.add_argument("--write", type=Path, metavar="DIR", help="write vcoordfile, rankfile and placement.json there")
    parser.add_argument("--hosts", type=Path, metavar="FILE", help="names of the nodes, one a line, the first axis of "
                        "the torus fastest; also writes the host list for srun --distribution=arbitrary")


def run(args: argparse.Namespace) -> int:
    """Search, explain, compare, and write what was asked for."""
    from megatron_fugaku.plan.map_search import search_map
    from megatron_fugaku.plan.step_time import FLAT_RINGS, LANES
    from megatron_fugaku.plan.topology import build_torus
    from megatron_fugaku.plan.traffic import plan_busiest_traffic, rank_matrix

    config = load_config(args.config, args.overrides)
    check_config(config, files=False)
    shape = args.torus or config.launch.topology
    if shape is None:
        raise PlanError("no torus is given", "ranks cannot be laid on it", "give --torus 48x6x48 or launch.topology",
                        "--torus")
    torus = build_torus(shape)
    hosts = _read_hosts(args, torus.num_nodes)
    step_traffic = plan_busiest_traffic(config)
    result = search_map(rank_matrix(config), torus, step_traffic, config.launch.ranks_per_node,
                        {"lanes": LANES, "rings": FLAT_RINGS}[args.algorithm])
    print(result.rank_map.explain())
    if torus.num_nodes == 1:
        print("All ranks share one node; no message passes a link.")
    else:
        _explain(result, step_traffic)
    if args.write is not None:
        files = _render_files(result.rank_map, step_traffic, config.launch.cpus_per_rank, hosts)
        _write_files(args.write, files)
        print(f"Wrote {args.write}: {', '.join(sorted(files))}.")
    return 0


def _explain(result, step_traffic) -> None:
    from megatron_fugaku.plan.compare import Comparison, render_variants
    from megatron_fugaku.plan.cost_model import MODELS

    print(f"Chosen from {result.num_maps} maps on {result.num_splits} splits of the axes: {1e3 * result.seconds:.1f} "
          f"ms of communication a step; half of them take {1e3 * result.median_s:.1f} ms or more, the worst "
          f"{1e3 * result.worst_s:.1f} ms.\n")
    print(_explain_traffic(step_traffic) + "\n")
    print(_explain_lanes(result.rank_map))
    comparison = Comparison(result.rank_map)
    for model in MODELS:
        print(f"Modelled, {model.name}; not measured:")
        print(render_variants(comparison.variants(step_traffic, model)))


def _explain_traffic(step_traffic) -> str:
    names = {"tp": "TP all-reduce", "pp": "PP message", "dp": "DP all-reduce",
             "embedding": "all-reduce of the tied embedding"}
    parts = [f"{phase.count} x {names[phase.kind]} of {phase.num_bytes / 1e6:.2f} MB" for phase in step_traffic.phases]
    return f"A rank's messages in a step ({step_traffic.name}): {', '.join(parts) or 'none'}."


def _explain_lanes(rank_map) -> str:
    lines = []
    for name in ("tp", "dp"):
        plan = rank_map.lanes(name)
        if not plan.lanes:
            continue
        axes = [rank_map.torus.axes[dimension.axis].name for dimension in plan.dimensions]
        ways = [f"{100 * lane.weight:.1f} % by " + " ".join(f"{axes[index]}{'-' if direction < 0 else '+'}"
                for index, direction in zip(lane.order, lane.directions, strict=True)) for lane in plan.lanes]
        lines.append(f"{name.upper()} lanes: {'; '.join(ways)}. The busiest link carries {plan.load:.4f} of the "
                     f"vector; the bound is {plan.bound:.4f}.\n")
    return "".join(lines)


def _read_hosts(args: argparse.Namespace, num_nodes: int) -> list[str] | None:
    from megatron_fugaku.plan.map_files import check_hosts, parse_hostfile

    if args.hosts is None:
        return None
    if args.write is None:
        raise PlanError("--hosts is given without --write", "names are needed for files only", "add --write DIR",
                        "--hosts")
    try:
        hosts = parse_hostfile(args.hosts.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{args.hosts} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}",
                        "nodes have no names without it", "give a file with one host name a line", "--hosts") from error
    check_hosts(hosts, num_nodes)
    return hosts


def _render_files(rank_map, step_traffic, cpus_per_rank: int | None, hosts: list[str] | None) -> dict[str, str]:
    from megatron_fugaku.plan import map_files
    from megatron_fugaku.plan.map_json import PLACEMENT_FILE, render_map

    coordinates = rank_map.coordinates
    nodes = map_files.row_numbers(rank_map.torus, coordinates)
    files = {PLACEMENT_FILE: render_map(rank_map, step_traffic),
             map_files.RANKFILE: map_files.render_rankfile(nodes, cpus_per_rank or 1, hosts)}
    if coordinates.shape[1] <= 3:
        cores = cpus_per_rank if rank_map.ranks_per_node > 1 else None
        files[map_files.VCOORDFILE] = map_files.render_vcoordfile(coordinates, cores)
    if hosts is not None:
        files[map_files.HOSTFILE] = map_files.render_hostfile(nodes, hosts)
    return files


def _write_files(folder: Path, files: dict[str, str]) -> None:
    from megatron_fugaku.atomic_file import write_text_atomically

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            write_text_atomically(folder / name, text)
    except OSError as error:
        raise EnvironmentError(f"{folder} cannot be written: {error.strerror}", "the ranks' nodes are lost",
                               "choose another folder", "--write") from error
