/*
 * Positions: where a chain's bytes are. A gap between two extents (dropped, or lost with a power
 * cut) is simply not there.
 */
#include "daemon/exec/runlog_index.h"

#include "common/cleanup.h"

uint32_t extents_find(const struct extents *x, int64_t at, bool by_stream)
{
	uint32_t lo = 0, hi = x->n;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		const struct extent *e = &x->v[mid];
		if ((by_stream ? e->stream_pos : e->pos) + e->len > at)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

static void chain_walk_init(struct chain_walk *w, const struct chain *c, enum stream stream)
{
	*w = (struct chain_walk){ .chain = c, .stream = stream };
	w->rows[0] = c && stream != STREAM_STDERR;
	w->rows[1] = c && stream != STREAM_STDOUT;
}

void chain_walk_from(struct chain_walk *w, const struct chain *c, enum stream stream, int64_t at)
{
	chain_walk_init(w, c, stream);
	for (int row = 0; row < 2; row++)
		if (w->rows[row])
			w->next[row] = extents_find(&c->rows[row], at, stream != STREAM_BOTH);
}

void chain_walk_end(struct chain_walk *w, const struct chain *c, enum stream stream)
{
	chain_walk_init(w, c, stream);
	for (int row = 0; row < 2; row++)
		if (w->rows[row])
			w->next[row] = c->rows[row].n;
}

/* The live part of an extent; false: there is none. */
static bool chain_walk_piece(const struct chain_walk *w, int row, const struct extent *x,
			     struct chain_piece *ret)
{
	const struct chain *c = w->chain;
	int64_t cut = x->pos >= c->drop_from && x->pos < c->drop_to
			      ? MIN2(c->drop_to - x->pos, (int64_t)x->len)
			      : 0;
	*ret = (struct chain_piece){
		.at = (w->stream == STREAM_BOTH ? x->pos : x->stream_pos) + cut,
		.off = x->off + cut,
		.len = x->len - cut,
		.time_ms = x->time_ms,
		.record = x->record,
		.stream = row ? STREAM_STDERR : STREAM_STDOUT,
	};
	return ret->len > 0;
}

/* The row whose extent comes first (forward) or last (backward); -1 at the end. */
static int chain_walk_row(const struct chain_walk *w, bool forward)
{
	int best = -1;
	int64_t best_pos = 0;
	for (int row = 0; row < 2; row++) {
		if (!w->rows[row])
			continue;
		const struct extents *x = &w->chain->rows[row];
		if (forward ? w->next[row] >= x->n : w->next[row] == 0)
			continue;
		int64_t pos = x->v[forward ? w->next[row] : w->next[row] - 1].pos;
		if (best < 0 || (forward ? pos < best_pos : pos > best_pos)) {
			best = row;
			best_pos = pos;
		}
	}
	return best;
}

bool chain_walk_next(struct chain_walk *w, struct chain_piece *ret)
{
	int row;
	while ((row = chain_walk_row(w, true)) >= 0)
		if (chain_walk_piece(w, row, &w->chain->rows[row].v[w->next[row]++], ret))
			return true;
	return false;
}

bool chain_walk_prev(struct chain_walk *w, struct chain_piece *ret)
{
	int row;
	while ((row = chain_walk_row(w, false)) >= 0)
		if (chain_walk_piece(w, row, &w->chain->rows[row].v[--w->next[row]], ret))
			return true;
	return false;
}

/* Bytes of a stream before the dropped range. */
static int64_t chain_stream_head(const struct chain *c, int row)
{
	const struct extents *x = &c->rows[row];
	uint32_t i = extents_find(x, c->drop_from, false);
	return i > 0 ? x->v[i - 1].stream_pos + x->v[i - 1].len : 0;
}

static int64_t chain_stream_size(const struct chain *c, int row)
{
	const struct extents *x = &c->rows[row];
	int64_t size = 0;
	if (x->n > 0)
		size = x->v[x->n - 1].stream_pos + x->v[x->n - 1].len;
	if (c->drop_to > c->drop_from)
		size = MAX2(size, chain_stream_head(c, row) + c->stream_drop[row]);
	return size;
}

static int64_t chain_both_size(const struct chain *c)
{
	int64_t size = c->drop_to;
	for (int row = 0; row < 2; row++) {
		const struct extents *x = &c->rows[row];
		if (x->n > 0)
			size = MAX2(size, x->v[x->n - 1].pos + x->v[x->n - 1].len);
	}
	return size;
}

struct runlog_gap chain_gap(const struct chain *c, enum stream stream)
{
	if (stream == STREAM_BOTH)
		return (struct runlog_gap){ c->drop_from, c->drop_to };
	int row = stream == STREAM_STDERR;
	int64_t from = c->drop_to > c->drop_from ? chain_stream_head(c, row) : 0;
	return (struct runlog_gap){ from, from + c->stream_drop[row] };
}

struct runlog_size chain_size(const struct chain *c, enum stream stream)
{
	struct runlog_gap gap = chain_gap(c, stream);
	int64_t size = stream == STREAM_BOTH ? chain_both_size(c)
					     : chain_stream_size(c, stream == STREAM_STDERR);
	return (struct runlog_size){ .size = size, .dropped = gap.to - gap.from };
}
