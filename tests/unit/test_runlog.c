/*
 * Run logs against a model in memory: random output of several ops, streams and caps, crashes at
 * every record and inside of one, writers that are killed, readers that run beside a writer.
 */
#include "daemon/exec/runlog.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/xalloc.h"
#include "daemon/exec/runlog_format.h"
#include "tests/unit/scratch.h"

enum { RUN = 7, OPS_MAX = 8 };

static char *dir;

static void setup(void)
{
	dir = scratch_new();
}

static void teardown(void)
{
	scratch_free(dir);
}

/* --- the model: every byte printed, and which stream it went to --- */

struct model {
	struct runlog_attempt a;
	struct buf bytes, streams; /* by position over both */
	bool open;
};

static char *path_of(const char *suffix)
{
	return xasprintf("%s/%d.%s", dir, RUN, suffix);
}

static int64_t size_of(const char *suffix)
{
	char *path = path_of(suffix);
	struct stat st;
	int64_t size = stat(path, &st) == 0 ? st.st_size : -1;
	free(path);
	return size;
}

static int64_t disk_of(const char *suffix)
{
	char *path = path_of(suffix);
	struct stat st;
	int64_t size = stat(path, &st) == 0 ? (int64_t)st.st_blocks * 512 : -1;
	free(path);
	return size;
}

static void cut(const char *suffix, int64_t size)
{
	char *path = path_of(suffix);
	ck_assert_int_eq(truncate(path, size), 0);
	free(path);
}

/* Writes len bytes as the pump would; short > 0: the log takes only that many of the first room. */
static void emit(struct runlog_writer *w, struct model *m, enum stream stream, const char *p,
		 int64_t len, int64_t now)
{
	while (len > 0) {
		struct runlog_room room;
		if (runlog_reserve(w, &m->a, stream, len, now, &room) < 0 || room.len <= 0 ||
		    room.len > len)
			ck_abort();
		int64_t n = rand() % 8 == 0 ? rand() % (room.len + 1) : room.len;
		if (fd_pwrite_all(room.fd, p, (size_t)n, room.off) < 0)
			ck_abort();
		runlog_wrote(w, &m->a, n);
		buf_add(&m->bytes, p, (size_t)n);
		for (int64_t i = 0; i < n; i++)
			buf_addc(&m->streams, (char)stream);
		p += n;
		len -= n;
	}
}

/*
 * The same past the page cache, as far as it goes in whole blocks; what is left is for the other
 * way. Where the room is, nothing may have been before.
 */
static int64_t emit_direct(struct runlog_writer *w, struct model *m, enum stream stream,
			   const char *p, int64_t len, int64_t now)
{
	struct runlog_room room;
	int64_t whole = len / RUNLOG_BLOCK * RUNLOG_BLOCK, before = size_of("log");
	if (whole == 0 || runlog_reserve_direct(w, &m->a, stream, whole, now, &room) != 0)
		return 0;
	if (room.off % RUNLOG_BLOCK != 0 || room.len % RUNLOG_BLOCK != 0 || room.len > whole ||
	    room.off < before || !(fcntl(room.fd, F_GETFL) & O_DIRECT))
		ck_abort();
	int64_t n = rand() % 8 == 0 ? 0 : room.len; /* 0: it was refused */
	char *block = NULL;
	if (posix_memalign((void **)&block, (size_t)RUNLOG_BLOCK, (size_t)room.len) != 0)
		ck_abort();
	memcpy(block, p, (size_t)room.len);
	if (fd_pwrite_all(room.fd, block, (size_t)n, room.off) < 0)
		ck_abort();
	free(block);
	runlog_wrote(w, &m->a, n);
	buf_add(&m->bytes, p, (size_t)n);
	for (int64_t i = 0; i < n; i++)
		buf_addc(&m->streams, (char)stream);
	return n;
}

static void emit_random(struct runlog_writer *w, struct model *m, int64_t len, int64_t now)
{
	char *p = xmalloc((size_t)len);
	for (int64_t i = 0; i < len; i++)
		p[i] = rand() % 20 == 0 ? '\n' : (char)(1 + rand() % 255);
	enum stream stream = rand() % 3 ? STREAM_STDOUT : STREAM_STDERR;
	int64_t direct = rand() % 4 == 0 ? emit_direct(w, m, stream, p, len, now) : 0;
	emit(w, m, stream, p + direct, len - direct, now);
	free(p);
}

/* What a read of the whole stream from `offset`, at most `limit` bytes, must give, with [from, to)
 * of both dropped. */
static void model_read(const struct model *m, enum stream stream, struct runlog_gap gap,
		       int64_t offset, int64_t limit, struct buf *data, int64_t *first,
		       int64_t *next, int64_t *dropped)
{
	int64_t at = 0;
	*first = -1;
	*dropped = 0;
	*next = -1;
	int64_t skipped = 0;
	for (size_t i = 0; i < m->bytes.len; i++) {
		if (stream != STREAM_BOTH && m->streams.p[i] != (char)stream)
			continue;
		int64_t pos = at++;
		if (pos < offset)
			continue;
		if ((int64_t)data->len >= limit)
			continue;
		if ((int64_t)i >= gap.from && (int64_t)i < gap.to) {
			skipped++;
			continue;
		}
		*dropped += skipped;
		skipped = 0;
		if (*first < 0)
			*first = pos;
		buf_addc(data, m->bytes.p[i]);
		*next = pos + 1;
	}
	if ((int64_t)data->len < limit) {
		*dropped += skipped;
		*next = at;
	} else if (*next < 0) {
		*next = MIN2(offset, at);
	}
	if (*first < 0)
		*first = *next;
}

static int64_t model_size(const struct model *m, enum stream stream)
{
	int64_t n = 0;
	for (size_t i = 0; i < m->streams.len; i++)
		n += stream == STREAM_BOTH || m->streams.p[i] == (char)stream;
	return n;
}

static void check_read(struct runlog_reader *r, const struct model *m, enum stream stream,
		       int64_t offset, int64_t limit)
{
	struct buf want = BUF_INIT, got = BUF_INIT, chunks = BUF_INIT;
	int64_t first, next, dropped, want_first, want_next, want_dropped;
	struct runlog_gap gap = runlog_gap(r, m->a.op, m->a.attempt, STREAM_BOTH);
	ck_assert_int_eq(runlog_read(r, m->a.op, m->a.attempt, stream, offset, limit, &got, &chunks,
				     &first, &next, &dropped),
			 0);
	model_read(m, stream, gap, offset, limit < 0 ? INT64_MAX : limit, &want, &want_first,
		   &want_next, &want_dropped);
	ck_assert_int_eq((int64_t)got.len, (int64_t)want.len);
	ck_assert(got.len == 0 || memcmp(got.p, want.p, got.len) == 0);
	ck_assert_int_eq(first, want_first);
	ck_assert_int_eq(next, want_next);
	ck_assert_int_eq(dropped, want_dropped);
	int64_t sum = 0;
	for (size_t i = 0; i < chunks.len; i += sizeof(struct runlog_chunk)) {
		struct runlog_chunk c;
		memcpy(&c, chunks.p + i, sizeof(c));
		if (c.bytes <= 0 || c.time_ms <= 0 ||
		    (stream != STREAM_BOTH && c.stream != (int)stream))
			ck_abort();
		sum += c.bytes;
	}
	ck_assert_int_eq(sum, (int64_t)got.len);
	buf_done(&want);
	buf_done(&got);
	buf_done(&chunks);
}

static void check_lines(struct runlog_reader *r, const struct model *m, enum stream stream,
			int64_t n)
{
	struct runlog_gap gap = runlog_gap(r, m->a.op, m->a.attempt, STREAM_BOTH);
	int64_t at = model_size(m, stream), want = 0, live = 0, seen = 0;
	for (size_t i = m->bytes.len; i-- > 0;) {
		if (stream != STREAM_BOTH && m->streams.p[i] != (char)stream)
			continue;
		at--;
		if ((int64_t)i >= gap.from && (int64_t)i < gap.to)
			continue;
		if (m->bytes.p[i] == '\n' && live > 0 && ++seen == n) {
			want = at + 1;
			break;
		}
		live++;
	}
	ck_assert_int_eq(runlog_tail_lines(r, m->a.op, m->a.attempt, stream, n), want);
}

static void check_model(struct runlog_reader *r, const struct model *m, int64_t cap)
{
	struct runlog_gap gap = runlog_gap(r, m->a.op, m->a.attempt, STREAM_BOTH);
	struct runlog_size both = runlog_size(r, m->a.op, m->a.attempt, STREAM_BOTH);
	ck_assert_int_eq(both.size, (int64_t)m->bytes.len);
	ck_assert_int_eq(both.dropped, gap.to - gap.from);
	int64_t stream_dropped = 0;
	for (enum stream s = STREAM_BOTH; s <= STREAM_STDERR; s++) {
		struct runlog_size size = runlog_size(r, m->a.op, m->a.attempt, s);
		ck_assert_int_eq(size.size, model_size(m, s));
		stream_dropped += s != STREAM_BOTH ? size.dropped : 0;
		check_read(r, m, s, 0, -1);
		if (size.size > 0) {
			check_read(r, m, s, rand() % size.size, rand() % size.size);
			check_read(r, m, s, MAX2(gap.from - 1, 0), 2);
			check_read(r, m, s, gap.to - (gap.to - gap.from) / 2, 5);
		}
		check_read(r, m, s, size.size, 10);
		check_lines(r, m, s, 1 + rand() % 5);
	}
	ck_assert_int_eq(stream_dropped, both.dropped);
	if (cap == 0) {
		ck_assert_int_eq(both.dropped, 0);
	} else if (both.dropped > 0) {
		ck_assert_int_eq(gap.from, cap / 2);
		ck_assert_int_ge(both.size - gap.to, cap - cap / 2);
	}
}

static void model_done(struct model *m)
{
	runlog_attempt_forget(&m->a);
	buf_done(&m->bytes);
	buf_done(&m->streams);
}

/* --- tests --- */

START_TEST(test_nothing)
{
	struct runlog_reader *r;
	struct buf data = BUF_INIT;
	int64_t first, next, dropped;
	ck_assert_int_eq(runlog_open(dir, RUN, &r), 0);
	ck_assert_int_eq(runlog_size(r, 1, 1, STREAM_BOTH).size, 0);
	ck_assert_int_eq(
		runlog_read(r, 1, 1, STREAM_STDOUT, 5, 10, &data, NULL, &first, &next, &dropped),
		0);
	ck_assert_int_eq(first, 0);
	ck_assert_int_eq(next, 0);
	ck_assert_int_eq(runlog_tail_lines(r, 1, 1, STREAM_BOTH, 3), 0);
	ck_assert_int_eq(runlog_sync(dir, RUN, false), 0);
	runlog_remove(dir, RUN);
	/* A silent attempt makes no file. */
	struct runlog_writer *w = runlog_writer_new(dir, RUN);
	struct runlog_attempt a;
	ck_assert_int_eq(runlog_attempt_begin(w, &a, 1, 1, 100), 0);
	runlog_attempt_end(w, &a);
	runlog_writer_free(w);
	ck_assert_int_eq(size_of("idx"), -1);
	ck_assert_int_eq(size_of("log"), -1);
	runlog_close(r);
	buf_done(&data);
}
END_TEST

static void print_to_the_log(struct runlog_writer *w, struct runlog_attempt *a, const char *p,
			     size_t len)
{
	struct runlog_room room;
	while (len > 0) {
		ck_assert_int_eq(runlog_reserve(w, a, STREAM_STDOUT, (int64_t)len, 1000, &room), 0);
		ck_assert_int_eq(pwrite(room.fd, p, (size_t)room.len, room.off), room.len);
		runlog_wrote(w, a, room.len);
		len -= (size_t)room.len;
	}
}

/* What is sent to the disk early is what is new, when it is much and will not be dropped. */
START_TEST(test_early)
{
	const int64_t much = 8 << 20;
	char *text = xcalloc(1, (size_t)much);
	struct runlog_writer *w = runlog_writer_new(dir, RUN);
	struct runlog_attempt whole, capped;
	struct runlog_room room;
	ck_assert_int_eq(runlog_attempt_begin(w, &whole, 1, 1, 0), 0);
	ck_assert_int_eq(runlog_attempt_begin(w, &capped, 2, 1, 100), 0);
	print_to_the_log(w, &whole, text, (size_t)much - 1);
	ck_assert(!runlog_early(w, &whole, &room));
	print_to_the_log(w, &whole, text, 1);
	ck_assert(runlog_early(w, &whole, &room));
	ck_assert_int_eq(room.off, 0);
	ck_assert_int_eq(room.len, much);
	runlog_early_sent(w);
	ck_assert(!runlog_early(w, &whole, &room));
	print_to_the_log(w, &capped, text, (size_t)much);
	ck_assert(!runlog_early(w, &capped, &room));
	print_to_the_log(w, &whole, text, 1);
	ck_assert(runlog_early(w, &whole, &room));
	ck_assert_int_eq(room.off, much);
	ck_assert_int_eq(room.len, much + 1);
	runlog_attempt_end(w, &whole);
	runlog_attempt_end(w, &capped);
	runlog_writer_free(w);
	free(text);
}
END_TEST

/* What goes past the page cache: whole blocks at whole blocks, and a hole before them that nobody
 * sees, whether they come or are refused, nor after a crash before they come. */
START_TEST(test_direct)
{
	struct runlog_writer *w = runlog_writer_new(dir, RUN);
	struct model m = { 0 }, capped = { 0 };
	struct runlog_reader *r;
	struct runlog_room room;
	char *text = NULL;
	ck_assert_int_eq(posix_memalign((void **)&text, 4096, 2 << 20), 0);
	for (int i = 0; i < 2 << 20; i++)
		text[i] = (char)('a' + (i / 7 + i / 4099) % 26);
	ck_assert_int_eq(runlog_attempt_begin(w, &m.a, 1, 1, 0), 0);
	ck_assert_int_eq(runlog_attempt_begin(w, &capped.a, 2, 1, 3 << 20), 0);
	emit(w, &m, STREAM_STDOUT, "head\n", 5, 1000);
	int e = runlog_reserve_direct(w, &m.a, STREAM_STDOUT, 1 << 20, 1000, &room);
	if (e == 1) { /* not on this file system */
		free(text);
		model_done(&m);
		runlog_writer_free(w);
		return;
	}
	ck_assert_int_eq(e, 0);
	ck_assert_int_eq(room.off, 4096);
	ck_assert_int_eq(room.len, 1 << 20);
	ck_assert_int_eq(size_of("log"), 5);
	runlog_wrote(w, &m.a, 0); /* refused: what is printed goes where it was to go */
	emit(w, &m, STREAM_STDOUT, "more\n", 5, 1000);
	ck_assert_int_eq(size_of("log"), 10);
	srand(1); /* emit_direct takes all */
	int64_t n = 0;
	while (n == 0)
		n = emit_direct(w, &m, STREAM_STDOUT, text, 1 << 20, 1000);
	ck_assert_int_eq(n, 1 << 20);
	ck_assert_int_eq(size_of("log"), 4096 + (1 << 20));
	ck_assert(!runlog_early(w, &m.a, &room)); /* it is on the disk */
	n = 0;
	while (n == 0) /* the same record */
		n = emit_direct(w, &m, STREAM_STDOUT, text + 4096, 8192, 1001);
	ck_assert_int_eq(size_of("idx"), 4 * 48);
	emit(w, &m, STREAM_STDERR, "tail\n", 5, 1001);
	/* A cap: only as long as none of it may be dropped. */
	ck_assert_int_eq(runlog_reserve_direct(w, &capped.a, STREAM_STDOUT, 2 << 20, 1002, &room),
			 1);
	n = 0;
	while (n == 0)
		n = emit_direct(w, &capped, STREAM_STDOUT, text, 1 << 20, 1002);
	for (int i = 0; i < 4; i++)
		emit(w, &capped, STREAM_STDOUT, text + i, 1 << 20, 1003);
	ck_assert_int_eq(runlog_reserve_direct(w, &capped.a, STREAM_STDOUT, 4096, 1004, &room), 1);
	ck_assert_int_eq(runlog_open(dir, RUN, &r), 0);
	check_model(r, &m, 0);
	check_model(r, &capped, 3 << 20);
	/* Killed with the room made, and nothing in it. */
	ck_assert_int_eq(runlog_reserve_direct(w, &m.a, STREAM_STDOUT, 1 << 20, 1005, &room), 0);
	ck_assert_int_eq(runlog_refresh(r), 0);
	check_model(r, &m, 0);
	int64_t pos = m.a.pos, size = size_of("log");
	runlog_writer_free(w);
	w = runlog_writer_new(dir, RUN);
	runlog_attempt_forget(&m.a);
	ck_assert_int_eq(runlog_attempt_begin(w, &m.a, 1, 1, 0), 0);
	ck_assert_int_eq(m.a.pos, pos);
	emit(w, &m, STREAM_STDOUT, "again\n", 6, 2000);
	ck_assert_int_eq(size_of("log"), size + 6);
	ck_assert_int_eq(runlog_refresh(r), 0);
	check_model(r, &m, 0);
	runlog_close(r);
	runlog_attempt_end(w, &m.a);
	runlog_attempt_end(w, &capped.a);
	model_done(&m);
	model_done(&capped);
	runlog_writer_free(w);
	free(text);
}
END_TEST

static const int64_t caps[] = { 0, 1, 2, 100, 1000, 9000, 40000, 300000 };

/* Several attempts under one cap each, one long reader and fresh ones, restarts of the writer in
 * between. */
static void random_run(int64_t cap, int64_t chunk, int steps, bool restarts)
{
	struct model m[OPS_MAX] = { 0 };
	struct runlog_writer *w = runlog_writer_new(dir, RUN);
	struct runlog_reader *r, *fresh;
	int64_t now = 1000;
	int n = 1 + rand() % OPS_MAX;
	ck_assert_int_eq(runlog_open(dir, RUN, &r), 0);
	for (int i = 0; i < n; i++)
		ck_assert_int_eq(runlog_attempt_begin(w, &m[i].a, (uint32_t)i / 2 + 1,
						      (uint32_t)i % 2 + 1, cap),
				 0);
	for (int step = 0; step < steps; step++) {
		now += rand() % 60;
		emit_random(w, &m[rand() % n], 1 + rand() % chunk, now);
		if (rand() % 20 == 0) {
			ck_assert_int_eq(runlog_refresh(r), 0);
			check_model(r, &m[rand() % n], cap);
		}
		if (restarts && rand() % 60 == 0) {
			runlog_writer_free(w);
			w = runlog_writer_new(dir, RUN);
			for (int i = 0; i < n; i++) {
				struct runlog_attempt was = m[i].a;
				runlog_attempt_forget(&m[i].a);
				ck_assert_int_eq(
					runlog_attempt_begin(w, &m[i].a, was.op, was.attempt, cap),
					0);
				ck_assert_int_eq(m[i].a.pos, was.pos);
				ck_assert_int_eq(m[i].a.stream_pos[0], was.stream_pos[0]);
				ck_assert_int_eq(m[i].a.stream_pos[1], was.stream_pos[1]);
				ck_assert_int_eq(m[i].a.drop_to, was.drop_to);
			}
		}
	}
	ck_assert_int_eq(runlog_refresh(r), 0);
	for (int i = 0; i < n; i++) {
		check_model(r, &m[i], cap);
		runlog_attempt_end(w, &m[i].a);
	}
	ck_assert_int_eq(runlog_refresh(r), 0);
	ck_assert_int_eq(runlog_open(dir, RUN, &fresh), 0);
	for (int i = 0; i < n; i++) {
		check_model(r, &m[i], cap);
		check_model(fresh, &m[i], cap);
		struct runlog_size size = runlog_size(r, m[i].a.op, m[i].a.attempt, STREAM_BOTH);
		ck_assert_int_eq(size.dropped, cap && size.size > cap ? size.size - cap : 0);
		model_done(&m[i]);
	}
	runlog_close(fresh);
	runlog_close(r);
	runlog_writer_free(w);
	ck_assert_int_eq(runlog_sync(dir, RUN, false), 0);
	runlog_remove(dir, RUN);
	ck_assert_int_eq(size_of("idx"), -1);
}

START_TEST(test_random)
{
	for (int round = 0; round < 6; round++) {
		random_run(caps[_i], 200, 600, round % 2);
		random_run(caps[_i], 20000, 80, round % 2);
	}
}
END_TEST

/* One byte at a time, in a hurry: few records. */
START_TEST(test_merge)
{
	struct runlog_writer *w = runlog_writer_new(dir, RUN);
	struct model m = { 0 };
	ck_assert_int_eq(runlog_attempt_begin(w, &m.a, 1, 1, 0), 0);
	for (int i = 0; i < 2000; i++)
		emit(w, &m, STREAM_STDOUT, "x", 1, 5000 + i / 2);
	ck_assert_int_le(size_of("idx"), 48 * 13);
	ck_assert_int_eq(size_of("log"), 2000);
	emit(w, &m, STREAM_STDERR, "e", 1, 6001);
	emit(w, &m, STREAM_STDOUT, "x", 1, 6002);
	ck_assert_int_le(size_of("idx"), 48 * 15);
	struct runlog_reader *r;
	ck_assert_int_eq(runlog_open(dir, RUN, &r), 0);
	check_model(r, &m, 0);
	runlog_close(r);
	model_done(&m);
	runlog_writer_free(w);
}
END_TEST

/* Two ops far beyond their caps, in small bits between each other, keep disk and index small. */
START_TEST(test_room)
{
	struct runlog_writer *w = runlog_writer_new(dir, RUN);
	struct runlog_attempt a[2];
	const int64_t cap = 256 << 10;
	char line[100];
	memset(line, 'y', sizeof(line));
	for (uint32_t i = 0; i < 2; i++)
		ck_assert_int_eq(runlog_attempt_begin(w, &a[i], i + 1, 1, cap), 0);
	for (int i = 0; i < 400000; i++) {
		struct runlog_room room;
		if (runlog_reserve(w, &a[i % 2], STREAM_STDOUT, sizeof(line), i + 1, &room) < 0 ||
		    fd_pwrite_all(room.fd, line, sizeof(line), room.off) < 0)
			ck_abort();
		runlog_wrote(w, &a[i % 2], sizeof(line));
	}
	ck_assert_int_eq(size_of("log"), 40000000);
	ck_assert_int_ge(size_of("idx"), 400000 * 48);
	int64_t log_disk = disk_of("log"), idx_disk = disk_of("idx");
	char *probe = path_of("probe");
	int fd = open(probe, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) == 0) {
		ck_assert_int_le(log_disk, 4 * cap);
		ck_assert_int_le(idx_disk, 2 << 20);
	}
	close(fd);
	free(probe);
	struct runlog_reader *r;
	ck_assert_int_eq(runlog_open(dir, RUN, &r), 0);
	ck_assert_int_eq(runlog_size(r, 2, 1, STREAM_STDOUT).size, 20000000);
	struct buf data = BUF_INIT;
	int64_t first, next, dropped;
	ck_assert_int_eq(
		runlog_read(r, 2, 1, STREAM_BOTH, 0, -1, &data, NULL, &first, &next, &dropped), 0);
	ck_assert_int_eq((int64_t)data.len + dropped, 20000000);
	ck_assert_ptr_null(memchr(data.p, 0, data.len));
	ck_assert_int_eq(memcmp(data.p, data.p + 1, data.len - 1), 0);
	buf_done(&data);
	runlog_close(r);
	for (int i = 0; i < 2; i++)
		runlog_attempt_end(w, &a[i]);
	runlog_writer_free(w);
}
END_TEST

/* Each chunk is dropped at once: neither its record nor the drop records before the newest stay. */
START_TEST(test_index_room)
{
	struct runlog_writer *w = runlog_writer_new(dir, RUN);
	struct runlog_attempt a;
	char chunk[9000];
	memset(chunk, 'z', sizeof(chunk));
	ck_assert_int_eq(runlog_attempt_begin(w, &a, 1, 1, 1000), 0);
	for (int i = 0; i < 10000; i++) {
		struct runlog_room room;
		if (runlog_reserve(w, &a, STREAM_STDOUT, sizeof(chunk), i * 200 + 1, &room) < 0 ||
		    fd_pwrite_all(room.fd, chunk, (size_t)room.len, room.off) < 0)
			ck_abort();
		runlog_wrote(w, &a, room.len);
	}
	runlog_attempt_end(w, &a);
	ck_assert_int_ge(size_of("idx"), 19000 * 48);
	if (disk_of("log") < 80 << 20) /* holes can be punched here */
		ck_assert_int_le(disk_of("idx"), 32 << 10);
	runlog_writer_free(w);
}
END_TEST

/* Byte number pos of an op as the killed writer prints it. */
static char pattern(uint32_t op, int64_t pos)
{
	return (char)('a' + (pos * 7 + op * 3 + pos / 1000) % 26);
}

/* Reads an attempt back: every live byte is the pattern's. Its size. */
static int64_t check_pattern(struct runlog_reader *r, uint32_t op)
{
	struct buf data = BUF_INIT;
	int64_t first, next, dropped, size = runlog_size(r, op, 1, STREAM_BOTH).size;
	struct runlog_gap gap = runlog_gap(r, op, 1, STREAM_BOTH);
	ck_assert_int_eq(
		runlog_read(r, op, 1, STREAM_BOTH, 0, -1, &data, NULL, &first, &next, &dropped), 0);
	ck_assert_int_eq(next, size);
	ck_assert_int_eq((int64_t)data.len + dropped, size);
	gap = runlog_gap(r, op, 1, STREAM_BOTH);
	int64_t pos = 0;
	for (size_t i = 0; i < data.len; i++, pos++) {
		if (pos == gap.from)
			pos = gap.to;
		if (data.p[i] !=
		    pattern(op, pos)) /* ck_assert writes to disk: too slow for each byte */
			ck_abort_msg("op %u position %lld", op, (long long)pos);
	}
	buf_done(&data);
	return size;
}

/* Nothing is missing but what the drop says. */
static void check_whole(struct runlog_reader *r, uint32_t op)
{
	struct buf data = BUF_INIT;
	int64_t first, next, dropped;
	struct runlog_gap gap = runlog_gap(r, op, 1, STREAM_BOTH);
	ck_assert_int_eq(
		runlog_read(r, op, 1, STREAM_BOTH, 0, -1, &data, NULL, &first, &next, &dropped), 0);
	ck_assert_int_eq(dropped, gap.to - gap.from);
	buf_done(&data);
}

static void emit_pattern(struct runlog_writer *w, struct runlog_attempt *a, int64_t len,
			 int64_t now, int64_t short_of)
{
	struct runlog_room room;
	if (runlog_reserve(w, a, a->pos % 5 ? STREAM_STDOUT : STREAM_STDERR, len, now, &room) < 0)
		ck_abort();
	char *p = xmalloc((size_t)room.len);
	for (int64_t i = 0; i < room.len; i++)
		p[i] = pattern(a->op, a->pos + i);
	int64_t n = MAX2(room.len - short_of, 0);
	if (fd_pwrite_all(room.fd, p, (size_t)n, room.off) < 0)
		ck_abort();
	if (!short_of)
		runlog_wrote(w, a, n);
	free(p);
}

/* Goes on with a new writer and checks that nothing is mixed up. */
static void resume_and_check(uint32_t ops, int64_t cap)
{
	struct runlog_reader *r;
	struct runlog_writer *w = runlog_writer_new(dir, RUN);
	int64_t sizes[OPS_MAX + 1];
	ck_assert_int_eq(runlog_open(dir, RUN, &r), 0);
	for (uint32_t op = 1; op <= ops; op++) {
		struct runlog_attempt a;
		sizes[op] = check_pattern(r, op);
		ck_assert_int_eq(runlog_attempt_begin(w, &a, op, 1, cap), 0);
		ck_assert_int_eq(a.pos, sizes[op]);
		emit_pattern(w, &a, 300, 90000, 0);
		emit_pattern(w, &a, 300, 99000, 0);
		runlog_attempt_end(w, &a);
		sizes[op] = a.pos;
	}
	ck_assert_int_eq(runlog_refresh(r), 0);
	for (uint32_t op = 1; op <= ops; op++)
		ck_assert_int_eq(check_pattern(r, op), sizes[op]);
	runlog_close(r);
	ck_assert_int_eq(runlog_open(dir, RUN, &r), 0);
	for (uint32_t op = 1; op <= ops; op++)
		ck_assert_int_eq(check_pattern(r, op), sizes[op]);
	runlog_close(r);
	runlog_writer_free(w);
}

/* A crash after the record and before, or amid, its bytes. */
START_TEST(test_crash_reserved)
{
	for (int round = 0; round < 40; round++) {
		struct runlog_writer *w = runlog_writer_new(dir, RUN);
		struct runlog_attempt a[3];
		for (uint32_t i = 0; i < 3; i++)
			ck_assert_int_eq(runlog_attempt_begin(w, &a[i], i + 1, 1, _i ? 900 : 0), 0);
		for (int i = 0; i < round; i++)
			emit_pattern(w, &a[rand() % 3], 1 + rand() % 200, i * 30 + 1, 0);
		emit_pattern(w, &a[rand() % 3], 100, round * 30 + 1, 1 + rand() % 100);
		for (int i = 0; i < 3; i++)
			runlog_attempt_forget(&a[i]);
		runlog_writer_free(w);
		resume_and_check(3, _i ? 900 : 0);
		runlog_remove(dir, RUN);
	}
}
END_TEST

/* The index cut at every record and inside of every one, the log anywhere before its end (as a
 * power cut may leave them). */
START_TEST(test_crash_cut)
{
	for (int64_t records = 0; records <= 30; records++) {
		for (int torn = 0; torn < 4; torn++) {
			struct runlog_writer *w = runlog_writer_new(dir, RUN);
			struct runlog_attempt a[3];
			for (uint32_t i = 0; i < 3; i++)
				ck_assert_int_eq(runlog_attempt_begin(w, &a[i], i + 1, 1, 0), 0);
			for (int i = 0; i < 30; i++)
				emit_pattern(w, &a[i % 3], 1 + rand() % 200, i * 300 + 1, 0);
			runlog_writer_free(w);
			ck_assert_int_eq(size_of("idx"), 31 * 48);
			cut("idx", MIN2((records + 1) * 48 + torn * 15, 31 * 48));
			if (torn % 2)
				cut("log", rand() % (size_of("log") + 1));
			resume_and_check(3, 0);
			runlog_remove(dir, RUN);
		}
	}
}
END_TEST

/* Bytes without a record (a power cut): they become nobody's, and nothing after them is displaced.
 */
START_TEST(test_orphans)
{
	struct runlog_writer *w = runlog_writer_new(dir, RUN);
	struct runlog_attempt a;
	ck_assert_int_eq(runlog_attempt_begin(w, &a, 1, 1, 0), 0);
	for (int i = 0; i < 5; i++)
		emit_pattern(w, &a, 100, i * 300 + 1, 0);
	runlog_writer_free(w);
	cut("idx", 48 * (_i + 1));
	/* What is announced but not written is not there, whatever lay in its place. */
	w = runlog_writer_new(dir, RUN);
	struct runlog_room room;
	struct runlog_reader *r;
	ck_assert_int_eq(runlog_attempt_begin(w, &a, 1, 1, 0), 0);
	ck_assert_int_eq(runlog_reserve(w, &a, STREAM_STDERR, 100, 9000, &room), 0);
	ck_assert_int_eq(runlog_open(dir, RUN, &r), 0);
	ck_assert_int_eq(check_pattern(r, 1), 100 * _i);
	runlog_close(r);
	runlog_writer_free(w);
	resume_and_check(2, 0);
	ck_assert_int_eq(size_of("log"), 100 * _i + 1200);
}
END_TEST

/* A length that is too great, as a power cut may leave it: the follower tells where it ends. */
START_TEST(test_long_record)
{
	struct runlog_writer *w = runlog_writer_new(dir, RUN);
	struct runlog_attempt a[2];
	struct runlog_reader *r;
	for (uint32_t i = 0; i < 2; i++)
		ck_assert_int_eq(runlog_attempt_begin(w, &a[i], i + 1, 1, 0), 0);
	for (int i = 0; i < 20; i++)
		emit_pattern(w, &a[i % 2], 100, i * 300 + 1, 0);
	int64_t len = 101 + rand() % 2000;
	_cleanup_free_ char *path = path_of("idx");
	_cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_int_eq(fd_pwrite_all(fd, &len, sizeof(len), 48 * (_i + 1) + 16), 0);
	ck_assert_int_eq(runlog_open(dir, RUN, &r), 0);
	ck_assert_int_eq(check_pattern(r, 1), 1000);
	ck_assert_int_eq(check_pattern(r, 2), 1000);
	runlog_close(r);
	runlog_writer_free(w);
}
END_TEST

/* A reader that looked at any moment, inside of any record: the next refresh knows all. */
START_TEST(test_early_view)
{
	struct runlog_writer *w = runlog_writer_new(dir, RUN);
	struct runlog_attempt a[2];
	for (uint32_t i = 0; i < 2; i++)
		ck_assert_int_eq(runlog_attempt_begin(w, &a[i], i + 1, 1, 6000), 0);
	for (int i = 0; i < 60; i++)
		emit_pattern(w, &a[rand() % 6 == 0], 1 + rand() % 3000, i / 20 * 1000 + 1, 0);
	_cleanup_buf_ struct buf idx = BUF_INIT, log = BUF_INIT;
	_cleanup_free_ char *idx_path = path_of("idx"), *log_path = path_of("log");
	ck_assert_int_eq(fd_read_file(idx_path, 1 << 30, &idx), 0);
	ck_assert_int_eq(fd_read_file(log_path, 1 << 30, &log), 0);
	_cleanup_close_ int idx_fd = open(idx_path, O_RDWR | O_CLOEXEC);
	_cleanup_close_ int log_fd = open(log_path, O_RDWR | O_CLOEXEC);
	for (size_t at = 48; at < idx.len; at += 48) {
		struct runlog_record rec;
		struct runlog_reader *r;
		memcpy(&rec, idx.p + at, sizeof(rec));
		if (rec.type == RECORD_DROP || rec.op == 0)
			continue;
		int64_t had = rand() % 4 ? rand() % (rec.len + 1) : 0;
		cut("log", rec.off + had);
		cut("idx", (int64_t)at + 48);
		rec.len = rand() % 2 ? had : had + rand() % 1000;
		ck_assert_int_eq(fd_pwrite_all(idx_fd, &rec, sizeof(rec), (int64_t)at), 0);
		ck_assert_int_eq(runlog_open(dir, RUN, &r), 0);
		ck_assert_int_eq(fd_pwrite_all(log_fd, log.p, log.len, 0), 0);
		ck_assert_int_eq(fd_pwrite_all(idx_fd, idx.p, idx.len, 0), 0);
		ck_assert_int_eq(runlog_refresh(r), 0);
		for (uint32_t op = 1; op <= 2; op++) {
			ck_assert_int_eq(check_pattern(r, op), a[op - 1].pos);
			check_whole(r, op);
		}
		runlog_close(r);
	}
	for (uint32_t i = 0; i < 2; i++)
		runlog_attempt_forget(&a[i]);
	runlog_writer_free(w);
}
END_TEST

/* Killed at any instruction, several times over the same files. */
START_TEST(test_kill)
{
	const int64_t cap = _i ? 20000 : 0;
	for (int round = 0; round < 25; round++) {
		pid_t pid = fork();
		if (pid == 0) {
			struct runlog_writer *w = runlog_writer_new(dir, RUN);
			struct runlog_attempt a[3];
			for (uint32_t i = 0; i < 3; i++)
				if (runlog_attempt_begin(w, &a[i], i + 1, 1, cap) < 0)
					_exit(1);
			for (int64_t i = 0;; i++)
				emit_pattern(w, &a[rand() % 3], 1 + rand() % 4000, i / 3 + 1, 0);
		}
		ck_assert_int_gt(pid, 0);
		usleep(500 + (useconds_t)rand() % 6000);
		kill(pid, SIGKILL);
		int status;
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert(WIFSIGNALED(status));
		resume_and_check(3, cap);
		if (size_of("log") > 20 << 20)
			runlog_remove(dir, RUN);
	}
}
END_TEST

static void write_beside(int64_t cap)
{
	struct runlog_writer *w = runlog_writer_new(dir, RUN);
	struct runlog_attempt a[2];
	for (uint32_t i = 0; i < 2; i++)
		if (runlog_attempt_begin(w, &a[i], i + 1, 1, cap) < 0)
			_exit(1);
	for (int64_t i = 0; i < (cap ? 60000 : 12000); i++)
		emit_pattern(w, &a[rand() % 8 == 0], 1 + rand() % (cap ? 3000 : 300), i / 3 + 1, 0);
	for (uint32_t i = 0; i < 2; i++)
		runlog_attempt_end(w, &a[i]);
	_exit(0);
}

/* All of an op's output at this moment, byte by byte; what is dropped is known before or after. */
static void read_beside(struct runlog_reader *r, uint32_t op, int64_t cap, int64_t *last)
{
	struct buf data = BUF_INIT;
	int64_t first, next, dropped, pos = 0;
	ck_assert_int_eq(runlog_refresh(r), 0);
	ck_assert_int_eq(
		runlog_read(r, op, 1, STREAM_BOTH, 0, -1, &data, NULL, &first, &next, &dropped), 0);
	struct runlog_gap gap = runlog_gap(r, op, 1, STREAM_BOTH);
	ck_assert_int_ge(next, *last);
	*last = next;
	ck_assert_int_eq((int64_t)data.len + dropped, next);
	ck_assert_int_eq(dropped, gap.to - gap.from);
	ck_assert(cap != 0 || dropped == 0);
	for (size_t i = 0; i < data.len; i++, pos++) {
		if (pos == gap.from)
			pos = gap.to;
		if (data.p[i] != pattern(op, pos))
			ck_abort_msg("op %u position %lld", op, (long long)pos);
	}
	buf_done(&data);
}

/* A reader beside a writer: it never misses a byte, and never sees a punched one. */
START_TEST(test_beside)
{
	const int64_t cap = _i % 2 ? 30000 : 0;
	struct runlog_reader *r;
	int status;
	int64_t last[3] = { 0 }, reads = 0;
	pid_t pid = fork();
	if (pid == 0)
		write_beside(cap);
	ck_assert_int_eq(runlog_open(dir, RUN, &r), 0);
	while (waitpid(pid, &status, WNOHANG) == 0)
		for (uint32_t op = 1; op <= 2; op++, reads++)
			read_beside(r, op, cap, &last[op]);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	ck_assert_int_gt(reads, 0);
	for (uint32_t op = 1; op <= 2; op++) {
		read_beside(r, op, cap, &last[op]);
		struct runlog_size size = runlog_size(r, op, 1, STREAM_BOTH);
		ck_assert_int_eq(size.dropped, cap ? size.size - cap : 0);
	}
	runlog_close(r);
}
END_TEST

/* An op that goes on without the cap it had: from here on all is kept. */
START_TEST(test_cap_lifted)
{
	struct runlog_writer *w = runlog_writer_new(dir, RUN);
	struct runlog_attempt a;
	struct runlog_reader *r;
	ck_assert_int_eq(runlog_attempt_begin(w, &a, 1, 1, 2000), 0);
	for (int i = 0; i < 100; i++)
		emit_pattern(w, &a, 200, i * 300 + 1, 0);
	runlog_attempt_forget(&a);
	runlog_writer_free(w);
	ck_assert_int_eq(runlog_open(dir, RUN, &r), 0);
	int64_t dropped = runlog_size(r, 1, 1, STREAM_BOTH).dropped;
	ck_assert_int_gt(dropped, 0);
	w = runlog_writer_new(dir, RUN);
	ck_assert_int_eq(runlog_attempt_begin(w, &a, 1, 1, 0), 0);
	for (int i = 0; i < 100; i++)
		emit_pattern(w, &a, 200, 90000 + i * 300, 0);
	runlog_attempt_end(w, &a);
	runlog_writer_free(w);
	ck_assert_int_eq(runlog_refresh(r), 0);
	ck_assert_int_eq(check_pattern(r, 1), a.pos);
	ck_assert_int_eq(runlog_size(r, 1, 1, STREAM_BOTH).dropped, dropped);
	check_whole(r, 1);
	runlog_close(r);
}
END_TEST

/* Damage leads nowhere: an index of noise is refused or read as something, never a crash or an
 * endless loop. */
START_TEST(test_noise)
{
	for (int round = 0; round < 300; round++) {
		struct runlog_writer *w = runlog_writer_new(dir, RUN);
		struct runlog_attempt a[2];
		for (uint32_t i = 0; i < 2; i++)
			ck_assert_int_eq(runlog_attempt_begin(w, &a[i], i + 1, 1, 500), 0);
		for (int i = 0; i < 30; i++)
			emit_pattern(w, &a[i % 2], 1 + rand() % 200, i * 300 + 1, 0);
		for (int i = 0; i < 2; i++)
			runlog_attempt_end(w, &a[i]);
		runlog_writer_free(w);
		char *path = path_of("idx");
		int fd = open(path, O_RDWR | O_CLOEXEC);
		for (int i = 0; i < 1 + round % 12; i++) {
			char c = (char)rand();
			ck_assert_int_eq(pwrite(fd, &c, 1, 48 + rand() % (size_of("idx") - 48)), 1);
		}
		close(fd);
		free(path);
		struct runlog_reader *r;
		ck_assert_int_eq(runlog_open(dir, RUN, &r), 0);
		for (uint32_t op = 1; op <= 2; op++) {
			struct buf data = BUF_INIT;
			int64_t first, next, dropped;
			int e = runlog_read(r, op, 1, STREAM_BOTH, 0, 1 << 20, &data, NULL, &first,
					    &next, &dropped);
			ck_assert(e == 0 || e == -EIO);
			ck_assert_int_ge(runlog_tail_lines(r, op, 1, STREAM_STDOUT, 4), -EIO);
			buf_done(&data);
		}
		runlog_close(r);
		w = runlog_writer_new(dir, RUN);
		ck_assert_int_eq(runlog_attempt_begin(w, &a[0], 1, 1, 500), 0);
		emit_pattern(w, &a[0], 10, 1, 0);
		runlog_attempt_end(w, &a[0]);
		runlog_writer_free(w);
		runlog_remove(dir, RUN);
	}
}
END_TEST

/* Somebody cuts the log under its writer: what is missing is an error, never zeros; what came
 * before and what comes later is read. */
START_TEST(test_cut_under_the_writer)
{
	struct runlog_writer *w = runlog_writer_new(dir, RUN);
	struct runlog_attempt a[2];
	struct runlog_reader *r;
	_cleanup_buf_ struct buf data = BUF_INIT;
	int64_t first, next, dropped;
	for (uint32_t i = 0; i < 2; i++) {
		ck_assert_int_eq(runlog_attempt_begin(w, &a[i], i + 1, 1, 0), 0);
		emit_pattern(w, &a[i], 6000, 1, 0);
	}
	cut("log", 5000);
	ck_assert_int_eq(runlog_open(dir, RUN, &r), 0);
	for (uint32_t i = 0; i < 2; i++)
		emit_pattern(w, &a[i], 6000, 2, 0);
	ck_assert_int_eq(runlog_refresh(r), 0);
	for (uint32_t i = 0; i < 2; i++) {
		buf_clear(&data);
		int e = runlog_read(r, i + 1, 1, STREAM_BOTH, 0, -1, &data, NULL, &first, &next,
				    &dropped);
		ck_assert_int_eq(e, i == 0 ? 0 : -EIO);
		ck_assert_int_eq(data.len, i == 0 ? 5000 : 0);
		e = runlog_read(r, i + 1, 1, STREAM_BOTH, 5000, -1, &data, NULL, &first, &next,
				&dropped);
		ck_assert_int_eq(e, -EIO);
		buf_clear(&data);
		e = runlog_read(r, i + 1, 1, STREAM_BOTH, 6000, -1, &data, NULL, &first, &next,
				&dropped);
		ck_assert_int_eq(e, 0);
		ck_assert_int_eq(data.len, 6000);
		ck_assert(!memchr(data.p, 0, data.len));
		runlog_attempt_end(w, &a[i]);
	}
	runlog_close(r);
	runlog_writer_free(w);
}
END_TEST

START_TEST(test_foreign)
{
	char *path = path_of("idx");
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char text[100];
	memset(text, 'q', sizeof(text));
	ck_assert_int_eq(fd_write_all(fd, text, sizeof(text)), 0);
	close(fd);
	free(path);
	path = path_of("log");
	close(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	free(path);
	struct runlog_reader *r;
	ck_assert_int_eq(runlog_open(dir, RUN, &r), -EPROTO);
	struct runlog_writer *w = runlog_writer_new(dir, RUN);
	struct runlog_attempt a;
	ck_assert_int_eq(runlog_attempt_begin(w, &a, 1, 1, 0), -EPROTO);
	runlog_writer_free(w);
	ck_assert_int_eq(size_of("idx"), 100);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("runlog");
	TCase *t = tcase_create("runlog");
	srand(20240601);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 300);
	tcase_add_test(t, test_nothing);
	tcase_add_loop_test(t, test_random, 0, (int)ARRAY_SIZE(caps));
	tcase_add_test(t, test_merge);
	tcase_add_test(t, test_room);
	tcase_add_test(t, test_index_room);
	tcase_add_loop_test(t, test_crash_reserved, 0, 2);
	tcase_add_test(t, test_crash_cut);
	tcase_add_loop_test(t, test_orphans, 0, 6);
	tcase_add_loop_test(t, test_long_record, 0, 20);
	tcase_add_loop_test(t, test_early_view, 0, 4);
	tcase_add_loop_test(t, test_kill, 0, 2);
	tcase_add_loop_test(t, test_beside, 0, 6);
	tcase_add_test(t, test_cap_lifted);
	tcase_add_test(t, test_noise);
	tcase_add_test(t, test_cut_under_the_writer);
	tcase_add_test(t, test_foreign);
	tcase_add_test(t, test_early);
	tcase_add_test(t, test_direct);
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
