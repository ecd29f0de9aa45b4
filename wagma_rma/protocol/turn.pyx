"""This rank's groups at the steps of a full turn, where the protocol reads them without Python."""

cimport cython

from libc.stdlib cimport calloc, free


@cython.final
cdef class Turn:
    """A table of groups. Local.

    Args:
        rank: this rank.
        groups: its group at group step 1, 2, ... of a full turn, ascending ranks.
    """

    def __cinit__(self, int rank, list groups):
        cdef int g, m
        self.period = len(groups)
        self.most_members = max(map(len, groups))
        self.groups = <Group*> calloc(self.period, sizeof(Group))
        self.ranks = <int*> calloc(self.period * self.most_members, sizeof(int))
        if self.groups is NULL or self.ranks is NULL:
            raise MemoryError(f"Turn: no memory for the table of {self.period} groups")
        for g in range(self.period):
            self.groups[g].size = len(groups[g])
            self.groups[g].me = groups[g].index(rank)
            self.groups[g].ranks = self.ranks + g * self.most_members
            for m in range(self.groups[g].size):
                self.groups[g].ranks[m] = groups[g][m]

    def __dealloc__(self):
        free(self.groups)
        free(self.ranks)

    cdef Group* at(self, uint64_t number) noexcept nogil:
        """Return the group of a group step by its number, 1 or later."""
        return &self.groups[(number - 1) % <uint64_t> self.period]
