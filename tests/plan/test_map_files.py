import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torus_layouts import layouts, traffics

from megatron_fugaku.errors import PlanError
from megatron_fugaku.plan import map_files
from megatron_fugaku.plan.map_search import search_map
from megatron_fugaku.plan.topology import build_torus


@settings(max_examples=150)
@given(layouts(most_ranks=512), traffics(), st.sampled_from([None, 1, 12]))
def test_every_file_brings_every_rank_to_its_node(layout, traffic, cpus):
    ranks, torus, per_node = layout
    found = search_map(ranks, torus, traffic, per_node).rank_map
    coordinates = found.coordinates
    nodes = map_files.row_numbers(torus, coordinates)
    read, cores = map_files.parse_vcoordfile(map_files.render_vcoordfile(coordinates, cpus))
    assert np.array_equal(read, coordinates) and cores == cpus
    assert np.array_equal(torus.nodes(torus.to_physical(read)), found.nodes)

    hosts = [f"node-{number:04d}" for number in range(torus.num_nodes)]
    map_files.check_hosts(hosts, torus.num_nodes)
    assert map_files.parse_hostfile(map_files.render_hostfile(nodes, hosts)) == [hosts[node] for node in nodes]
    width = cpus or 1
    names, slots = map_files.parse_rankfile(map_files.render_rankfile(nodes, width, hosts))
    assert names == [hosts[node] for node in nodes]
    relative, same = map_files.parse_rankfile(map_files.render_rankfile(nodes, width))
    assert relative == [f"+n{node}" for node in nodes] and same == slots
    # Ranks of one node have cores of their own, from the first on.
    for node in range(torus.num_nodes):
        taken = sorted(slot for name, slot in zip(names, slots, strict=True) if name == hosts[node])
        assert taken == [(index * width, (index + 1) * width - 1) for index in range(per_node)]


def test_the_first_axis_runs_fastest():
    torus = build_torus("3x2")
    assert map_files.row_numbers(torus, np.array([[0, 0], [1, 0], [2, 0], [0, 1]])).tolist() == [0, 1, 2, 3]


def test_how_the_files_look():
    coordinates = np.array([[0, 3, 1], [2, 0, 0]])
    assert map_files.render_vcoordfile(coordinates) == "(0,3,1)\n(2,0,0)\n"
    assert map_files.render_vcoordfile(coordinates, 12) == "(0,3,1) core=12\n(2,0,0) core=12\n"
    assert map_files.render_rankfile(np.array([1, 1, 0]), 12, ["a", "b"]) == \
        "rank 0=b slot=0-11\nrank 1=b slot=12-23\nrank 2=a slot=0-11\n"
    assert map_files.render_rankfile(np.array([7]), 1) == "rank 0=+n7 slot=0\n"


@pytest.mark.parametrize("text, sentence", [
    ("(0,1)\n(0)\n", "differ in form"), ("", "differ in form"), ("(0,1) core=4\n(0,2)\n", "differ in form"),
    ("(0,1,2,3)\n", r"line 1 is '\(0,1,2,3\)'"), ("(0,1)\n0,2\n", "line 2 is '0,2'"), ("(-1,0)\n", "line 1")])
def test_bad_vcoordfiles(text, sentence):
    with pytest.raises(PlanError, match=sentence):
        map_files.parse_vcoordfile(text)


@pytest.mark.parametrize("text, sentence", [
    ("rank 0=a\n", "line 1"), ("rank 0=a slot=0\nrank 0=b slot=0\n", "line 2"),
    ("rank 1=a slot=0\n", "has 1 ranks, not all from 0 to 0"), ("rank 0=a b slot=0\n", "line 1")])
def test_bad_rankfiles(text, sentence):
    with pytest.raises(PlanError, match=sentence):
        map_files.parse_rankfile(text)


@pytest.mark.parametrize("text", ["a b\n", "a\n\nb\n", "-a\n"])
def test_bad_host_lists(text):
    with pytest.raises(PlanError, match=r"not of the form one host name.*\[slurm_hostfile\]"):
        map_files.parse_hostfile(text)


@pytest.mark.parametrize("hosts", [["a"], ["a", "b", "b"], ["a", "b", "c", "d"]])
def test_hosts_that_do_not_name_the_nodes(hosts):
    with pytest.raises(PlanError, match=r"are given for 3 nodes.*\[--hosts\]"):
        map_files.check_hosts(hosts, 3)


def test_four_axes_have_no_vcoordfile():
    with pytest.raises(PlanError, match="the torus has 4 axes"):
        map_files.render_vcoordfile(np.zeros((2, 4), np.int64))
