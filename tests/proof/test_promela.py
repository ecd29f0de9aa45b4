"""The Promela model speaks of the code as it is, and SPIN finds no error in it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.proof.anchors import ROOT, Sources

MODEL = Path(__file__).parent / "promela"
OPERATES_ON_WORDS = re.compile(r"self\.window\.(load|fetch_add|fetch_max|compare_and_swap)\(")


@pytest.fixture(scope="module")
def methods():
    """Return the body of every method of the protocol's classes, by "Class.method"."""
    sources = Sources.read(package="wagma_rma/protocol")
    return {name: sources.body(name) for name in sources.functions() if "." in name}


def modelled():
    """Return the names that the model says it stands for."""
    text = "\n".join(path.read_text() for path in sorted(MODEL.glob("*.pml")))
    comments = re.findall(r"/\* stands for: ([^*]*) \*/", text)
    assert len(comments) == text.count("stands for:"), "a comment names what it stands for in another form"
    return {name.strip() for comment in comments for name in comment.split(",")}


def test_all_that_the_model_stands_for_exists(methods):
    assert modelled(), "the model names nothing of the code"
    missing = modelled() - set(methods)
    assert not missing, f"the model stands for what no longer exists: {', '.join(sorted(missing))}"


def test_all_that_operates_on_words_of_the_protocol_is_in_the_model(methods):
    operating = {name for name, body in methods.items() if OPERATES_ON_WORDS.search(body)}
    assert {"Record.arrive", "Exchange.begin_mark", "Snapshots.pin", "Announcements.raise_own"} <= operating
    missing = operating - modelled()
    assert not missing, f"the model leaves out {', '.join(sorted(missing))}"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("spin") is None, reason="spin is not on the PATH")
def test_spin_finds_no_error_in_the_quick_models():
    command = [sys.executable, "-m", "tests.proof.promela.check", "--quick"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.fullmatch(r"\d+ models, 0 errors", ran.stdout.splitlines()[-1])
