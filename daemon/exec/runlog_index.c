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
	r->newest_number = RECORD_NONE;
	int e = runlog_refresh(r);
	if (e < 0) {
		runlog_close(r);
		return e;
	}
	*ret = r;
	return 0;
}

static void index_forget(struct runlog_reader *r)
{
	for (uint32_t i = 0; i < r->n_chains; i++) {
		free(r->chains[i].rows[0].v);
		free(r->chains[i].rows[1].v);
	}
	idmap_done(&r->by_key);
	r->n_chains = r->n_cuts = r->n_records = 0;
	r->newest_number = RECORD_NONE;
	r->newest_shown = false;
}

struct runlog_reader *runlog_close(struct runlog_reader *r)
{
	if (!r)
		return NULL;
	if (r->log_fd >= 0)
		close(r->log_fd);
	if (r->idx_fd >= 0)
		close(r->idx_fd);
	index_forget(r);
	free(r->chains);
	free(r->cuts);
	free(r->dir);
	free(r);
	return NULL;
}

/* Valid until the next of these calls. */
static struct chain *index_chain(struct runlog_reader *r, uint32_t op, uint32_t attempt)
{
	uint64_t key = runlog_key(op, attempt);
	uintptr_t known = idmap_get(&r->by_key, key);
	if (known)
		return &r->chains[known - 1];
	if (r->n_chains == r->size_chains) {
		r->size_chains = r->size_chains ? r->size_chains * 2 : 8;
		r->chains = xrealloc(r->chains, r->size_chains, sizeof(*r->chains));
	}
	r->chains[r->n_chains] = (struct chain){ .op = op, .attempt = attempt };
	idmap_put(&r->by_key, key, r->n_chains + 1);
	return &r->chains[r->n_chains++];
}

const struct chain *runlog_chain(const struct runlog_reader *r, uint32_t op, uint32_t attempt)
{
	uintptr_t known = idmap_get(&r->by_key, runlog_key(op, attempt));
	return known ? &r->chains[known - 1] : NULL;
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

static struct extents *index_row(struct chain *c, const struct runlog_record *rec)
{
	return &c->rows[rec->type == RECORD_STDERR];
}

/*
 * The newest record becomes an extent of at most `len` bytes; false: it did not. What the log lacks
 * of it (a crash) says nothing about positions either.
 */
static bool index_show(struct runlog_reader *r, int64_t len)
{
	const struct runlog_record *rec = &r->newest;
	struct chain *c = index_chain(r, rec->op, rec->attempt);
	struct extents *row = index_row(c, rec);
	struct extent x = { .off = rec->off,
			    .pos = rec->pos,
			    .stream_pos = rec->stream_pos,
			    .time_ms = rec->time_ms,
			    .record = r->newest_number };
	len = MIN2(MIN2(rec->len, len), r->log_size - rec->off);
	x.len = (uint32_t)MAX2(len, 0);
	/* Positions only grow; anything else is damage, and would break the search. */
	const struct extent *before = row->n > 0 ? &row->v[row->n - 1] : NULL;
	bool grows = !before || (x.pos >= before->pos + before->len &&
				 x.stream_pos >= before->stream_pos + before->len);
	if (x.len == 0 || !grows || chain_dropped(c, &x))
		return false;
	extents_add(row, &x);
	return true;
}

/* A record's bytes end where the next one's begin, whatever its length says (a power cut). */
static void index_take_data(struct runlog_reader *r, uint32_t number,
			    const struct runlog_record *rec)
{
	if (r->newest_number != RECORD_NONE)
		index_show(r, rec->off - r->newest.off);
	r->newest = *rec;
	r->newest_number = number;
}

/* The end of a refresh: the last of all records is shown for the time being. */
static void index_end(struct runlog_reader *r)
{
	if (r->newest_number == RECORD_NONE)
		return;
	r->newest_shown = index_show(r, INT64_MAX);
	if (r->newest_number + 1 == r->n_records)
		return;
	r->newest_number = RECORD_NONE;
	r->newest_shown = false;
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
	struct chain *c = index_chain(r, rec->op, rec->attempt);
	if (rec->off + rec->len <= c->drop_to || rec->len == 0)
		return;
	c->drop_from = rec->off;
	c->drop_to = rec->off + rec->len;
	c->stream_drop[0] = rec->pos;
	c->stream_drop[1] = rec->stream_pos;
	extents_drop(&c->rows[0], c);
	extents_drop(&c->rows[1], c);
}

static void index_take_cut(struct runlog_reader *r, uint32_t number,
			   const struct runlog_record *rec)
{
	r->cuts = xrealloc(r->cuts, r->n_cuts + 1, sizeof(*r->cuts));
	r->cuts[r->n_cuts++] =
		(struct cut){ .from = rec->off, .to = rec->off + rec->len, .record = number };
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

/* Takes back the newest record, to read it again. */
static void index_rewind(struct runlog_reader *r)
{
	if (r->newest_number == RECORD_NONE)
		return;
	if (r->newest_shown)
		index_row(index_chain(r, r->newest.op, r->newest.attempt), &r->newest)->n--;
	r->n_records = r->newest_number;
	while (r->n_cuts > 0 && r->cuts[r->n_cuts - 1].record >= r->n_records)
		r->n_cuts--;
	r->newest_number = RECORD_NONE;
	r->newest_shown = false;
}

/* How many of them are none. */
static uint32_t block_take(struct runlog_reader *r, const struct runlog_record *block,
			   uint32_t count)
{
	uint32_t none = 0;
	for (uint32_t i = 0; i < count; i++) {
		if (!record_ok(&block[i]))
			none++;
		else if (record_is_data(&block[i]))
			index_take_data(r, r->n_records + i, &block[i]);
		else if (block[i].type == RECORD_CUT)
			index_take_cut(r, r->n_records + i, &block[i]);
		else
			index_take_drop(r, &block[i]);
	}
	r->n_records += count;
	return none;
}

/* How many records there are, and then how long the log is: in that order the writer, who goes on
 * meanwhile, has completed all of them but the last. */
static int index_measure(struct runlog_reader *r, uint32_t *ret_records)
{
	struct stat st;
	if (fstat(r->idx_fd, &st) < 0)
		return -errno;
	int64_t records = st.st_size / (int64_t)sizeof(struct runlog_record) - 1;
	if (fstat(r->log_fd, &st) < 0)
		return -errno;
	r->log_size = st.st_size;
	*ret_records = (uint32_t)MIN2(MAX2(records, 0), (int64_t)RECORD_NONE - 1);
	return 0;
}

/* What there is now; 1: some of the records are none. */
static int index_read(struct runlog_reader *r)
{
	struct runlog_record block[INDEX_BLOCK_RECORDS];
	uint32_t records = 0, none = 0;
	int e = index_measure(r, &records);
	if (e < 0)
		return e;
	index_rewind(r);
	while (r->n_records < records) {
		uint32_t want = MIN2(records - r->n_records, INDEX_BLOCK_RECORDS);
		ssize_t n = fd_pread_all(r->idx_fd, block, want * sizeof(block[0]),
					 record_at(r->n_records));
		if (n < 0)
			return (int)n;
		uint32_t count = (uint32_t)((size_t)n / sizeof(block[0]));
		none += block_take(r, block, count);
		if (count < want)
			break;
	}
	index_end(r);
	return none > 0;
}

/* A record is punched out when a later one has said why: where some are none, that one may have
 * come after the measure. */
static int index_read_all(struct runlog_reader *r)
{
	int e;
	do
		e = index_read(r);
	while (e > 0);
	return e;
}

int runlog_refresh(struct runlog_reader *r)
{
	int e = r->idx_fd < 0 ? index_open(r) : 0;
	if (e < 0)
		return e == -ENOENT ? 0 : e;
	uint32_t n_cuts = r->n_cuts, n_records = r->n_records;
	e = index_read_all(r);
	if (e < 0 || r->n_cuts == n_cuts || n_records == 0)
		return e;
	/* What was known may have been read from a log that was cut, and shorter than it was. */
	index_forget(r);
	return index_read_all(r);
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
