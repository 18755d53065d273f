#include "daemon/exec/runlog_index.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/xalloc.h"
#include "daemon/exec/runlog_write.h"

enum { INDEX_BLOCK_RECORDS = 1024 };

int runlog_open(const char *dir, uint64_t run, struct runlog_reader **ret)
{
	struct runlog_reader *r = xcalloc(1, sizeof(*r));
	r->dir = xstrdup(dir);
	r->run = run;
	r->log_fd = r->idx_fd = -1;
	r->last_record = RECORD_NONE;
	int e = runlog_refresh(r);
	if (e < 0) {
		runlog_close(r);
		return e;
	}
	*ret = r;
	return 0;
}

struct runlog_reader *runlog_close(struct runlog_reader *r)
{
	if (!r)
		return NULL;
	if (r->log_fd >= 0)
		close(r->log_fd);
	if (r->idx_fd >= 0)
		close(r->idx_fd);
	for (uint32_t i = 0; i < r->n_chains; i++) {
		free(r->chains[i].rows[0].v);
		free(r->chains[i].rows[1].v);
	}
	free(r->chains);
	idmap_done(&r->by_key);
	free(r->dir);
	free(r);
	return NULL;
}

static uint32_t index_chain(struct runlog_reader *r, uint32_t op, uint32_t attempt)
{
	uint64_t key = runlog_key(op, attempt);
	uintptr_t known = idmap_get(&r->by_key, key);
	if (known)
		return (uint32_t)(known - 1);
	if (r->n_chains == r->size_chains) {
		r->size_chains = r->size_chains ? r->size_chains * 2 : 8;
		r->chains = xrealloc(r->chains, r->size_chains, sizeof(*r->chains));
	}
	r->chains[r->n_chains] = (struct chain){ .op = op, .attempt = attempt };
	idmap_put(&r->by_key, key, r->n_chains + 1);
	return r->n_chains++;
}

const struct chain *runlog_chain(const struct runlog_reader *r, uint32_t op, uint32_t attempt)
{
	uintptr_t known = idmap_get(&r->by_key, runlog_key(op, attempt));
	return known ? &r->chains[known - 1] : NULL;
}

/* The extent of the newest data record, if it is still in its row. */
static struct extent *index_last(struct runlog_reader *r)
{
	if (r->last_record == RECORD_NONE)
		return NULL;
	struct extents *row = &r->chains[r->last_chain].rows[r->last_row];
	struct extent *x = row->n > 0 ? &row->v[row->n - 1] : NULL;
	return x && x->record == r->last_record ? x : NULL;
}

static void extents_add(struct extents *row, const struct extent *x)
{
	if (row->n == row->size) {
		row->size = row->size ? row->size + row->size / 2 : 2;
		row->v = xrealloc(row->v, row->size, sizeof(*row->v));
	}
	row->v[row->n++] = *x;
}

static bool chain_dropped(const struct chain *c, const struct extent *x)
{
	return x->pos >= c->drop_from && x->pos + x->len <= c->drop_to;
}

/*
 * A data record's bytes end where the next one's begin, whatever its length says: it may be one
 * that was too great (a crash), or one from before the writer lengthened it (we read while it
 * wrote). A record punched out in between leaves only the first.
 */
static void index_join(struct runlog_reader *r, int64_t off)
{
	struct extent *last = index_last(r);
	if (!last)
		return;
	int64_t len = off - last->off;
	if (len < last->len) {
		last->len = (uint32_t)MAX2(len, 0);
	} else if (!r->last_cut && !r->last_apart) {
		last->len = (uint32_t)MIN2(MIN2(len, r->log_size - last->off), RECORD_MAX_BYTES);
		r->last_cut = last->len < len;
	}
}

static void index_take_data(struct runlog_reader *r, uint32_t number,
			    const struct runlog_record *rec)
{
	index_join(r, rec->off);
	r->last_apart = true;
	int64_t len = MAX2(MIN2(rec->len, r->log_size - rec->off), 0);
	struct extent x = { .off = rec->off,
			    .pos = rec->pos,
			    .stream_pos = rec->stream_pos,
			    .time_ms = rec->time_ms,
			    .len = (uint32_t)len,
			    .record = number };
	uint32_t i = index_chain(r, rec->op, rec->attempt);
	struct extents *row = &r->chains[i].rows[rec->type == RECORD_STDERR];
	/* Positions only grow; anything else is damage, and would break the search. */
	const struct extent *before = row->n > 0 ? &row->v[row->n - 1] : NULL;
	if (before &&
	    (x.pos < before->pos + before->len || x.stream_pos < before->stream_pos + before->len))
		return;
	/* Nothing of it in the log yet, or ever (a crash): it says nothing about positions either.
	 */
	if (len > 0 && !chain_dropped(&r->chains[i], &x))
		extents_add(row, &x);
	/*
	 * Reading goes on from the newest record, which may have grown; or from the first that the
	 * log did not cover yet when its size was taken: those after it have no bytes either, and
	 * must not be passed over for good.
	 */
	if (r->last_cut)
		return;
	r->last_record = number;
	r->last_chain = i;
	r->last_row = rec->type == RECORD_STDERR;
	r->last_cut = rec->len > len;
	r->last_apart = false;
}

/* Takes out what the drop covers: all of it lies behind the extents of the head. */
static void extents_drop(struct extents *row, const struct chain *c)
{
	uint32_t kept = extents_find(row, c->drop_from, false), next = kept;
	while (next < row->n && chain_dropped(c, &row->v[next]))
		next++;
	if (next == kept)
		return;
	memmove(row->v + kept, row->v + next, (row->n - next) * sizeof(*row->v));
	row->n -= next - kept;
}

static void index_take_drop(struct runlog_reader *r, const struct runlog_record *rec)
{
	struct chain *c = &r->chains[index_chain(r, rec->op, rec->attempt)];
	if (rec->off + rec->len <= c->drop_to || rec->len == 0)
		return;
	c->drop_from = rec->off;
	c->drop_to = rec->off + rec->len;
	c->stream_drop[0] = rec->pos;
	c->stream_drop[1] = rec->stream_pos;
	extents_drop(&c->rows[0], c);
	extents_drop(&c->rows[1], c);
}

static int index_open(struct runlog_reader *r)
{
	struct runlog_header h = { 0 };
	const struct runlog_header none = { 0 };
	_cleanup_close_ int idx = runlog_open_file(r->dir, r->run, "idx", O_RDONLY);
	if (idx < 0)
		return idx;
	_cleanup_close_ int log = runlog_open_file(r->dir, r->run, "log", O_RDONLY);
	if (log < 0)
		return log;
	ssize_t n = fd_pread_all(idx, &h, sizeof(h), 0);
	if (n < 0)
		return (int)n;
	if ((size_t)n < sizeof(h) || memcmp(&h, &none, sizeof(h)) == 0)
		return -ENOENT; /* just being made */
	if (!runlog_header_ok(&h, r->run))
		return -EPROTO;
	r->idx_fd = TAKE_FD(idx);
	r->log_fd = TAKE_FD(log);
	return 0;
}

/* Takes back the newest data record, which may have grown, and what came after it: their records
 * are read again. */
static void index_rewind(struct runlog_reader *r)
{
	if (r->last_record == RECORD_NONE)
		return;
	if (index_last(r))
		r->chains[r->last_chain].rows[r->last_row].n--;
	r->n_records = r->last_record;
	r->last_record = RECORD_NONE;
	r->last_cut = false;
}

static void block_take(struct runlog_reader *r, const struct runlog_record *block, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		if (!record_ok(&block[i]))
			r->last_apart = true;
		else if (record_is_data(&block[i]))
			index_take_data(r, r->n_records + i, &block[i]);
		else
			index_take_drop(r, &block[i]);
	}
	r->n_records += count;
}

int runlog_refresh(struct runlog_reader *r)
{
	struct runlog_record block[INDEX_BLOCK_RECORDS];
	struct stat st;
	uint32_t count;
	int e = r->idx_fd < 0 ? index_open(r) : 0;
	if (e < 0)
		return e == -ENOENT ? 0 : e;
	/* The log's size first: whatever it covers is then described by what we read of the index.
	 */
	if (fstat(r->log_fd, &st) < 0)
		return -errno;
	r->log_size = st.st_size;
	index_rewind(r);
	do {
		ssize_t n = fd_pread_all(r->idx_fd, block, sizeof(block), record_at(r->n_records));
		if (n < 0)
			return (int)n;
		count = (uint32_t)((size_t)n / sizeof(block[0]));
		block_take(r, block, count);
	} while (count == INDEX_BLOCK_RECORDS);
	return 0;
}

bool runlog_restore(const struct runlog_reader *r, struct runlog_attempt *a)
{
	const struct chain *c = runlog_chain(r, a->op, a->attempt);
	if (!c)
		return false;
	a->pos = chain_size(c, STREAM_BOTH).size;
	a->stream_pos[0] = chain_size(c, STREAM_STDOUT).size;
	a->stream_pos[1] = chain_size(c, STREAM_STDERR).size;
	if (c->drop_to > c->drop_from) {
		a->head = c->drop_from;
		a->drop_to = c->drop_to;
		a->stream_drop[0] = c->stream_drop[0];
		a->stream_drop[1] = c->stream_drop[1];
	}
	if (a->cap <= 0)
		return true;
	struct chain_walk w;
	struct chain_piece p;
	chain_walk_from(&w, c, STREAM_BOTH, 0);
	while (chain_walk_next(&w, &p)) {
		if (p.at + p.len <= a->head)
			continue;
		if (p.at < a->head)
			a->head = p.at + p.len; /* written under another cap: stays whole */
		else
			runlog_drop_add(a, p.off, RECORD_NONE, p.len, p.stream == STREAM_STDERR);
	}
	return true;
}
