#include "daemon/exec/runlog_write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/xalloc.h"

/* Output this close together in time is one record: doubles with every so many records, up to 100
 * s. */
enum { MERGE_MS = 100, MERGE_STEP_RECORDS = 65536, MERGE_SHIFT_MAX = 10 };

/* So much at once the disk takes at its full rate. */
#define EARLY_BYTES (INT64_C(8) << 20)

struct runlog_writer *runlog_writer_new(const char *dir, uint64_t run)
{
	struct runlog_writer *w = xcalloc(1, sizeof(*w));
	w->dir = xstrdup(dir);
	w->run = run;
	w->log_fd = w->idx_fd = -1;
	return w;
}

static void writer_close_files(struct runlog_writer *w)
{
	runlog_hole_done(&w->log_hole);
	runlog_hole_done(&w->idx_hole);
	if (w->log_fd >= 0)
		close(w->log_fd);
	if (w->idx_fd >= 0)
		close(w->idx_fd);
	w->log_fd = w->idx_fd = -1;
	w->direct = false;
}

struct runlog_writer *runlog_writer_free(struct runlog_writer *w)
{
	if (!w)
		return NULL;
	writer_close_files(w);
	runlog_close(w->old);
	free(w->dir);
	free(w);
	return NULL;
}

/* 0: the header is ours, or the file is so new that it has none (zeros after a power cut count as
 * none) and now has. */
static int writer_check_header(struct runlog_writer *w)
{
	struct runlog_header h = { 0 };
	const struct runlog_header none = { 0 };
	ssize_t n = fd_pread_all(w->idx_fd, &h, sizeof(h), 0);
	if (n < 0)
		return (int)n;
	if (n == sizeof(h) && memcmp(&h, &none, sizeof(h)) != 0)
		return runlog_header_ok(&h, w->run) ? 0 : -EPROTO;
	h = (struct runlog_header){ .magic = RUNLOG_MAGIC,
				    .version = RUNLOG_VERSION,
				    .record_bytes = sizeof(struct runlog_record),
				    .run = w->run };
	return fd_pwrite_all(w->idx_fd, &h, sizeof(h), 0);
}

/* A record that reaches beyond the end of the log, made true. */
static int writer_cut_record(struct runlog_writer *w, struct runlog_record *rec, uint32_t number)
{
	rec->off = MIN2(rec->off, w->end);
	rec->len = MIN2(rec->len, w->end - rec->off);
	return fd_pwrite_all(w->idx_fd, rec, sizeof(*rec), record_at(number));
}

/*
 * A crash may have left records longer than the log. They must be true before the log grows again,
 * or they would take in what comes next. A power cut may also have left bytes without a record:
 * then the log is cut. Offsets only grow, so the first good record from the end ends the search.
 */
static int writer_repair(struct runlog_writer *w)
{
	int64_t described = 0;
	for (uint32_t i = w->n_records; i-- > 0;) {
		struct runlog_record rec;
		ssize_t n = fd_pread_all(w->idx_fd, &rec, sizeof(rec), record_at(i));
		if (n < 0)
			return (int)n;
		if (n != sizeof(rec) || !record_ok(&rec) || !record_is_data(&rec))
			continue;
		bool whole = rec.off + rec.len <= w->end;
		int r = whole ? 0 : writer_cut_record(w, &rec, i);
		if (r < 0)
			return r;
		described = MAX2(described, rec.off + rec.len);
		if (whole)
			break;
	}
	if (described < w->end && ftruncate(w->log_fd, described) < 0)
		return -errno;
	w->end = described;
	return 0;
}

/* With both files open: where to go on. */
static int writer_measure(struct runlog_writer *w)
{
	struct stat log, idx;
	int r = writer_check_header(w);
	if (r < 0)
		return r;
	if (fstat(w->log_fd, &log) < 0 || fstat(w->idx_fd, &idx) < 0)
		return -errno;
	int64_t records = idx.st_size / (int64_t)sizeof(struct runlog_record) - 1;
	if (records >= RECORD_NONE)
		return -EFBIG;
	w->end = w->early = log.st_size;
	w->n_records = (uint32_t)MAX2(records, 0);
	w->last_valid = false;
	w->last_claim = w->last.len = 0;
	return writer_repair(w);
}

static int writer_open_files(struct runlog_writer *w, int flags)
{
	if (w->idx_fd >= 0)
		return 0;
	int idx = runlog_open_file(w->dir, w->run, "idx", O_RDWR | flags);
	if (idx < 0)
		return idx;
	int log = runlog_open_file(w->dir, w->run, "log", O_RDWR | O_CREAT);
	if (log < 0) {
		close(idx);
		return log;
	}
	w->idx_fd = idx;
	w->log_fd = log;
	runlog_hole_init(&w->log_hole, log);
	runlog_hole_init(&w->idx_hole, idx);
	int r = writer_measure(w);
	if (r < 0)
		writer_close_files(w);
	return r;
}

/* Once: is there something from an earlier life? */
static int writer_probe(struct runlog_writer *w)
{
	if (w->probed)
		return 0;
	int r = writer_open_files(w, 0);
	if (r == 0)
		r = runlog_open(w->dir, w->run, &w->old);
	if (r == 0 || r == -ENOENT)
		w->probed = true;
	return w->probed ? 0 : r;
}

int runlog_attempt_begin(struct runlog_writer *w, struct runlog_attempt *a, uint32_t op,
			 uint32_t attempt, int64_t cap)
{
	int r = writer_probe(w);
	if (r < 0)
		return r;
	*a = (struct runlog_attempt){
		.op = op, .attempt = attempt, .cap = cap, .drop_record = RECORD_NONE
	};
	a->head = cap > 0 ? cap / 2 : INT64_MAX;
	if (w->old)
		runlog_restore(w->old, a);
	return 0;
}

void runlog_attempt_forget(struct runlog_attempt *a)
{
	free(a->pieces);
	a->pieces = NULL;
	a->n = a->first = a->size = 0;
}

void runlog_attempt_end(struct runlog_writer *w, struct runlog_attempt *a)
{
	if (a->cap > 0 && a->pos > a->cap)
		runlog_drop(w, a, a->pos - (a->cap - a->cap / 2));
	runlog_attempt_forget(a);
}

int runlog_writer_settle(struct runlog_writer *w)
{
	if (!w->last_valid || w->last_claim == w->last.len)
		return 0;
	int r = fd_pwrite_all(w->idx_fd, &w->last, sizeof(w->last), record_at(w->n_records - 1));
	if (r == 0)
		w->last_claim = w->last.len;
	return r;
}

int runlog_writer_append(struct runlog_writer *w, const struct runlog_record *rec)
{
	int r = runlog_writer_settle(w);
	if (r == 0 && w->n_records >= RECORD_NONE - 1)
		r = -EFBIG;
	if (r == 0)
		r = fd_pwrite_all(w->idx_fd, rec, sizeof(*rec), record_at(w->n_records));
	if (r < 0)
		return r;
	w->n_records++;
	w->last_valid = false;
	return 0;
}

/* So many bytes more the newest record may describe: whole blocks where they come in such. */
static int64_t writer_merge_room(const struct runlog_writer *w)
{
	int64_t room = RECORD_MAX_BYTES - w->last.len;
	return w->direct ? room / RUNLOG_BLOCK * RUNLOG_BLOCK : room;
}

static bool writer_can_merge(const struct runlog_writer *w, const struct runlog_attempt *a,
			     enum stream stream, int64_t now)
{
	uint32_t shift = MIN2(w->n_records / MERGE_STEP_RECORDS, MERGE_SHIFT_MAX);
	const struct runlog_record *last = &w->last;
	return w->last_valid && w->at == w->end && last->op == a->op &&
	       last->attempt == a->attempt && last->type == (uint8_t)stream && last->len > 0 &&
	       writer_merge_room(w) > 0 && a->pos != a->head && now >= last->time_ms &&
	       now - last->time_ms <= (int64_t)MERGE_MS << shift;
}

/* The record under which the next bytes go: the newest one where it fits, else a new one (or one
 * that stayed empty, again). */
static int writer_next(struct runlog_writer *w, const struct runlog_attempt *a, enum stream stream,
		       int64_t len, int64_t now)
{
	bool merge = writer_can_merge(w, a, stream, now);
	bool again = w->last_valid && w->last.len == 0;
	if (!merge && !again) {
		int r = runlog_writer_settle(w);
		if (r < 0)
			return r;
		if (w->n_records >= RECORD_NONE - 1)
			return -EFBIG;
	}
	struct runlog_record rec = w->last;
	if (!merge)
		rec = (struct runlog_record){ .op = a->op,
					      .attempt = (uint16_t)a->attempt,
					      .type = (uint8_t)stream,
					      .off = w->at,
					      .pos = a->pos,
					      .stream_pos = a->stream_pos[stream - STREAM_STDOUT],
					      .time_ms = MAX2(now, 1) };
	uint32_t number = merge || again ? w->n_records - 1 : w->n_records;
	int64_t had = rec.len;
	rec.len += len;
	int r = fd_pwrite_all(w->idx_fd, &rec, sizeof(rec), record_at(number));
	if (r < 0)
		return r;
	w->last = rec;
	w->last.len = had;
	w->last_claim = had + len;
	w->last_valid = true;
	w->n_records = number + 1;
	return 0;
}

/*
 * Somebody cut the log. Written to where it ended, it would have zeros that nobody printed: a
 * record tells what is missing, and then the zeros can come.
 */
static int writer_note_cut(struct runlog_writer *w, const struct runlog_attempt *a, int64_t now)
{
	struct stat st;
	if (fstat(w->log_fd, &st) < 0)
		return -errno;
	if (st.st_size >= w->end)
		return 0;
	struct runlog_record rec = { .op = a->op,
				     .attempt = (uint16_t)a->attempt,
				     .type = RECORD_CUT,
				     .off = st.st_size,
				     .len = w->end - st.st_size,
				     .time_ms = MAX2(now, 1) };
	int r = runlog_writer_append(w, &rec);
	if (r == 0 && ftruncate(w->log_fd, w->end) < 0)
		r = -errno;
	return r;
}

/* Room for bytes that begin at w->at. */
static int writer_reserve(struct runlog_writer *w, struct runlog_attempt *a, enum stream stream,
			  int64_t len, int64_t time_ms, struct runlog_room *ret)
{
	if (writer_can_merge(w, a, stream, time_ms))
		len = MIN2(len, writer_merge_room(w));
	len = MIN2(len, RECORD_MAX_BYTES);
	int r = writer_next(w, a, stream, len, time_ms);
	if (r < 0)
		return r;
	*ret = (struct runlog_room){ .fd = w->log_fd, .off = w->at, .len = len };
	return 0;
}

static int writer_set_direct(struct runlog_writer *w, bool direct)
{
	if (w->direct == direct)
		return 0;
	int flags = fcntl(w->log_fd, F_GETFL);
	flags = direct ? flags | O_DIRECT : flags & ~O_DIRECT;
	if (fcntl(w->log_fd, F_SETFL, flags) < 0)
		return -errno;
	w->direct = direct;
	return 0;
}

int runlog_reserve(struct runlog_writer *w, struct runlog_attempt *a, enum stream stream,
		   int64_t len, int64_t time_ms, struct runlog_room *ret)
{
	int r = writer_open_files(w, O_CREAT);
	if (r == 0)
		r = writer_set_direct(w, false);
	if (r == 0)
		r = writer_note_cut(w, a, time_ms);
	if (r < 0)
		return r;
	/* A record lies wholly before or wholly after the end of the head. */
	if (a->pos < a->head)
		len = MIN2(len, a->head - a->pos);
	w->at = w->end;
	return writer_reserve(w, a, stream, len, time_ms, ret);
}

/* Whole blocks at whole blocks are what it takes. */
static bool file_takes_direct(int fd)
{
#ifdef STATX_DIOALIGN
	struct statx x;
	return statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &x) == 0 &&
	       x.stx_mask & STATX_DIOALIGN && x.stx_dio_offset_align > 0 &&
	       RUNLOG_BLOCK % x.stx_dio_offset_align == 0 && x.stx_dio_mem_align > 0 &&
	       RUNLOG_BLOCK % x.stx_dio_mem_align == 0;
#else
	(void)fd;
	return false;
#endif
}

int runlog_reserve_direct(struct runlog_writer *w, struct runlog_attempt *a, enum stream stream,
			  int64_t len, int64_t time_ms, struct runlog_room *ret)
{
	int r = writer_open_files(w, O_CREAT);
	/* What may yet be dropped goes to no disk as long as the page cache has room for it. */
	if (r == 0 && (w->no_direct || a->pos > a->head - len))
		return 1;
	if (r == 0 && !w->direct) {
		w->no_direct = !file_takes_direct(w->log_fd) || writer_set_direct(w, true) < 0;
		if (w->no_direct)
			return 1;
	}
	if (r == 0)
		r = writer_note_cut(w, a, time_ms);
	if (r < 0)
		return r;
	w->at = (w->end + RUNLOG_BLOCK - 1) / RUNLOG_BLOCK * RUNLOG_BLOCK;
	return writer_reserve(w, a, stream, len, time_ms, ret);
}

void runlog_wrote(struct runlog_writer *w, struct runlog_attempt *a, int64_t len)
{
	enum stream stream = (enum stream)w->last.type;
	bool past_head = a->pos >= a->head;
	if (len > 0) {
		/* The hole up to the block counts as freed: its block can go once the rest has. */
		runlog_hole_free(&w->log_hole, w->end, w->at - w->end);
		if (w->direct && w->early == w->end)
			w->early = w->at + len;
		w->end = w->at + len;
	}
	w->last.len += len;
	a->pos += len;
	a->stream_pos[stream - STREAM_STDOUT] += len;
	/* If this fails the length stays too great for now; whoever reads cuts it, and the next
	 * reserve tries again. */
	int r = runlog_writer_settle(w);
	(void)r;
	if (len > 0 && past_head && a->cap > 0)
		runlog_drop_note(w, a, stream, len);
}

bool runlog_early(const struct runlog_writer *w, const struct runlog_attempt *a,
		  struct runlog_room *ret)
{
	if (w->end - w->early < EARLY_BYTES || a->pos > a->head)
		return false;
	*ret = (struct runlog_room){ .fd = w->log_fd, .off = w->early, .len = w->end - w->early };
	return true;
}

void runlog_early_sent(struct runlog_writer *w)
{
	w->early = w->end;
}
