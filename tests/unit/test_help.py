"""help() shows the public names, and what each field of a report means."""

import dataclasses
import importlib
import inspect
import pydoc
import re

import pytest

import wagma_rma


def rendered(thing):
    return pydoc.render_doc(thing, renderer=pydoc.plaintext)


@pytest.mark.parametrize("package", ["wagma_rma", "jax_bindings"])
def test_help_shows_each_public_name_with_what_it_is(package):
    module = importlib.import_module(package)
    text = rendered(module)
    for name in module.__all__:
        public = getattr(module, name)
        if inspect.isclass(public):
            assert re.search(rf"^    class {name}\b", text, re.MULTILINE), name
        elif callable(public):
            assert re.search(rf"^    {name}\(", text, re.MULTILINE), name
        if callable(public):
            assert (inspect.getdoc(public) or "").strip(), f"{name} has no docstring"
        assert re.search(rf"\b{name}\b", module.__doc__), f"the first lines of help() do not mention {name}"


def test_what_is_public_is_what_can_be_imported_by_name():
    public = {
        name for name, value in vars(wagma_rma).items() if name[0] != "_" and not inspect.ismodule(value)
    }
    assert public == set(wagma_rma.__all__)


@pytest.mark.parametrize("kind", [wagma_rma.Report, wagma_rma.Statistics])
def test_help_explains_each_field(kind):
    text = rendered(kind)
    for field in dataclasses.fields(kind):
        assert re.search(rf"^ \|      {field.name}: (\S+ ){{3,}}", text, re.MULTILINE), field.name


def test_help_explains_each_outcome():
    for outcome in wagma_rma.Outcome:
        assert re.search(rf"^ \|  {outcome.name}: (\S+ ){{4,}}", rendered(wagma_rma.Outcome), re.MULTILINE)
