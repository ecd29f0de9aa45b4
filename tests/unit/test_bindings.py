"""What bindings build on keeps step with the averager."""

import inspect

from wagma_rma import bindings


def test_the_options_of_a_binding_are_those_of_the_averager_with_their_types():
    parameters = inspect.signature(bindings.GroupAverager.__init__).parameters.values()
    options = {each.name: each.annotation for each in parameters if each.kind is each.KEYWORD_ONLY}
    assert options.pop("select_synchronized")  # NamedAverager's own: a binding knows leaves by other paths
    assert bindings.AveragerOptions.__annotations__ == options


def test_the_docstring_tells_of_every_name_but_those_of_types():
    types = {"Array", "AveragerOptions", "Facts", "GroupAverager", "Grouping", "Sources"}
    untold = [name for name in bindings.__all__ if f"`{name}" not in bindings.__doc__]
    assert set(untold) <= types
