"""`python -m wagma_rma watch`: which run is shown, and a terminal that shows it until q."""

import argparse
import json
import os
import pty
import select
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.support.launch import ROOT
from tests.support.worlds import layout_of
from wagma_rma.protocol.row import ENDS, Row
from wagma_rma.seeing import live
from wagma_rma.seeing.pages import ROW_AT, find_pages, open_page, pages_of
from wagma_rma.testing import ThreadMemory, ThreadWindow
from wagma_rma.testing.rows import write_calls
from wagma_rma.waiting.processes import own_process

LAYOUT = layout_of([np.zeros(3, np.float32)])


def opened(identity="run", rank=0, ranks=2, host=0, hosts=1):
    """Return a row that other programs see, and its page."""
    row = Row(ThreadWindow(ThreadMemory(1, LAYOUT.nbytes), 0), LAYOUT)
    page = open_page(identity, rank, ranks, host, hosts)
    row.show(page, ROW_AT)
    now = time.monotonic()
    row.open(own_process(), "a", 0, now - 1.3)
    # Its calls take no time, and the last one is just over.
    each = 0.1 * (1 + rank)
    write_calls(row, now - 5 * each, [each] * 6, seconds=0.0, waited=0.0, late=[False] * 6)
    return row, page


@pytest.fixture
def two():
    rows = [opened(rank=rank) for rank in range(2)]
    yield [row for row, _ in rows]
    for row, page in rows:
        row.hide()
        page.close()


def own_pages():
    return sorted(page for page in pages_of(os.getpid()))


def test_pages_are_found_until_they_are_closed(two):
    found = own_pages()
    assert [(page.identity, page.rank, page.ranks, page.host, page.hosts) for page in found] == [
        ("run", 0, 2, 0, 1),
        ("run", 1, 2, 0, 1),
    ]
    assert [page.row.step for page in found] == [6, 6]
    assert {page.identity for page in find_pages()} >= {"run"}
    assert list(pages_of(1 << 22)) == []


def test_a_closed_page_is_not_found():
    row, page = opened("closed")
    row.hide()
    page.close()
    assert "closed" not in {page.identity for page in own_pages()}


def test_the_only_run_is_watched_and_others_are_named(two):
    runs = live.grouped(own_pages())
    assert [list(run.pages) for run in runs] == [[0, 1]]
    assert live.choose(runs, None) is live.choose(runs, os.getpid()) is runs[0]
    with pytest.raises(
        LookupError, match=rf"process 1 is not yours, .* there are {os.getpid()} \(.*2 of 2 ranks\)"
    ):
        live.choose(runs, 1)
    with pytest.raises(LookupError, match=r"no process of yours on this host has an averager that is open$"):
        live.choose([], None)


def test_several_programs_are_told_apart_and_of_one_program_the_last_averager_is_watched(two):
    other, other_page = opened("other")
    later, later_page = opened("later")
    try:
        pids = {"other": os.getpid() ^ 1}  # as if it were another process
        runs = live.grouped(page._replace(pid=pids.get(page.identity, page.pid)) for page in own_pages())
        with pytest.raises(LookupError, match="several programs run here; pass a process of one: "):
            live.choose(runs, None)
        assert live.choose(runs, os.getpid()).identity == "later"
        assert live.choose(runs, os.getpid() ^ 1).identity == "other"
    finally:
        for row, page in ((other, other_page), (later, later_page)):
            row.hide()
            page.close()


def test_a_run_on_several_hosts_says_which_ranks_are_here():
    row, page = opened("far", ranks=8, host=1, hosts=4)
    try:
        [run] = [run for run in live.grouped(own_pages()) if run.identity == "far"]
        assert run.heading.endswith(": 1 of 8 ranks, host 1 of 4")
    finally:
        row.hide()
        page.close()


def asked(**options):
    usual = {"pid": os.getpid(), "once": True, "json": False, "every": 0.05}
    return argparse.Namespace(**(usual | options))


def test_once_prints_the_table_and_json_a_line(two, capsys):
    assert live.run(asked()) == 0
    heading, _, first, second = capsys.readouterr().out.splitlines()
    assert heading.endswith("2 of 2 ranks")
    assert [line.split()[0] for line in (first, second)] == ["1", "0"]
    assert live.run(asked(json=True)) == 0
    told = json.loads(capsys.readouterr().out)
    assert [rank["verdict"] for rank in told["ranks"]] == ["fine", "chronic"]
    assert live.run(asked(pid=1)) == 2
    assert "is not yours" in capsys.readouterr().err


def test_it_ends_when_the_run_does(two, capsys):
    for row in two:
        row.set_activity(ENDS["closed"])
    assert live.run(asked(once=False)) == 0
    assert capsys.readouterr().out.count("closed") == 2


def screen_of(terminal, until, seconds=30):
    """Return what a program writes to a terminal, until it has written a text."""
    written, limit = "", time.monotonic() + seconds
    while until not in written:
        assert time.monotonic() < limit, written
        if select.select([terminal], [], [], 0.1)[0]:
            written += os.read(terminal, 65536).decode(errors="replace")
    return written


def test_a_terminal_shows_the_table_until_q(two):
    mine, its = pty.openpty()
    command = [sys.executable, "-m", "wagma_rma", "watch", str(os.getpid()), "--every", "0.1"]
    watch = subprocess.Popen(
        command,
        stdin=its,
        stdout=its,
        stderr=its,
        cwd=ROOT,
        env={**os.environ, "TERM": "xterm", "LINES": "24", "COLUMNS": "100"},
    )
    try:
        written = screen_of(mine, "q: quit")
        assert "chronic: 2.0x" in written
        two[0].set_activity(ENDS["left"])
        screen_of(mine, "left")
        os.write(mine, b"q")
        screen_of(mine, "2 of 2 ranks")  # the table stays on the screen
        assert watch.wait(30) == 0
    finally:
        watch.kill()
        watch.wait()
        os.close(its)
        os.close(mine)


def test_the_commands_start_no_mpi(two):
    program = (
        "import runpy, sys; sys.argv = ['-m', 'watch']; import wagma_rma; from mpi4py import MPI; "
        "sys.exit(MPI.Is_initialized())"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=60).returncode == 0
