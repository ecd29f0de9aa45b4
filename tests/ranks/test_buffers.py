"""Models that lie in the window: nobody writes to what others read, and nobody loses memory in use."""

import pytest

from tests.support import launch, pool


def test_buffers_keep_their_contract():
    for facts in pool.run(2, "ranks.buffers:contract"):
        assert facts == {
            "start": [["w", "b"], "float32", [], [7.0]],
            "same again": True,
            "group step": [[10.5], [True, True], True],
            "published": [True, [False, False]],
            "in place": [True, [20.5], [True, True]],
            "from outside": [[30.5], [True] * 4, True],
            "synchronised": [[40.5], True],
            "to outside": [[50.5], [False, False]],
            "then": [True, [True, True]],
            "in part": [[60.5], [True, True]],
            "counts": [5, 1, 0],
        }, f"ranks.buffers: {facts}"


def test_views_of_buffers_are_models_and_outputs_like_any_other():
    for facts in pool.run(2, "ranks.buffers:strange"):
        assert facts == {
            "reversed": True,
            "turned": True,
            "one row": True,
            "unpublished": 0,
            "refused": True,
            "freed": True,
            "nothing": [True, True],
        }, f"ranks.buffers: {facts}"


@pytest.mark.parametrize("then", ["average", "synchronize", "buffers"])
@pytest.mark.parametrize("method, when", [("lend", "after"), ("besides", "after"), ("settle", "before")])
def test_control_c_around_a_loan_loses_no_slot_and_lends_no_published_one(method, when, then):
    for facts in pool.run(2, "ranks.buffers:interrupted", method=method, when=when, then=then):
        came, *mean = facts[: 2 if then == "synchronize" else 1]
        assert came
        assert all(values == [0.5] for values in mean)
        steps = [fact for step in range(4) for fact in (True, [step + 0.5])]
        assert facts[-10:] == [*steps, 1, 0], f"ranks.buffers: {facts}"


@pytest.mark.parametrize("keepers", [[], [1], [0, 1]], ids=["nobody", "one rank", "both"])
def test_arrays_outlive_the_averager(keepers):
    for rank, (part, window_was) in enumerate(launch.run(2, "ranks.buffers:outlive", keepers=keepers)):
        assert part == ([0.5] * 10 if rank in keepers else []), f"ranks.buffers: {part}"
        assert window_was == ("open" if keepers else "freed"), f"ranks.buffers: the window was {window_was}"


def test_a_step_that_is_cut_short_leaves_the_model_as_it_came():
    waiting, absent = pool.run(2, "ranks.buffers:cut_short")
    mean = [True, [30.5]]
    assert waiting == {
        "outcome": "MISSED",
        "published": False,
        "next": [True, [5.0]],
        "refused": True,
        "mean": mean,
    }
    assert absent == {"mean": mean}


@pytest.mark.skipif(bool(launch.TEST_HOSTS), reason="asks for the window of one host")
def test_averages_lie_elsewhere_while_all_snapshots_are_read():
    facts = pool.run(2, "ranks.buffers:pinned")
    for step, ranks in enumerate(zip(*facts, strict=True), start=1):
        if all(published for published, _, _ in ranks):
            assert [values for _, values, _ in ranks] == [[step + 0.5]] * 2, f"step {step}"
    for rank in facts:
        in_window = [lies_there for _, _, lies_there in rank]
        assert not all(in_window), "some step must have found no slot free"
        assert in_window[-1] and rank[-1][0], "the last must have found one"
