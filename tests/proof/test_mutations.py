"""The mutations are those of the code as it is; mutations.py runs them."""

import pytest

from tests.proof.anchors import ROOT, Sources, code
from tests.proof.mutants import MUTATIONS


@pytest.fixture(scope="module")
def sources():
    return Sources.read()


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_fits_one_place_and_changes_the_code_there(sources, mutation):
    changed = mutation.apply(sources)
    assert len(changed) <= len(mutation.edits)
    for path, text in changed.items():
        assert code(path, text) != code(path, sources.texts[path])


def test_no_two_mutations_have_the_same_name_or_do_the_same(sources):
    names = [mutation.name for mutation in MUTATIONS]
    assert len(set(names)) == len(names)
    changes = [frozenset(mutation.apply(sources).items()) for mutation in MUTATIONS]
    assert len(set(changes)) == len(changes)


def test_the_tests_that_are_to_catch_a_mutation_exist():
    for mutation in MUTATIONS:
        file, _, test = mutation.tests.partition("::")
        assert f"def {test}" in (ROOT / file).read_text()


def test_each_mutation_has_a_row_of_the_table():
    table = (ROOT / "tests/proof/MUTATIONS.md").read_text()
    assert [mutation.name for mutation in MUTATIONS if f"\n| {mutation.name} | " not in table] == []
