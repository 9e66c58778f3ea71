import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_fugaku.errors import PlanError
from megatron_fugaku.launch.machine import (
    Core,
    Cores,
    find_cores,
    parse_cpu_list,
    plan_placement,
    read_cpu_quota,
    read_memory_bytes,
    read_memory_limit_bytes,
)


def write(root, path, text):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def a64fx() -> Cores:
    """One Fugaku node: 48 cores 12 to 59 in four CMGs, which are NUMA nodes 4 to 7."""
    return Cores(tuple(Core((12 + index,), 4 + index // 12) for index in range(48)))


def test_cpu_lists():
    assert parse_cpu_list("0-3,8\n") == [0, 1, 2, 3, 8]
    assert parse_cpu_list("") == []


def test_hardware_threads_of_a_core_count_once(tmp_path):
    for cpu in range(8):
        write(tmp_path, f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", f"{cpu % 4},{cpu % 4 + 4}")
    write(tmp_path, "sys/devices/system/node/node0/cpulist", "0-1,4-5")
    write(tmp_path, "sys/devices/system/node/node1/cpulist", "2-3,6-7")
    cores = find_cores({0, 1, 2, 3, 4, 5, 6, 7}, tmp_path)
    assert [core.cpus for core in cores.cores] == [(0, 4), (1, 5), (2, 6), (3, 7)]
    assert [core.numa_node for core in cores.cores] == [0, 0, 1, 1]
    # The affinity mask may hold one thread of a core only.
    assert [core.cpus for core in find_cores({1, 2, 6}, tmp_path).cores] == [(1,), (2, 6)]


def test_this_machine_has_cores():
    cores = find_cores()
    assert {cpu for core in cores.cores for cpu in core.cpus} == os.sched_getaffinity(0)
    assert 1 <= cores.num_usable <= len(cores.cores)


def test_quota_and_limit_of_cgroup_v2(tmp_path):
    write(tmp_path, "proc/self/cgroup", "0::/user/job\n")
    write(tmp_path, "sys/fs/cgroup/user/cpu.max", "250000 100000")
    write(tmp_path, "sys/fs/cgroup/user/job/cpu.max", "max 100000")
    write(tmp_path, "sys/fs/cgroup/user/job/memory.max", "4294967296")
    assert read_cpu_quota(tmp_path) == 2.5
    assert read_memory_limit_bytes(tmp_path) == 4 << 30


def test_quota_and_limit_of_cgroup_v1(tmp_path):
    write(tmp_path, "proc/self/cgroup", "4:memory:/job\n3:cpu,cpuacct:/job\n")
    write(tmp_path, "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "150000")
    write(tmp_path, "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000")
    write(tmp_path, "sys/fs/cgroup/memory/job/memory.limit_in_bytes", "9223372036854771712")
    assert read_cpu_quota(tmp_path) == 1.5
    assert read_memory_limit_bytes(tmp_path) is None


def test_no_cgroup_means_no_limit(tmp_path):
    assert read_cpu_quota(tmp_path) is None and read_memory_limit_bytes(tmp_path) is None
    assert read_memory_bytes(tmp_path) == {}


def test_memory_is_in_bytes_and_counts_stay_counts(tmp_path):
    write(tmp_path, "proc/meminfo", "MemTotal:       32 kB\nHugePages_Total:       3\n")
    assert read_memory_bytes(tmp_path) == {"MemTotal": 32768, "HugePages_Total": 3}


def test_ranks_take_whole_cmgs():
    placement = plan_placement(4, a64fx())
    assert placement.num_threads == 12 and not placement.is_oversubscribed
    assert placement.cpu_sets == tuple(tuple(range(12 + 12 * cmg, 24 + 12 * cmg)) for cmg in range(4))
    assert placement.reason == "4 x 12 of 48 cores on 4 NUMA nodes, each rank bound to its own"


def test_a_rank_starts_on_the_next_node_when_there_is_room():
    placement = plan_placement(4, a64fx(), threads_per_rank=8)
    assert [cpus[0] for cpus in placement.cpu_sets] == [12, 24, 36, 48]
    # Five ranks of eight do not fit that way, so that some straddle two nodes.
    assert len(plan_placement(5, a64fx(), threads_per_rank=8).cpu_sets) == 5


def test_more_ranks_than_cores():
    placement = plan_placement(4, Cores((Core((0,), 0), Core((1,), 0))))
    assert placement.num_threads == 1 and placement.is_oversubscribed and placement.cpu_sets is None
    assert plan_placement(1, Cores((Core((0,), 0),)), threads_per_rank=2).is_oversubscribed


def test_a_quota_leaves_placement_to_the_kernel():
    placement = plan_placement(2, Cores(a64fx().cores, cpu_quota=9.0))
    assert placement.num_threads == 4 and placement.cpu_sets is None and not placement.is_oversubscribed
    assert Cores(a64fx().cores, cpu_quota=0.5).num_usable == 1


@pytest.mark.parametrize("ranks, threads", [(0, None), (1, 0)])
def test_nothing_cannot_be_placed(ranks, threads):
    with pytest.raises(PlanError, match="at least one thread"):
        plan_placement(ranks, a64fx(), threads)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=4), st.integers(1, 12), st.integers(1, 5))
def test_no_core_is_given_twice(nodes, num_ranks, threads):
    counts = [(node, index) for node, size in enumerate(nodes) for index in range(size)]
    cores = Cores(tuple(Core((cpu,), node) for cpu, (node, _) in enumerate(counts)) or (Core((0,), 0),))
    placement = plan_placement(num_ranks, cores, threads)
    if placement.cpu_sets is None:
        assert num_ranks * threads > len(cores.cores)
        return
    taken = [cpu for cpus in placement.cpu_sets for cpu in cpus]
    assert len(taken) == len(set(taken)) == num_ranks * threads
    assert all(len(cpus) == threads for cpus in placement.cpu_sets)
