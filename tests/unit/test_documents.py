"""What documents refer to exists: files, commands, modules, methods; and README.md stays short."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "wagma_rma"
DOCUMENTS = [
    ROOT / "README.md",
    *(
        path
        for name in ("wagma_rma", "jax_bindings", "benchmarks", "tests")
        for path in ROOT.glob(f"{name}/**/*.md")
    ),
]
SOURCES = {
    path: path.read_text()
    for name in ("wagma_rma", "jax_bindings")
    for suffix in (".py", ".pyx", ".pxd")
    for path in ROOT.glob(f"{name}/**/*{suffix}")
}
each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def is_there(document: Path, name: str) -> bool:
    """Return whether a path exists from the document, a folder beside it, the root, or the package."""
    folders = [document.parent, ROOT, PACKAGE]
    if document.parent != ROOT:
        folders += filter(Path.is_dir, document.parent.iterdir())
    return any((folder / name).exists() for folder in folders)


@each_document
def test_links_lead_to_files(document):
    links = re.findall(r"\]\(([^)#\s]+)", document.read_text())
    missing = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert not missing


def test_the_readme_has_no_links_to_files_which_a_package_index_does_not_have():
    links = re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert [link for link in links if "://" not in link] == []


@each_document
def test_paths_that_are_named_exist(document):
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", document.read_text())
    # X stands for any name.
    assert [name for name in named if "X" not in name.split("/") and not is_there(document, name)] == []


@each_document
def test_programs_that_are_named_exist(document):
    modules = re.findall(
        r"python3? -m ((?:wagma_rma|jax_bindings|benchmarks|tests)[\w.]*)", document.read_text()
    )
    paths = [module.rstrip(".").replace(".", "/") for module in modules]
    missing = [
        path
        for path in paths
        if not (ROOT / f"{path}.py").exists() and not (ROOT / path / "__main__.py").exists()
    ]
    assert not missing
    tests = re.findall(r"(?:pytest|-q)((?: tests/[\w./]+)+)", document.read_text())
    assert [test for line in tests for test in line.split() if not (ROOT / test).exists()] == []


@each_document
def test_methods_that_are_named_exist(document):
    for owner, method in re.findall(r"`([A-Z]\w+)\.(?!md`)(\w+)`", document.read_text()):
        holders = [text for text in SOURCES.values() if re.search(rf"class {owner}\b", text)]
        assert holders, f"no class {owner}"
        defined = rf"(def|cdef|cpdef)\b[^(=\n]*\b{method}\(|^    {method}\b"
        assert any(re.search(defined, text, re.MULTILINE) for text in holders), f"no {owner}.{method}"


@each_document
def test_no_document_names_a_place_on_one_machine(document):
    assert re.findall(r"/(?:tmp|home|root|work)/\S*", document.read_text()) == []


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_the_module_map_has_every_module():
    text = (PACKAGE / "README.md").read_text()
    modules = [path for suffix in (".py", ".pyx", ".c", ".h") for path in PACKAGE.glob(f"**/*{suffix}")]
    made_by_cython = {path.with_suffix(".c") for path in modules if path.suffix == ".pyx"}
    names = {path.name for path in set(modules) - made_by_cython if path.name != "__init__.py"}
    assert sorted(name for name in names if f"`{name}`" not in text) == []


def test_the_module_map_has_no_module_that_is_gone():
    _, table = (PACKAGE / "README.md").read_text().split("## The modules")
    named = re.findall(r"`(\w+\.(?:py|pyx|pxd|c|h))`", table.split("## Build")[0])
    assert [name for name in named if not list(PACKAGE.glob(f"**/{name}"))] == []
