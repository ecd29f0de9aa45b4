"""An edit finds its place whatever is done around it, and says so where it finds none, or several."""

import pytest

from tests.proof.anchors import Misfit, Sources, delete, insert, replace, swap

CYTHON = '''"""A module."""

cdef double LIMIT = 2.0
TABLE = {
    "one": 1,  # the first
    "two": 2,
}


cdef double estimate(double past, double sample) noexcept nogil:
    """Return an estimate, which is min(sample, 2 * past) at most."""
    return past + min(sample, 2 * past)


cdef class Slots:
    """Slots (of a window):
    def not_a_method(self):
    """

    cdef int free(self, int count) except -1 nogil:
        """Return a free slot: not self.lent[slot]."""
        cdef int slot
        for slot in range(count):
            # Pairs with not self.lent[slot] elsewhere.
            if self.retired[slot] == 0 and not self.lent[slot]:
                return slot
        self.begin(
            slot, "a # b",
            count)
        self.end(slot)
        return -1

    def close(self): pass

    def is_free(self, int slot):
        return not self.lent[slot]
'''

C = """/* flush() is called at the end. */
#include <stdint.h>
#define LOOP(i, n) \\
    for (int i = 0; /* to n */ \\
         i < n; i++)

static int flush(struct batch *b) {
    int i, error = 0;
    for (i = 0; i < b->count; i++) {
        /* error = flush(i) */
        if (!error) error = b->flush(i, "}{;");
    }
    return error;
}

int perform(struct batch *b,
            int rank) {
    while (b->count) flush(b);
    return rank;
}
"""


def text(edit, cython=CYTHON):
    """Return the one file that an edit changes."""
    sources = Sources({"wagma_rma/slots.pyx": cython, "wagma_rma/batch.c": C})
    (changed,) = sources.edited([edit]).values()
    return changed


def difference(edit, cython=CYTHON):
    """Return the lines that an edit takes away, and those that it adds."""
    after = text(edit, cython).splitlines()
    before = (cython if "cdef" in after[2] else C).splitlines()
    return [line for line in before if line not in after], [line for line in after if line not in before]


def test_a_token_is_replaced_in_its_function_alone():
    assert difference(replace("Slots.free", "not self.lent[slot]", "True")) == (
        ["            if self.retired[slot] == 0 and not self.lent[slot]:"],
        ["            if self.retired[slot] == 0 and True:"],
    )
    assert "def is_free(self, int slot):\n        return True" in text(
        replace("Slots.is_free", "not self.lent[slot]", "True")
    )


def test_functions_of_modules_and_of_c_are_found_and_macros_and_tables_too():
    sources = Sources({"slots.pyx": CYTHON, "batch.c": C})
    assert set(sources.functions()) == {
        *("TABLE", "estimate", "Slots", "Slots.free", "Slots.close", "Slots.is_free"),
        *("flush", "batch.c:flush", "perform", "batch.c:perform", "LOOP", "batch.c:LOOP"),
    }
    assert sources.body("estimate").split()[-4:] == ["min(sample,", "2", "*", "past)"]
    assert sources.body("flush").endswith("return error;\n}")
    assert difference(replace("LOOP", "; i < n", "; i <= n"))[1] == ["    for (int i = 0; i <= n; i++)"]
    assert difference(replace("TABLE", "2", "3")) == (['    "two": 2,'], ['    "two": 3,'])
    assert difference(replace("estimate", "2 * past", "past"))[1] == ["    return past + min(sample, past)"]


@pytest.mark.parametrize(
    ("what", "by"),
    [
        ("cdef double LIMIT", "cdef double MOST"),
        ("def is_free", "def has_room"),
        ("self.end(slot)", "self.finish(slot, count)"),
        ("# Pairs with not self.lent[slot] elsewhere.", "# Another comment."),
        ('"""Return a free slot: not self.lent[slot]."""', '"""Find a slot."""'),
        ("        self.begin(\n", "        if count == 0:\n            return -1\n        self.begin(\n"),
        # Other layouts of the same statement.
        ("== 0 and not self.lent[slot]", "== 0 and \\\n                    not self.lent[slot]"),
        ("== 0 and not self.lent[slot]", "== 0 and not self.lent[\n                    slot]"),
        ("== 0 and not self.lent[slot]", "== 0 and (  # both\n                    not self.lent[ slot ])"),
        ("if self.retired[slot] == 0 and not", "if self.retired[slot] == 0: \n                if not"),
    ],
)
def test_an_edit_survives_a_change_of_something_else(what, by):
    assert CYTHON.count(what) == 1
    (before, after) = difference(
        replace("Slots.free", "not self.lent[slot]", "True"), CYTHON.replace(what, by)
    )
    assert len(before) <= 2
    assert len(after) == 1
    assert "True" in after[0]


def test_a_function_may_move_to_another_file():
    moved = Sources({"wagma_rma/other.pyx": CYTHON})
    assert list(moved.edited([delete("Slots.free", "self.end")])) == ["wagma_rma/other.pyx"]


def test_a_statement_is_deleted_as_a_whole():
    assert difference(delete("Slots.free", "self.begin(slot")) == (
        ["        self.begin(", '            slot, "a # b",', "            count)"],
        ["        pass"],
    )
    assert difference(delete("flush", "b->flush")) == (
        ['        if (!error) error = b->flush(i, "}{;");'],
        ["        ;"],
    )
    assert difference(delete("perform", "flush(b)"))[0] == ["    while (b->count) flush(b);"]


def test_statements_are_inserted_with_the_indentation_of_the_place():
    assert (
        "    if self.retired[slot] == 0 and not self.lent[slot]:\n                self.count(slot)\n"
        in text(insert("Slots.free", "self.count(slot)", before="return slot"))
    )
    assert (
        "            count)\n        if count:\n            self.count(slot)\n        self.end(slot)"
        in text(insert("Slots.free", "if count:\n    self.count(slot)", after="self.begin("))
    )
    assert "\n        self.count(0)\n        for slot in range(count):\n" in text(
        insert("Slots.free", "self.count(0)", before="for slot in range(count): if self.retired")
    )
    assert '"}{;");\n        break;\n    }' in text(insert("flush", "break;", after="b->flush"))


def test_two_statements_change_places():
    swapped = text(swap("Slots.free", "self.begin(", "self.end("))
    assert (
        '        self.end(slot)\n        self.begin(\n            slot, "a # b",\n            count)\n'
        in swapped
    )
    assert text(swap("Slots.free", "self.end(", "self.begin(")) == swapped
    assert "    return error;\n" in text(swap("flush", "int i", "return error"))


def test_edits_are_made_one_after_another():
    sources = Sources({"slots.pyx": CYTHON})
    edits = [delete("Slots.free", "self.end"), insert("Slots.free", "self.end(0)", before="self.begin(")]
    (changed,) = sources.edited(edits).values()
    assert "        self.end(0)\n        self.begin(" in changed
    assert changed.count("self.end") == 1
    assert sources.texts == {"slots.pyx": CYTHON}


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (replace("Slots.first_free", "slot", "0"), "no function Slots.first_free"),
        (replace("free", "slot", "0"), "no function free"),
        (replace("Slots.free", "self.lent[0]", "0"), "token 'self.lent[0]' found 0 times in Slots.free"),
        (replace("Slots.free", "slot", "0"), "token 'slot' found 7 times in Slots.free"),
        (replace("Slots.free", "begi", "0"), "token 'begi' found 0 times"),
        (replace("Slots.free", "self.end(slot)", "self . end( slot )"), "nothing is changed"),
        (replace("Slots.free", "elsewhere", "0"), "found 0 times"),
        (delete("Slots.free", "for slot"), "'for slot' is not part of one simple statement of Slots.free"),
        (delete("Slots.free", "self.end(slot) return"), "is not part of one simple statement"),
        (insert("Slots.free", "pass", after="if self.retired"), "is not part of one simple statement"),
        (delete("flush", "b->count"), "'b->count' is not part of one simple statement of flush"),
    ],
)
def test_an_edit_that_fits_nowhere_says_why(edit, said):
    with pytest.raises(Misfit) as raised:
        text(edit)
    assert said in str(raised.value)


def test_a_function_of_two_files_must_be_named_by_its_file():
    sources = Sources({"a.c": C, "b.c": C})
    with pytest.raises(Misfit, match=r"2 functions flush: a\.c, b\.c"):
        sources.edited([delete("flush", "b->flush")])
    assert list(sources.edited([delete("b.c:flush", "b->flush")])) == ["b.c"]


def test_the_sources_are_read_without_what_cython_has_made_of_them(tmp_path):
    (tmp_path / "wagma_rma/windows").mkdir(parents=True)
    for name in ("windows/slots.pyx", "windows/slots.c", "windows/batch.c", "table.md", "slots.so"):
        (tmp_path / "wagma_rma" / name).write_text("\n")
    assert set(Sources.read(tmp_path).texts) == {"wagma_rma/windows/batch.c", "wagma_rma/windows/slots.pyx"}
