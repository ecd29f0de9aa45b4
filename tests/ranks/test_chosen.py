"""An averager says what was chosen for it: attributes that can only be read, and its repr()."""

from tests.support import launch, pool

RANKS = 4


def test_attributes_say_what_was_chosen_and_repr_shows_them():
    for rank, (told, nbytes, nbytes_of_pairs) in enumerate(pool.run(RANKS, "ranks.chosen:attributes")):
        (usual, shown), (given, _), (remote, shown_remote), (_, named) = told
        if not launch.TEST_HOSTS:
            assert usual == {
                "group_size": 2,
                "sync_period": 10,
                "group_period": 1,
                "quorum": 1,
                "patience": "auto",
                "sync_quorum": RANKS,
                "overlap": False,
                "window": "shared",
                "progress": "none",
                "hosts": [0] * RANKS,
                "bytes": nbytes,
            }
            assert shown == (
                f"<GroupAverager of rank {rank} of 4 at step 1: group_size=2, sync_period=10, "
                f"group_period=1, quorum=1, patience='auto', sync_quorum=4, overlap=False, window='shared', "
                f"progress='none', 1 host, {nbytes:,} bytes>"
            )
            assert given["bytes"] == nbytes_of_pairs
        chosen = {"group_size": 2, "sync_period": 7, "group_period": 3, "quorum": 2, "patience": 0.5}
        chosen["overlap"] = True
        assert {name: given[name] for name in chosen} == chosen
        assert (remote["window"], remote["progress"]) == ("remote", "none")
        assert "window='remote', progress='none'" in shown_remote
        assert named.startswith(f"<Binding of rank {rank} of 4 at step 0: ")
