"""The mutations are those of the code as it is; mutations.py runs them."""

from pathlib import Path

import pytest

from tests.proof.mutants import MUTATIONS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_fits_one_place_of_its_file(mutation):
    source = (ROOT / mutation.file).read_text()
    assert source.count(mutation.old) == 1
    if mutation.also:
        assert source.replace(mutation.old, mutation.new).count(mutation.also[0]) == 1


def test_no_two_mutations_have_the_same_name():
    names = [mutation.name for mutation in MUTATIONS]
    assert len(set(names)) == len(names)
