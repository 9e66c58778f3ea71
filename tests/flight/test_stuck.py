"""Sentences about ranks that wait for each other, from records made up for it."""

from __future__ import annotations

from dataclasses import replace

from megatron_fugaku.flight import Group, Operation, RankRecord, build_flight_trace, explain_stuck

NOW_S = 1000.0


def group(name: str, members: tuple[int, ...], rank: int = 0, description: str = "") -> Group:
    return Group(name, description, len(members), members.index(rank) if rank in members else 0, members)


def operation(of: Group, name: str = "all_reduce", sequence: int = 1, begun_s: float = 30.0,
              took_s: float | None = None, peer: int = -1, num_bytes: int = 4 << 20) -> Operation:
    """``begun_s`` is how long ago; without ``took_s`` it is not over."""
    start_s = NOW_S - begun_s
    end_s = None if took_s is None else start_s + took_s
    return Operation(name, of, sequence, num_bytes, peer, "MPI", start_s, None, end_s, False)


def record(rank: int, *operations: Operation, num_ranks: int = 4, is_alive: bool | None = True,
           ending: str = "") -> RankRecord:
    return RankRecord(rank, num_ranks, 5000 + rank, "node1", NOW_S, ending, is_alive, operations)


def test_nothing_is_said_of_what_goes_on():
    tp = group("1", (0, 1))
    assert explain_stuck([record(0, operation(tp, begun_s=0.5)), record(1, operation(tp, took_s=0.1))]) == []


def test_who_waits_and_who_is_missing():
    dp = group("3", (0, 1, 2, 3), description="data")
    done = operation(dp, sequence=16, begun_s=60.0, took_s=1.0)
    waiting = operation(dp, sequence=17)
    [sentence] = explain_stuck([record(0, done, waiting), record(1, done), record(2, done, waiting),
                                record(3, done, waiting, is_alive=None)])
    assert sentence == ("group 'data' (ranks 0, 1, 2, 3): ranks 0, 2, 3 wait since 30.0 s in all_reduce number 17 "
                        "(4 MiB, MPI); missing: rank 1 is in no operation since 59.0 s, its last was all_reduce number "
                        "16 of group 'data'.")


def test_a_rank_that_has_just_come_waits_too():
    tp = group("1", (0, 1, 2))
    [sentence] = explain_stuck([record(0, operation(tp)), record(1, operation(tp, begun_s=0.1)), record(2)])
    assert "ranks 0, 1 wait since 30.0 s" in sentence and "missing: rank 2" in sentence


def test_the_group_whose_missing_rank_waits_for_nobody_comes_first():
    """0 waits for 1 in a group, 1 for 2 in another, and 2 is gone."""
    first, second = group("a", (0, 1)), group("b", (1, 2), 1)
    sentences = explain_stuck([record(0, operation(first)), record(1, operation(second, "broadcast")),
                               record(2, operation(second, begun_s=50, took_s=1, sequence=0), is_alive=False)])
    assert [text.split(":")[0] for text in sentences] == ["group 'b' (ranks 1, 2)", "group 'a' (ranks 0, 1)"]
    assert "missing: rank 2 is gone (process 5002 on node1)." in sentences[0]
    assert "missing: rank 1 is in broadcast number 1 of group 'b'." in sentences[1]


def test_ranks_that_leave_no_record_or_left_by_themselves():
    world = group("0", (0, 1, 2, 3))
    [sentence] = explain_stuck([record(0, operation(world)), record(1, ending="aborted"), record(2)])
    assert "rank 1 has aborted the job; rank 2 has called nothing yet; rank 3 left no record" in sentence


def test_messages_name_the_other_side():
    pp = group("p", (4, 6), 6)
    [sentence] = explain_stuck([record(6, operation(pp, "recv", 9, peer=0, num_bytes=8)), record(4)])
    assert sentence == ("group 'p': rank 6 waits since 30.0 s in recv number 9 from rank 4 (8 B); rank 4 has called "
                        "nothing yet.")
    [sentence] = explain_stuck([record(6, operation(pp, "recv", 9))])  # from any rank
    assert sentence == "group 'p': rank 6 waits since 30.0 s in recv number 9 (4 MiB)."


def test_all_have_come():
    world = group("0", (0, 1))
    [sentence] = explain_stuck([record(0, operation(world)), record(1, operation(world, begun_s=5))])
    assert "ranks 0, 1 wait since 30.0 s" in sentence and sentence.endswith("all have come, but it does not end.")
    stopped = replace(record(1, operation(world, begun_s=29)), beat_s=NOW_S - 29)
    [sentence] = explain_stuck([record(0, operation(world)), stopped])
    assert "rank 0 waits since" in sentence
    assert sentence.endswith("all have come, but rank 1 gives no sign of life since 29.0 s.")


def test_large_groups_are_told_in_short():
    world = group("0", tuple(range(13_824)))
    [sentence] = explain_stuck([record(rank, operation(world), num_ranks=13_824) for rank in range(100)])
    assert "ranks 0, 1, 2, 3, 4, 5 and 94 others wait since" in sentence
    assert "rank 103 left no record; 13720 others are missing too." in sentence


def test_members_that_were_too_many_to_note_are_those_with_a_record():
    noted = Group("0", "", 3, 0, ())
    [sentence] = explain_stuck([record(0, operation(noted, sequence=2)), record(1, operation(noted, took_s=1.0))])
    assert "(ranks 0, 1): rank 0 waits" in sentence and "missing: rank 1 is in no operation" in sentence


def test_a_trace_has_a_process_per_rank_and_a_thread_per_group():
    first, second = group("a", (0, 1), description="tensor"), group("b", (0, 1))
    trace = build_flight_trace([record(0, operation(first, took_s=2.0), operation(second, begun_s=10.0)), record(1)])
    events = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert [(event["name"], event["ts"], event["dur"]) for event in events] == [
        ("all_reduce", 0.0, 2e6), ("all_reduce (not over)", 20e6, 10e6)]
    names = {event["args"]["name"] for event in trace["traceEvents"] if event["name"] == "thread_name"}
    assert names == {"tensor", "b"}
    assert {event["pid"] for event in trace["traceEvents"] if event["name"] == "process_name"} == {0, 1}
