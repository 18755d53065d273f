/*
 * What stands in RUN.idx: a header, then records of one size, in the byte order of the machine.
 * Private to runlog*.c.
 *
 * Data records come in the order of their bytes in the log; a record's bytes end where the next
 * data record's begin, or at the end of the log, whatever its length says. Every record carries its
 * positions, so one whose bytes were dropped can go too: the index is punched out like the log, by
 * whole pages. A cut record is written by whoever finds the log shorter than it left it: what the
 * records before it have there is missing. A record that lost its first or its last eight bytes
 * (op, time_ms: never 0) to that, or to a power cut, is none.
 */
#ifndef DAEMON_EXEC_RUNLOG_FORMAT_H
#define DAEMON_EXEC_RUNLOG_FORMAT_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

/* stored, never renumber */
enum record_type { RECORD_STDOUT = 1, RECORD_STDERR = 2, RECORD_DROP = 3, RECORD_CUT = 4 };

/* stored: fields keep their place and meaning */
struct runlog_record {
	uint32_t op;
	uint16_t attempt;
	uint8_t type;
	uint8_t zero;
	int64_t off; /* data: of the first byte in the log; drop: position (both streams) where the
			dropped range begins; cut: where the log ended */
	int64_t len; /* data: bytes; drop: bytes dropped in all so far; cut: bytes missing */
	int64_t pos; /* data: position over both streams; drop: of the dropped bytes, stdout's */
	int64_t stream_pos; /* data: position in its stream; drop: of the dropped bytes, stderr's */
	int64_t time_ms;    /* data: of the first byte, wall clock */
};
static_assert(sizeof(struct runlog_record) == 48, "the size is stored");

#define RUNLOG_MAGIC 0x676f6c6e75726462u /* "bdrunlog", little endian */
#define RUNLOG_VERSION 1u

/* stored */
struct runlog_header {
	uint64_t magic;
	uint32_t version;
	uint32_t record_bytes;
	uint64_t run;
	uint64_t zero[3];
};
static_assert(sizeof(struct runlog_header) == sizeof(struct runlog_record),
	      "records are found by number");

/* The number of no record. */
#define RECORD_NONE UINT32_MAX

/* Longest record: consecutive output merges up to here. */
#define RECORD_MAX_BYTES (INT64_C(1) << 30)

static inline int64_t record_at(uint32_t number)
{
	return ((int64_t)number + 1) * (int64_t)sizeof(struct runlog_record);
}

static inline bool record_is_data(const struct runlog_record *rec)
{
	return rec->type == RECORD_STDOUT || rec->type == RECORD_STDERR;
}

/* Whether it is a whole record of sane numbers: a damaged index must not lead anywhere. */
static inline bool record_ok(const struct runlog_record *rec)
{
	const int64_t top = INT64_C(1) << 60;
	return rec->op != 0 && rec->time_ms != 0 && rec->type >= RECORD_STDOUT &&
	       rec->type <= RECORD_CUT && rec->off >= 0 && rec->off < top && rec->len >= 0 &&
	       rec->len < top && rec->pos >= 0 && rec->pos < top && rec->stream_pos >= 0 &&
	       rec->stream_pos < top && (!record_is_data(rec) || rec->len <= RECORD_MAX_BYTES);
}

static inline uint64_t runlog_key(uint32_t op, uint32_t attempt)
{
	return (uint64_t)op << 32 | attempt;
}

static inline bool runlog_header_ok(const struct runlog_header *h, uint64_t run)
{
	return h->magic == RUNLOG_MAGIC && h->version == RUNLOG_VERSION &&
	       h->record_bytes == sizeof(struct runlog_record) && h->run == run;
}

/* Opens DIR/RUN.SUFFIX ("log", "idx"); the fd or -errno. */
int runlog_open_file(const char *dir, uint64_t run, const char *suffix, int flags);

#endif
