/*
 * Any bytes as a run's index, with a log of any length: reading never fails but with an error, what
 * is told of sizes, gaps and positions agrees, and a writer that goes on afterwards finds its bytes
 * again where no record points back. The first byte chooses the cap and whether the index begins
 * with a good header; the next is the length of the log / 16; the rest is the index.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/xalloc.h"
#include "daemon/exec/runlog.h"
#include "daemon/exec/runlog_format.h"
#include "tests/fuzz/fuzz.h"

#define RUN 1
#define OPS 3		       /* records of others are there as well; these are asked for */
#define TOP (INT64_C(1) << 59) /* positions beyond are damage that no writer can go on from */

static bool has_cuts; /* bytes may be missing */
static char dir[] = "/tmp/batchd-fuzz-XXXXXX";

static void dir_remove(void)
{
	rmdir(dir);
}

static void put_file(const char *suffix, const void *head, size_t head_len, const void *p,
		     size_t len)
{
	_cleanup_close_ int fd = runlog_open_file(dir, RUN, suffix, O_WRONLY | O_CREAT | O_TRUNC);
	HOLDS(fd >= 0 && fd_write_all(fd, head, head_len) == 0 && fd_write_all(fd, p, len) == 0);
}

/* Lines of 7 bytes, so that there are lines. */
static void put_log(size_t len)
{
	_cleanup_free_ char *p = xmalloc(len + 1);
	for (size_t i = 0; i < len; i++)
		p[i] = i % 7 == 6 ? '\n' : 'x';
	put_file("log", NULL, 0, p, len);
}

static void put_index(const uint8_t *data, size_t size, bool header)
{
	const struct runlog_header h = { RUNLOG_MAGIC, RUNLOG_VERSION, sizeof(struct runlog_record),
					 RUN };
	put_file("idx", &h, header ? sizeof(h) : 0, data, size);
}

/* A piece from `offset` on, which is what the whole has there. */
static void check_piece(struct runlog_reader *r, uint32_t op, enum stream stream, int64_t offset,
			int64_t limit)
{
	_cleanup_buf_ struct buf data = BUF_INIT, chunks = BUF_INIT;
	int64_t first, next, dropped, size = runlog_size(r, op, 1, stream).size, sum = 0;
	int e = runlog_read(r, op, 1, stream, offset, limit, &data, &chunks, &first, &next,
			    &dropped);
	HOLDS(e == 0 || (e == -EIO && has_cuts));
	if (e < 0)
		return;
	HOLDS(limit < 0 || (int64_t)data.len <= limit);
	HOLDS(first >= offset && next >= first && next <= size && dropped >= 0);
	HOLDS(next == offset + (int64_t)data.len + dropped);
	HOLDS(limit >= 0 || next == size || has_cuts);
	for (size_t at = 0; at < chunks.len; at += sizeof(struct runlog_chunk)) {
		struct runlog_chunk c;
		memcpy(&c, chunks.p + at, sizeof(c));
		HOLDS(c.bytes > 0 && (stream == STREAM_BOTH || c.stream == (int)stream));
		sum += c.bytes;
	}
	HOLDS(sum == (int64_t)data.len);
}

static void check_stream(struct runlog_reader *r, uint32_t op, enum stream stream)
{
	struct runlog_size s = runlog_size(r, op, 1, stream);
	struct runlog_gap gap = runlog_gap(r, op, 1, stream);
	HOLDS(s.size >= 0 && s.dropped >= 0 && s.dropped <= s.size);
	HOLDS(gap.from >= 0 && gap.to <= s.size && gap.to - gap.from == s.dropped);
	check_piece(r, op, stream, 0, -1);
	check_piece(r, op, stream, s.size / 2, 10);
	check_piece(r, op, stream, s.size, 10);
	for (int64_t n = 0; n < 3; n++) {
		int64_t at = runlog_tail_lines(r, op, 1, stream, n);
		HOLDS(at >= 0 && at <= s.size);
	}
	for (int i = 0; i < 4 && stream != STREAM_BOTH; i++) {
		int64_t pos = runlog_size(r, op, 1, STREAM_BOTH).size / 3 * i;
		int64_t at = runlog_stream_at(r, op, 1, stream, pos);
		HOLDS(at >= 0 && at <= s.size);
	}
}

static void check_reader(struct runlog_reader *r)
{
	for (uint32_t op = 1; op <= OPS; op++)
		for (int stream = STREAM_BOTH; stream <= STREAM_STDERR; stream++)
			check_stream(r, op, stream);
}

/* What a later attempt to read finds is what is found now. */
static void check_twice(void)
{
	struct runlog_reader *r;
	int64_t sizes[OPS + 1];
	HOLDS(runlog_open(dir, RUN, &r) == 0);
	check_reader(r);
	for (uint32_t op = 1; op <= OPS; op++)
		sizes[op] = runlog_size(r, op, 1, STREAM_BOTH).size;
	HOLDS(runlog_refresh(r) == 0);
	check_reader(r);
	for (uint32_t op = 1; op <= OPS; op++)
		HOLDS(runlog_size(r, op, 1, STREAM_BOTH).size == sizes[op]);
	runlog_close(r);
}

static void check_last(uint32_t op, enum stream stream, int64_t pos, struct slice s)
{
	_cleanup_buf_ struct buf data = BUF_INIT;
	struct runlog_reader *r;
	int64_t first, next, dropped;
	HOLDS(runlog_open(dir, RUN, &r) == 0);
	HOLDS(runlog_read(r, op, 1, stream, pos, -1, &data, NULL, &first, &next, &dropped) == 0);
	HOLDS(slice_eq(buf_slice(&data), s));
	runlog_close(r);
}

static bool any_cut(const uint8_t *data, size_t size)
{
	for (; size >= sizeof(struct runlog_record); size -= sizeof(struct runlog_record)) {
		struct runlog_record rec;
		memcpy(&rec, data, sizeof(rec));
		data += sizeof(rec);
		if (record_ok(&rec) && rec.type == RECORD_CUT)
			return true;
	}
	return false;
}

/* Offsets only grow, whatever a crash or a power cut leaves: else bytes are taken for others'. */
static bool offsets_grow(const uint8_t *data, size_t size)
{
	int64_t last = 0;
	for (; size >= sizeof(struct runlog_record); size -= sizeof(struct runlog_record)) {
		struct runlog_record rec;
		memcpy(&rec, data, sizeof(rec));
		data += sizeof(rec);
		if (!record_ok(&rec) || !record_is_data(&rec))
			continue;
		if (rec.off < last)
			return false;
		last = rec.off;
	}
	return true;
}

static void go_on(struct runlog_writer *w, uint32_t op, int64_t cap, bool sane)
{
	static const char text[] = "and on it goes\n";
	enum stream stream = op % 2 ? STREAM_STDOUT : STREAM_STDERR;
	struct runlog_attempt a;
	struct runlog_room room;
	HOLDS(runlog_attempt_begin(w, &a, op, 1, cap) == 0);
	int64_t pos = a.stream_pos[stream - STREAM_STDOUT];
	HOLDS(runlog_reserve(w, &a, stream, sizeof(text), 1000, &room) == 0 && room.len > 0);
	HOLDS(fd_pwrite_all(room.fd, text, (size_t)room.len, room.off) == 0);
	runlog_wrote(w, &a, room.len);
	if (sane && cap == 0 && a.pos < TOP && pos < TOP)
		check_last(op, stream, pos, slice_of(text, (size_t)room.len));
	runlog_attempt_end(w, &a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int64_t caps[] = { 0, 1, 40, 5000 };
	static bool begun;
	struct runlog_reader *r;
	if (size < 2)
		return 0;
	if (!begun) {
		HOLDS(mkdtemp(dir));
		atexit(dir_remove);
		begun = true;
	}
	put_log((size_t)data[1] * 16);
	put_index(data + 2, size - 2, data[0] & 4);
	size_t head = data[0] & 4 ? 0 : sizeof(struct runlog_header);
	has_cuts = size - 2 > head && any_cut(data + 2 + head, size - 2 - head);
	bool sane = size - 2 <= head || offsets_grow(data + 2 + head, size - 2 - head);
	int e = runlog_open(dir, RUN, &r);
	HOLDS(e == 0 || e == -EPROTO);
	struct runlog_writer *w = runlog_writer_new(dir, RUN);
	if (e == 0) {
		runlog_close(r);
		check_twice();
		for (uint32_t op = 1; op <= OPS; op++)
			go_on(w, op, caps[data[0] & 3], sane);
		check_twice();
	} else {
		struct runlog_attempt a;
		HOLDS(runlog_attempt_begin(w, &a, 1, 1, 0) == -EPROTO);
	}
	runlog_writer_free(w);
	runlog_remove(dir, RUN);
	return 0;
}
