#include "daemon/exec/runlog.h"

#include <errno.h>
#include <sys/stat.h>

#include "common/fd.h"
#include "daemon/exec/runlog_index.h"

struct runlog_size runlog_size(const struct runlog_reader *r, uint32_t op, uint32_t attempt,
			       enum stream stream)
{
	const struct chain *c = runlog_chain(r, op, attempt);
	return c ? chain_size(c, stream) : (struct runlog_size){ 0, 0 };
}

struct runlog_gap runlog_gap(const struct runlog_reader *r, uint32_t op, uint32_t attempt,
			     enum stream stream)
{
	const struct chain *c = runlog_chain(r, op, attempt);
	return c ? chain_gap(c, stream) : (struct runlog_gap){ 0, 0 };
}

/* Within what was dropped nobody knows which byte was whose: stdout's count as the first. */
static int64_t gap_stream_at(const struct chain *c, enum stream stream, int64_t pos)
{
	struct runlog_gap out = chain_gap(c, STREAM_STDOUT), own = chain_gap(c, stream);
	int64_t out_at = MIN2(out.from + (pos - c->drop_from), out.to);
	int64_t at = stream == STREAM_STDOUT ? out_at : pos - out_at;
	return MIN2(MAX2(at, own.from), own.to); /* whatever a damaged index says */
}

int64_t runlog_stream_at(const struct runlog_reader *r, uint32_t op, uint32_t attempt,
			 enum stream stream, int64_t pos)
{
	const struct chain *c = runlog_chain(r, op, attempt);
	if (!c)
		return 0;
	bool dropped = c->drop_to > c->drop_from;
	if (dropped && pos > c->drop_from && pos < c->drop_to)
		return gap_stream_at(c, stream, pos);
	const struct extents *row = &c->rows[stream == STREAM_STDERR];
	uint32_t i = extents_find(row, pos, false);
	/* The next bytes of this stream may lie behind what was dropped: not theirs, but the end of
	 * those before. */
	if (dropped && pos <= c->drop_from && (i == row->n || row->v[i].pos > pos))
		return i > 0 ? row->v[i - 1].stream_pos + row->v[i - 1].len : 0;
	if (i == row->n)
		return chain_size(c, stream).size;
	return row->v[i].stream_pos + MAX2(pos - row->v[i].pos, 0);
}

/* A read under way: bytes that are neighbours in the log are fetched together. */
struct read_state {
	struct runlog_reader *r;
	struct buf *data, *chunks;
	int64_t off, len; /* to be fetched */
	int64_t got;	  /* bytes gathered, those to be fetched too */
	int64_t first, at, dropped;
};

static int read_fetch(struct read_state *s)
{
	if (s->len == 0)
		return 0;
	if (buf_try_reserve(s->data, (size_t)s->len) < 0)
		return -ENOMEM;
	ssize_t n = fd_pread_all(s->r->log_fd, s->data->p + s->data->len, (size_t)s->len, s->off);
	if (n < 0)
		return (int)n;
	if (n < s->len)
		return -EIO;
	s->data->len += (size_t)n;
	s->len = 0;
	return 0;
}

/* How many of the `len` bytes at `off` of the log, which a record describes, come before those that
 * somebody took away. */
static int64_t read_there(const struct runlog_reader *r, uint32_t record, int64_t off, int64_t len)
{
	for (uint32_t i = 0; i < r->n_cuts; i++) {
		const struct cut *c = &r->cuts[i];
		if (record < c->record && c->from < off + len && c->to > off)
			len = MAX2(c->from - off, 0);
	}
	return len;
}

/* 1: it ends here, what follows is missing. */
static int read_piece(struct read_state *s, const struct chain_piece *p, int64_t limit)
{
	int64_t skip = MAX2(s->at - p->at, 0);
	int64_t want = MIN2(p->len - skip, limit - s->got);
	if (want <= 0)
		return 0;
	int64_t take = read_there(s->r, p->record, p->off + skip, want);
	if (take == 0)
		return s->got ? 1 : -EIO;
	s->dropped += p->at + skip - s->at;
	if (s->got == 0)
		s->first = p->at + skip;
	if (s->off + s->len != p->off + skip) {
		int r = read_fetch(s);
		if (r < 0)
			return r;
	}
	if (s->len == 0)
		s->off = p->off + skip;
	s->len += take;
	s->got += take;
	s->at = p->at + skip + take;
	if (s->chunks) {
		struct runlog_chunk chunk = { .time_ms = p->time_ms,
					      .stream = p->stream,
					      .bytes = take };
		buf_add(s->chunks, &chunk, sizeof(chunk));
	}
	return take < want;
}

static int read_chain(struct read_state *s, const struct chain *c, enum stream stream,
		      int64_t offset, int64_t limit)
{
	struct chain_walk w;
	struct chain_piece p;
	int64_t size = c ? chain_size(c, stream).size : 0;
	*s = (struct read_state){ .r = s->r, .data = s->data, .chunks = s->chunks };
	s->at = s->first = MIN2(MAX2(offset, 0), size);
	chain_walk_from(&w, c, stream, s->at);
	while (s->got < limit && chain_walk_next(&w, &p)) {
		int r = read_piece(s, &p, limit);
		if (r)
			return r < 0 ? r : read_fetch(s);
	}
	if (s->got < limit && s->at < size) { /* what is gone lies at the very end of this stream */
		s->dropped += size - s->at;
		s->at = size;
	}
	if (s->got == 0)
		s->first = s->at;
	return read_fetch(s);
}

/* Whether the index has records we do not know; what we know of it cannot have been dropped before
 * they came. */
static bool read_is_stale(const struct runlog_reader *r)
{
	struct stat st;
	return r->idx_fd >= 0 && fstat(r->idx_fd, &st) == 0 &&
	       st.st_size >= record_at(r->n_records + 1);
}

int runlog_read(struct runlog_reader *r, uint32_t op, uint32_t attempt, enum stream stream,
		int64_t offset, int64_t limit, struct buf *data, struct buf *chunks,
		int64_t *ret_offset, int64_t *ret_next, int64_t *ret_dropped)
{
	struct read_state s = { .r = r, .data = data, .chunks = chunks };
	size_t data_len = data->len, chunks_len = chunks ? chunks->len : 0;
	for (;;) {
		const struct chain *c = runlog_chain(r, op, attempt);
		int64_t drop_to = c ? c->drop_to : 0;
		uint32_t n_cuts = r->n_cuts;
		int e = read_chain(&s, c, stream, offset, limit < 0 ? INT64_MAX : limit);
		if (e == 0 && c && read_is_stale(r)) {
			/* Bytes may have been punched out while we read them, or be found missing:
			 * the record that says so is in the index by now. */
			e = runlog_refresh(r);
			if (e == 0 && (runlog_chain(r, op, attempt)->drop_to != drop_to ||
				       r->n_cuts != n_cuts))
				e = -EAGAIN;
		}
		if (e == 0)
			break;
		data->len = data_len;
		if (chunks)
			chunks->len = chunks_len;
		if (e != -EAGAIN)
			return e;
	}
	*ret_offset = s.first;
	*ret_next = s.at;
	*ret_dropped = s.dropped;
	return 0;
}

/* Looks for the nth newline from the end of the piece backward; *n counts down. The index in the
 * piece behind it, or -1. */
static int64_t tail_piece(const struct runlog_reader *r, const struct chain_piece *p, int64_t *n,
			  bool *at_end)
{
	char block[16384];
	for (int64_t end = p->len; end > 0;) {
		int64_t len = MIN2(end, (int64_t)sizeof(block));
		end -= len;
		ssize_t got = fd_pread_all(r->log_fd, block, (size_t)len, p->off + end);
		if (got < 0)
			return got;
		for (ssize_t i = got; i-- > 0;) {
			bool counts = block[i] == '\n' && !*at_end;
			*at_end = false; /* the newline that ends the last line begins none */
			if (counts && --*n == 0)
				return end + i + 1;
		}
	}
	return -EAGAIN;
}

int64_t runlog_tail_lines(struct runlog_reader *r, uint32_t op, uint32_t attempt,
			  enum stream stream, int64_t n)
{
	const struct chain *c = runlog_chain(r, op, attempt);
	struct chain_walk w;
	struct chain_piece p;
	bool at_end = true;
	if (!c)
		return 0;
	if (n <= 0)
		return chain_size(c, stream).size;
	chain_walk_end(&w, c, stream);
	while (chain_walk_prev(&w, &p)) {
		int64_t i = tail_piece(r, &p, &n, &at_end);
		if (i >= 0)
			return p.at + i;
		if (i != -EAGAIN)
			return i;
	}
	return 0;
}

void runlog_printed(const char *dir, uint64_t run, uint32_t op, uint32_t attempt, int64_t ret[3])
{
	struct runlog_reader *r;
	if (runlog_open(dir, run, &r) < 0)
		return;
	ret[0] = runlog_size(r, op, attempt, STREAM_STDOUT).size;
	ret[1] = runlog_size(r, op, attempt, STREAM_STDERR).size;
	ret[2] = runlog_size(r, op, attempt, STREAM_BOTH).dropped;
	runlog_close(r);
}
