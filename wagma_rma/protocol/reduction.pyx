"""The sums of a synchronisation: of all ranks, within hosts and between them.

Each rank puts its model into a snapshot slot that it has not published. When all have arrived, each rank of a single host
sums all of a small model for itself, and that is all: it costs less than to wait once more. Otherwise:

1. *Within a host* each rank sums its part of the model, a *column*, over the contributions of the host, in rank order.
2. *Between hosts* the ranks of a column exchange sums in the rounds of ``rounds``.
3. Each rank collects the columns from the ranks of its own host, and writes the mean into its slot and the output.

Each element is summed at one place, so all ranks get the same bits. A host's network link carries what it does in a
hierarchical allreduce: 2 (1 - 1/H) models each way for H hosts. Nobody reads the results of group steps then. A rank
writes to no range that others still read: after a round it sums within the part that nobody but itself has read in that
round.

Ranks tell their progress in words: the stage of a column (`progress`, and `heard` at each rank that waits for it), and how
many columns of a host hold totals (`summed`). So a rank that waits loads words of its own host.
"""

cimport cython

from libc.stdlib cimport calloc, free, realloc
from wagma_rma.kernels.kernels cimport (WAGMA_DTYPES, WAGMA_F32, WAGMA_F64, wagma_average, wagma_copy, wagma_output,
                                        wagma_sum)
from wagma_rma.protocol.layout cimport (MESSAGE_BYTES, REGION_MODEL, REGION_PARTIAL, REGION_TOTALS, SECTIONS, Leaf,
                                        Section)
from wagma_rma.protocol.words cimport SLOT_BITS, mask

from array import array

from wagma_rma.protocol.rounds import direct_costs, peers, plan, sources, waiting

cdef enum Kind:
    CONTRIBUTIONS = 0  # sum what the ranks of this host have contributed
    SUMS = 1           # sum, or copy, sums of other hosts
    MEAN = 2           # write the mean of totals into this rank's slot and the output
    WHOLE_MEAN = 3     # the same of what the ranks have contributed

cdef enum:
    TOTALS = 2         # the result that holds totals
    STAGE_BITS = 8     # of `progress`
    UNIT = 32          # elements: columns begin at cache lines
    WHOLE_PIECE = 4096 # elements: where a rank sums the whole model, sums and mean stay in the nearest caches


# Bytes that a rank may read beyond what it reads with columns, to save a wait: about what the wait costs.
SPARED_WAIT = 512 * 1024
# Bytes that a host may read beyond what it reads in two rounds, to save one: about what two round trips cost.
SPARED_ROUND = 128 * 1024


@cython.final
cdef class Reduction:
    """The sums of one rank. Nothing here waits but for bulk reads; tests tell when the next part may begin.

    Args:
        hosts: the number of each rank's host; numbers begin at 0, without gaps.
    """

    def __cinit__(self, Window window, Layout layout, Snapshots snapshots, hosts):
        cdef int me
        self.window = window
        self.layout = layout
        self.snapshots = snapshots
        by_host = [[rank for rank in range(window.ranks) if hosts[rank] == host] for host in range(max(hosts) + 1)]
        self.near = by_host[hosts[window.rank]]
        me = self.near.index(window.rank)
        self.columns = min(map(len, by_host))
        # Two models are read with columns: one to sum, one to collect.
        self.whole = len(by_host) == 1 and (window.ranks - 2) * layout.model_bytes <= SPARED_WAIT
        if self.whole:
            self.columns = 0
        self.column = me if me < self.columns else -1
        host = self.host = hosts[window.rank]
        direct = direct_costs(len(by_host)) * (layout.sums_bytes + layout.region_bytes) <= SPARED_ROUND
        self.plan = plan(len(by_host), host, direct)
        self.peers, self.waiting = {}, []
        if self.column >= 0:
            self.peers = {peer: by_host[peer][me] for peer in peers(len(by_host), host)}
            for stage, hosts_waiting in waiting(len(by_host), host, direct).items():
                for peer in hosts_waiting:
                    self.waiting.append((stage, self.peers[peer], peers(len(by_host), peer).index(host)))
        self.most_sources = max(len(self.near), layout.group_size, *self.plan.radices, 2)
        self.bytes = <const void**> calloc(window.lanes * self.most_sources, sizeof(void*))
        if self.bytes is NULL:
            raise MemoryError("Reduction: no memory for the table of sources")
        window.prepare_reads(self.most_sources, max(layout.chunk_bytes, MESSAGE_BYTES))

    def __dealloc__(self):
        free(self.bytes)
        free(self.pieces)
        free(self.sources)

    def contribute(self, uint64_t barrier, LeafPointers pointers):
        """Copy the caller's model to where others read it after a barrier. Local; a slot must be free."""
        cdef int slot
        self.barrier = barrier
        self.stage = self.told = 0
        self.bytes_read = self.bytes_over_network = 0
        with nogil:
            self.moved = self.snapshots.pending
            slot = self.snapshots.reserve(pointers)
            self.window.fetch_max(self.window.rank, self.layout.contributed, barrier << SLOT_BITS | slot, &self.ignored)
            self.window.complete()

    def sum_host(self, bint callers, LeafPointers pointers):
        """Sum this rank's column over the ranks of its host. The barrier is over.

        Args:
            callers: `pointers` still hold the model that this rank has contributed.
        """
        cdef int target = self.plan.target
        self.callers = callers
        if self.column < 0:
            return
        self.add_contributions()
        self.add_pieces(self.column, (), 0, len(self.near))
        with nogil:
            self.transfer(CONTRIBUTIONS, target, pointers)
        self.stage = self.plan.stage

    cdef int add_contributions(self) except -1:
        """Begin a transfer whose sources are the models of the ranks of this host."""
        cdef uint64_t[::1] words
        cdef int i, rank
        found = array("Q", [0]) * len(self.near)
        words = found
        for i, rank in enumerate(self.near):
            self.window.load(rank, self.layout.contributed, 1, &words[i])
        with nogil:
            self.window.complete()
        self.begin_transfer()
        for i, rank in enumerate(self.near):
            assert words[i] >> SLOT_BITS == self.barrier
            self.add_source(rank, <int> (words[i] & mask(SLOT_BITS)))
        return 0

    @property
    def rounds(self):
        """How many rounds this rank takes part in."""
        return len(self.plan.rounds) if self.column >= 0 else 0

    def is_performed(self, int number):
        """Perform a round if the ranks that it reads from have come to its stage; return whether it was performed.

        The call may be repeated, where another host did not answer. What has been summed is not summed again: others
        may have been told of it.
        """
        self.tell_stage()
        if self.stage < self.plan.rounds[number].reaches:
            if self.missing(number):
                return False
            self.perform(number)
            self.tell_stage()
        return True

    def missing(self, int number):
        """Return which ranks have not come to the stage that a round needs; or, after the last round, to totals. Local."""
        cdef uint64_t[::1] words
        cdef int i, rank
        cdef uint64_t needed
        rounds = self.plan.rounds
        if number < self.rounds:
            needed = rounds[number].needs
            looked_at = [(self.window.rank, self.layout.heard + 8 * i, self.peers[host])
                         for i, host in enumerate(self.peers) if host in sources(rounds[number])]
        else:
            needed = rounds[len(rounds) - 1].reaches if rounds else self.plan.stage
            looked_at = [(rank, self.layout.progress, rank)
                         for rank in self.near[:self.columns] if rank != self.window.rank]
        needed |= self.barrier << STAGE_BITS
        found = array("Q", [0]) * len(looked_at)
        words = found
        for i, (rank, word, _) in enumerate(looked_at):
            self.window.load(rank, word, 1, &words[i])
        with nogil:
            self.window.complete()
        return [rank for (_, _, rank), word in zip(looked_at, found) if word < needed]

    cdef int perform(self, int number) except -1:
        """Perform a round."""
        cdef int i, host, target
        round = self.plan.rounds[number]
        target = round.target
        at = {**self.peers, self.host: self.window.rank}
        self.begin_transfer()
        for host in round.sums:
            self.add_source(at[host], round.source)
        if round.sums:
            self.add_pieces(self.column, round.part, 0, len(round.sums))
        for i, (host, part) in enumerate(round.copies):
            self.add_source(at[host], round.source)
            self.add_pieces(self.column, part, len(round.sums) + i, 1)
        with nogil:
            self.transfer(SUMS, target, None)
        self.stage = round.reaches
        return 0

    cdef int tell_stage(self) except -1:
        """Tell the ranks that wait for it how far this rank's column has come."""
        cdef uint64_t word = self.barrier << STAGE_BITS | <uint64_t> self.stage
        cdef int needed, rank, place
        if self.told == self.stage:
            return 0
        with nogil:
            self.window.read_fence()
            self.window.write_fence()
        self.window.fetch_max(self.window.rank, self.layout.progress, word, &self.ignored)
        for needed, rank, place in self.waiting:
            if needed == self.stage:
                self.window.fetch_max(rank, self.layout.heard + 8 * place, word, &self.ignored)
        with nogil:
            self.window.complete()
        self.told = self.stage
        return 0

    def tell_summed(self):
        """Tell the ranks of this host that this rank's column holds totals. Local."""
        cdef int leader = self.near[0]
        self.summed += self.columns
        if self.column >= 0:
            self.tell_stage()  # where there are no rounds; with it come the fences
            with nogil:
                self.window.fetch_add(leader, self.layout.summed, 1, &self.ignored)
                self.window.complete()

    def is_summed(self):
        """Return whether all columns of this host hold totals; there are none to wait for where each rank sums all."""
        cdef uint64_t found
        cdef int leader = self.near[0]
        with nogil:
            self.window.load(leader, self.layout.summed, 1, &found)
            self.window.complete()
        return found >= self.summed

    def collect(self, uint64_t step, bint callers, LeafPointers pointers):
        """Publish the mean as this rank's model of a step, and write it into the caller's output.

        Args:
            callers: as of sum_host().
        """
        cdef int column, kind = WHOLE_MEAN if self.whole else MEAN
        self.callers = callers
        if self.whole:
            self.add_contributions()
            self.add_pieces(0, (), 0, len(self.near), WHOLE_PIECE)
        else:
            self.begin_transfer()
            for column in range(self.columns):
                self.add_source(self.near[column], TOTALS)
                self.add_pieces(column, (), column, 1)
        with nogil:
            self.snapshots.begin_mean(self.whole)
            self.transfer(kind, TOTALS, pointers)
            if self.whole and pointers.copies is not None:
                self.snapshots.restore(pointers)
            self.snapshots.publish_mean(step)
            self.snapshots.restore_mean(pointers)

    # Transfers: of pieces, as many at a time as the window has lanes.

    cdef Range part_of(self, int section, int column, tuple digits):
        """Return the part of a section that a column has, narrowed by the digits of hosts."""
        cdef Range part
        cdef int64_t units = (self.layout.sections[section].count + UNIT - 1) // UNIT, begin, width
        part.begin = units * column // max(1, self.columns)
        part.end = units * (column + 1) // max(1, self.columns)
        for digit, radix in zip(digits, self.plan.radices):
            begin, width = part.begin, part.end - part.begin
            part.begin = begin + width * <int64_t> digit // <int64_t> radix
            part.end = begin + width * <int64_t> (digit + 1) // <int64_t> radix
        part.begin = part.begin * UNIT
        part.end = min(part.end * UNIT, self.layout.sections[section].count)
        return part

    cdef int begin_transfer(self) noexcept:
        self.piece_count = self.source_count = 0
        return 0

    cdef int add_source(self, int rank, int which) except -1:
        """Add a place that pieces are read from: a snapshot of a rank, or a result."""
        if self.source_count == self.source_room:
            self.source_room = 2 * self.source_room + 16
            self.sources = <Source*> realloc(self.sources, self.source_room * sizeof(Source))
            if self.sources is NULL:
                raise MemoryError("Reduction: no memory for the table of sources")
        self.sources[self.source_count].rank = rank
        self.sources[self.source_count].which = which
        self.source_count += 1
        return 0

    cdef int add_pieces(self, int column, tuple digits, int first, int sources, int64_t largest=0) except -1:
        """Add the pieces of a part of all sections.

        Args:
            first, sources: which of the sources have them.
            largest: elements of a piece at most; 0: of a chunk.
        """
        cdef int section
        cdef Range part
        cdef int64_t most
        cdef Piece* piece
        for section in range(SECTIONS):
            part = self.part_of(section, column, digits)
            most = self.layout.sections[section].chunk_count
            if largest:
                most = min(most, largest)
            while part.begin < part.end:
                if self.piece_count == self.piece_room:
                    self.piece_room = 2 * self.piece_room + 16
                    self.pieces = <Piece*> realloc(self.pieces, self.piece_room * sizeof(Piece))
                    if self.pieces is NULL:
                        raise MemoryError("Reduction: no memory for the table of pieces")
                piece = &self.pieces[self.piece_count]
                piece.section, piece.begin, piece.count = section, part.begin, min(most, part.end - part.begin)
                piece.first, piece.sources = first, sources
                part.begin += piece.count
                self.piece_count += 1
        return 0

    cdef int transfer(self, int kind, int result, LeafPointers pointers) except -1 nogil:
        """Read all pieces and do with them what `kind` says.

        Args:
            result: where sums go.
        """
        cdef int begun = 0, ended = 0
        while ended < self.piece_count:
            while begun < self.piece_count and begun - ended < self.window.lanes:
                self.begin_piece(begun % self.window.lanes, &self.pieces[begun], kind, pointers)
                begun += 1
            self.end_piece(ended % self.window.lanes, &self.pieces[ended], kind, result, pointers)
            ended += 1
        return 0

    cdef int64_t sums_at(self, int result, int section) noexcept nogil:
        """Return where a section begins in a result, or in the part of the region that stands for it."""
        if section < WAGMA_DTYPES:
            return self.layout.result(result) + self.layout.sections[section].result
        return (self.layout.region(REGION_TOTALS if result == TOTALS else REGION_PARTIAL + result)
                + self.layout.sections[section].result)

    cdef int begin_piece(self, int lane, Piece* piece, int kind, LeafPointers pointers) except -1 nogil:
        """Begin to read a piece from all its sources."""
        cdef Section* section = &self.layout.sections[piece.section]
        cdef Source* source
        cdef int64_t place, nbytes
        cdef int s
        for s in range(piece.sources):
            source = &self.sources[piece.first + s]
            nbytes = piece.count * section.sum_width
            if kind == SUMS or kind == MEAN:
                place = self.sums_at(source.which, piece.section) + piece.begin * section.sum_width
            elif piece.section < WAGMA_DTYPES:
                nbytes = piece.count * section.width
                place = self.layout.snapshot(source.which) + section.snapshot + piece.begin * section.width
            else:
                place = self.layout.region(REGION_MODEL) + section.result + piece.begin * section.sum_width
            if source.rank != self.window.rank:
                self.bytes_read += nbytes
                if not self.window.is_near(source.rank):
                    self.bytes_over_network += nbytes
            self.window.read(lane, s, source.rank, place, nbytes, &self.bytes[lane * self.most_sources + s])
            if source.rank == self.window.rank and (kind == CONTRIBUTIONS or kind == WHOLE_MEAN):
                self.read_callers(&self.bytes[lane * self.most_sources + s], piece, pointers)
        return 0

    cdef int read_callers(self, const void** bytes, Piece* piece, LeafPointers pointers) noexcept nogil:
        """Have a piece of this rank's model read where the caller has it, in nearer caches, if it lies there in one."""
        cdef Section* section = &self.layout.sections[piece.section]
        cdef int i
        cdef Leaf* leaf
        if not self.callers or self.moved or pointers.entangled or piece.section >= WAGMA_DTYPES:
            return 0
        i = self.layout.first_leaf[section.first_chunk + piece.begin // section.chunk_count]
        while i < self.layout.leaf_count and self.layout.leaves[i].section == piece.section:
            leaf = &self.layout.leaves[i]
            if leaf.begin <= piece.begin and piece.begin + piece.count <= leaf.begin + leaf.count:
                bytes[0] = pointers.sources[i] + (piece.begin - leaf.begin) * section.width
                return 0
            if leaf.begin > piece.begin:
                return 0
            i += 1
        return 0

    cdef int end_piece(self, int lane, Piece* piece, int kind, int result, LeafPointers pointers) except -1 nogil:
        """Sum a piece that a lane has read; or write its mean into this rank's slot, and into the output.

        Of leaves that are in no snapshot the totals go into the region, where they stay.
        """
        cdef Section* section = &self.layout.sections[piece.section]
        cdef const void** bytes = &self.bytes[lane * self.most_sources]
        cdef bint in_snapshots = piece.section < WAGMA_DTYPES
        cdef int dtype = piece.section % WAGMA_DTYPES
        cdef int64_t place = self.sums_at(result, piece.section) + piece.begin * section.sum_width
        self.window.complete_reads(lane)
        if in_snapshots and (kind == MEAN or kind == WHOLE_MEAN):
            return self.write_mean(piece, kind, bytes, pointers)
        if kind == MEAN and self.sources[piece.first].rank == self.window.rank:
            return 0  # the totals are here
        if kind == SUMS or not in_snapshots:
            dtype = WAGMA_F64 if section.sum_width == 8 else WAGMA_F32
        wagma_sum(dtype, self.window.own(place), bytes, piece.sources, piece.count, self.snapshots.streaming.window, NULL)
        return self.window.wrote(place, piece.count * section.sum_width)

    cdef int write_mean(self, Piece* piece, int kind, const void** bytes, LeafPointers pointers) except -1 nogil:
        """Write the mean of a piece into the caller's output and this rank's slot, leaf by leaf.

        Args:
            bytes: its total; or, of kind WHOLE_MEAN, the piece in each contribution (the pointers are moved).
        """
        cdef Section* section = &self.layout.sections[piece.section]
        cdef int i = self.layout.first_leaf[section.first_chunk + piece.begin // section.chunk_count], s
        # Nobody reads the sums of a whole mean: those of all pieces go to the same place, which stays in the caches.
        cdef char* sums = self.window.own(self.sums_at(TOTALS, piece.section))
        cdef int width = section.width if kind == WHOLE_MEAN else section.sum_width
        cdef Leaf* leaf
        cdef int64_t begin, count
        cdef char* target
        cdef char* slot
        cdef bint streams
        cdef wagma_output output
        output.own = output.before = NULL
        output.divisor = self.window.ranks
        output.stream = False
        while i < self.layout.leaf_count:
            leaf = &self.layout.leaves[i]
            if leaf.section != piece.section or leaf.begin >= piece.begin + piece.count:
                return 0
            begin = max(piece.begin, leaf.begin)
            count = min(piece.begin + piece.count, leaf.begin + leaf.count) - begin
            if count > 0:
                target = pointers.targets[i] + (begin - leaf.begin) * section.width
                slot = self.snapshots.own + section.snapshot + begin * section.width
                # First to where the caches keep it, then from there.
                streams = pointers.copies is not None or self.snapshots.streams(pointers, i)
                output.out = slot if streams else target
                if kind == WHOLE_MEAN:
                    wagma_sum(piece.section, sums, bytes, piece.sources, count, False, &output)
                else:
                    wagma_average(piece.section, bytes[0], count, &output)
                if pointers.copies is not None:
                    if kind == MEAN:  # pieces of whole means are too small for a copy each
                        self.snapshots.give(pointers, i, begin - leaf.begin, slot, count)
                elif streams:
                    wagma_copy(target, slot, count * section.width, True)
                else:
                    wagma_copy(slot, target, count * section.width, self.snapshots.streaming.window)
                for s in range(piece.sources):
                    bytes[s] = <const char*> bytes[s] + count * width
            i += 1
        return 0
