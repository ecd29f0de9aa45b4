"""The Promela model speaks of the code as it is, and SPIN finds no error in it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MODEL = Path(__file__).parent / "promela"
SOURCES = Path(__file__).parents[2] / "wagma_rma"
TOUCHES_WORDS = re.compile(r"self\.window\.(load|fetch_add|fetch_max|compare_and_swap)\(")


def methods():
    """Return the body of every method in the sources, by "Class.method"."""
    found = {}
    for path in [*SOURCES.rglob("*.pyx"), *SOURCES.rglob("*.py")]:
        for block in re.split(r"^(?=(?:cdef )?class \w)", path.read_text(), flags=re.MULTILINE)[1:]:
            name = re.match(r"(?:cdef )?class (\w+)", block).group(1)
            body = re.split(r"\n(?=[^\s#)])", block)[0]
            for part in re.split(r"^    (?=def |cdef [^=\n]*\()", body, flags=re.MULTILINE)[1:]:
                method = re.match(r"[^(\n]*?(\w+)\(", part)
                found[f"{name}.{method.group(1)}"] = part
    return found


def modelled():
    """Return the names that the model says it stands for."""
    text = "\n".join(path.read_text() for path in sorted(MODEL.glob("*.pml")))
    comments = re.findall(r"/\* stands for: ([^*]*) \*/", text)
    assert len(comments) == text.count("stands for:"), "a comment names what it stands for in another form"
    return {name.strip() for comment in comments for name in comment.split(",")}


def test_all_that_the_model_stands_for_exists():
    assert modelled(), "the model names nothing of the code"
    missing = modelled() - set(methods())
    assert not missing, f"the model stands for what no longer exists: {', '.join(sorted(missing))}"


def test_all_that_touches_words_of_the_protocol_is_in_the_model():
    touching = {
        name
        for name, body in methods().items()
        if name.startswith(("Protocol.", "Snapshots.")) and TOUCHES_WORDS.search(body)
    }
    assert "Protocol.exchange" in touching
    missing = touching - modelled()
    assert not missing, f"the model leaves out {', '.join(sorted(missing))}"


@pytest.mark.skipif(shutil.which("spin") is None, reason="spin is not on the PATH")
def test_spin_finds_no_error_in_the_quick_models():
    ran = subprocess.run(
        [sys.executable, str(MODEL / "check.py"), "--quick"], capture_output=True, text=True, timeout=900
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.fullmatch(r"\d+ models, 0 errors", ran.stdout.splitlines()[-1])
