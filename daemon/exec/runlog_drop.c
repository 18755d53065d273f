/*
 * Caps: what is kept of an attempt past its head is remembered piece by piece, and the oldest
 * pieces are dropped in steps.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/fd.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "daemon/exec/runlog_write.h"

/* More pieces than that (of a few bytes each, between those of other ops) are dropped before their
 * time: 4 MiB of memory. */
enum { PIECES_MAX = 256 << 10 };

static int64_t drop_step(int64_t cap)
{
	return MIN2(MAX2(cap / 4, 4096), INT64_C(16) << 20);
}

static struct runlog_piece *drop_piece(const struct runlog_attempt *a, uint32_t i)
{
	return &a->pieces[a->first + i];
}

static void drop_make_room(struct runlog_attempt *a)
{
	if (a->first + a->n < a->size)
		return;
	if (a->first > a->size / 2) {
		memmove(a->pieces, a->pieces + a->first, a->n * sizeof(*a->pieces));
		a->first = 0;
		return;
	}
	a->size = a->size ? a->size * 2 : 16;
	a->pieces = xrealloc(a->pieces, a->size, sizeof(*a->pieces));
}

void runlog_drop_add(struct runlog_attempt *a, int64_t off, uint32_t record, int64_t len, bool err)
{
	drop_make_room(a);
	*drop_piece(a, a->n++) = (struct runlog_piece){
		.off = off, .record = record, .len = (uint32_t)len, .err = err
	};
}

/* Position up to which the oldest half of the pieces goes. */
static int64_t drop_half(const struct runlog_attempt *a)
{
	int64_t to = MAX2(a->drop_to, a->head);
	for (uint32_t i = 0; i < a->n / 2; i++)
		to += drop_piece(a, i)->len;
	return to;
}

void runlog_drop_note(struct runlog_writer *w, struct runlog_attempt *a, enum stream stream,
		      int64_t len)
{
	uint32_t record = w->n_records - 1;
	struct runlog_piece *newest = a->n > 0 ? drop_piece(a, a->n - 1) : NULL;
	if (newest && newest->record == record)
		newest->len += (uint32_t)len;
	else
		runlog_drop_add(a, w->end - len, record, len, stream == STREAM_STDERR);
	int64_t tail = a->cap - a->cap / 2;
	if (a->pos - MAX2(a->drop_to, a->head) > tail + drop_step(a->cap))
		runlog_drop(w, a, a->pos - tail);
	else if (a->n > PIECES_MAX)
		runlog_drop(w, a, drop_half(a));
}

/* How many of the first `bytes` kept bytes are whose. */
static void drop_count(const struct runlog_attempt *a, int64_t bytes, int64_t ret[2])
{
	ret[0] = ret[1] = 0;
	for (uint32_t i = 0; i < a->n && bytes > 0; i++) {
		const struct runlog_piece *p = drop_piece(a, i);
		int64_t len = MIN2((int64_t)p->len, bytes);
		ret[p->err] += len;
		bytes -= len;
	}
}

/* Forgets the first `bytes` kept bytes and gives back their room; neighbours in the log go in one
 * piece. */
static void drop_pop(struct runlog_writer *w, struct runlog_attempt *a, int64_t bytes)
{
	int64_t from = 0, to = 0;
	while (bytes > 0 && a->n > 0) {
		struct runlog_piece *p = drop_piece(a, 0);
		int64_t len = MIN2((int64_t)p->len, bytes);
		if (p->off != to) {
			runlog_hole_free(&w->log_hole, from, to - from);
			from = p->off;
		}
		to = p->off + len;
		p->off += len;
		p->len -= (uint32_t)len;
		bytes -= len;
		if (p->len > 0)
			break;
		if (p->record != RECORD_NONE)
			runlog_hole_free(&w->idx_hole, record_at(p->record),
					 sizeof(struct runlog_record));
		a->first++;
		a->n--;
	}
	runlog_hole_free(&w->log_hole, from, to - from);
}

/* Appends the record that says so; it comes before anything is punched out. */
static int drop_record(struct runlog_writer *w, const struct runlog_attempt *a, int64_t to,
		       const int64_t stream_drop[2])
{
	struct runlog_record rec = { .op = a->op,
				     .attempt = (uint16_t)a->attempt,
				     .type = RECORD_DROP,
				     .off = a->head,
				     .len = to - a->head,
				     .pos = stream_drop[0],
				     .stream_pos = stream_drop[1],
				     .time_ms = MAX2(time_wall_ms(), 1) };
	return runlog_writer_append(w, &rec);
}

void runlog_drop(struct runlog_writer *w, struct runlog_attempt *a, int64_t to)
{
	int64_t start = MAX2(a->drop_to, a->head);
	int64_t more[2];
	if (to <= start || w->idx_fd < 0)
		return;
	drop_count(a, to - start, more);
	more[0] += a->stream_drop[0];
	more[1] += a->stream_drop[1];
	if (drop_record(w, a, to, more) < 0)
		return; /* no room for the record: nothing is dropped yet, the next step takes it
			   along */
	drop_pop(w, a, to - start);
	if (a->drop_record != RECORD_NONE)
		runlog_hole_free(&w->idx_hole, record_at(a->drop_record),
				 sizeof(struct runlog_record));
	a->drop_record = w->n_records - 1;
	a->drop_to = to;
	a->stream_drop[0] = more[0];
	a->stream_drop[1] = more[1];
}
