/*
 * What batchd and batchd-spawner say to each other over a SOCK_SEQPACKET Unix socket: fixed frames
 * in the machine's own byte order (both ends are on one machine), many to a packet, file
 * descriptors by SCM_RIGHTS in the order of the frames that own them. Numbers and layouts are
 * stored (an old spawner serves a new batchd): never renumber, never reorder; a change is a new
 * version.
 *
 * batchd sends HELLO first; the spawner answers HELLO_OK or REFUSED. Everything about an attempt
 * carries its token for ever. A START is answered by exactly one of STARTED (then EXIT),
 * START_FAILED, BUSY (not taken: no trace of it is kept), or KNOWN when the token was seen before.
 * Records stay until ACK. QUERY is answered by one KNOWN a record and KNOWN_END.
 *
 * What came to a protocol later is told by a bit of HELLO_OK and never said to a spawner that did
 * not tell it: one that is older and knows no such frame goes on without.
 */
#ifndef PROTO_SPAWN_WIRE_H
#define PROTO_SPAWN_WIRE_H

#include <assert.h>
#include <stdint.h>

#ifndef SW_PROTOCOL   /* a test builds one of another */
#define SW_PROTOCOL 1 /* of HELLO */
#endif
#define SW_VERSION 1 /* of every other frame */
/* Bits of the token of HELLO_OK, which was 0 once. wire, never renumber */
#define SW_CAN_KEEP UINT64_C(1)	   /* NOTE and PIPES */
#define SW_CAN_STREAMS UINT64_C(2) /* SW_START_STREAMS */
#define SW_CAN_PLACE UINT64_C(4)   /* PLACE */
#define SW_CAN_AFTER UINT64_C(8)   /* AFTER and RECALL */
#define SW_CAN_STAGE UINT64_C(16)  /* STAGE, and STAGED; a third fd in reports */
/* At this HELLO: results of another state folder or database, which nobody had taken. */
#define SW_FORGOT (UINT64_C(1) << 63)
#ifndef SW_CAN /* a test builds one that can less */
#define SW_CAN (SW_CAN_KEEP | SW_CAN_STREAMS | SW_CAN_PLACE | SW_CAN_AFTER | SW_CAN_STAGE)
#endif
#define SW_PACKET_BYTES (192u << 10) /* the most one packet holds, either way */
#define SW_PACKET_FDS 240	     /* the most fds with one packet; Linux stops at 253 */
#define SW_CAPACITY 16384	     /* records in the table */
#define SW_EXIT_RUNNING 3	     /* batchd-spawner's exit status: another serves this socket */

/* wire, never renumber */
enum sw_type {
	SW_HELLO = 1,	  /* struct sw_hello */
	SW_ENV_DROP = 2,  /* head alone, token is the env id: forget that environment */
	SW_START = 3,	  /* struct sw_start, fds by its flags */
	SW_STOP = 4,	  /* struct sw_stop */
	SW_SIGNAL = 5,	  /* struct sw_signal */
	SW_ACK = 6,	  /* head alone: forget the token, close its pipes */
	SW_QUERY = 7,	  /* head alone */
	SW_NOTE = 8,	  /* struct sw_note; SW_CAN_KEEP */
	SW_PIPES = 9,	  /* struct sw_pipes, n_fds fds; SW_CAN_KEEP */
	SW_PLACE = 10,	  /* head alone: its folder was removed, and is made again; SW_CAN_PLACE */
	SW_AFTER = 11,	  /* struct sw_after; SW_CAN_AFTER */
	SW_RECALL = 12,	  /* head alone: if its START is held, it is BUSY; SW_CAN_AFTER */
	SW_STAGE = 13,	  /* head alone, 1 fd; SW_CAN_STAGE: answered by STAGED where it is kept */
	SW_HELLO_OK = 32, /* struct sw_hello_ok */
	SW_REFUSED = 33,  /* struct sw_refused, then the connection ends */
	SW_STARTED = 34,  /* struct sw_report from here on; n_fds fds */
	SW_START_FAILED = 35,
	SW_BUSY = 36,
	SW_EXIT = 37,
	SW_KNOWN = 38,	   /* n_fds fds */
	SW_KNOWN_END = 39, /* head alone */
	SW_BYE = 40,	   /* head alone: nothing is kept here and it ends, whoever is connected */
	SW_STAGED = 41,	   /* struct sw_report; no fds */
};

/* size: of the frame with this head, a multiple of 8. */
struct sw_head {
	uint32_t size;
	uint16_t type;
	uint16_t version;
	uint64_t token;
};
static_assert(sizeof(struct sw_head) == 16, "wire");

/* takes of a HELLO, which was 0 once. wire, never renumber */
#define SW_TAKES_STAGE 1u /* a third fd in a report */

struct sw_hello {
	struct sw_head head;
	uint32_t protocol;
	uint32_t takes;
	uint64_t store_id;
};
static_assert(sizeof(struct sw_hello) == 32, "wire");

struct sw_hello_ok {
	struct sw_head head;
	uint32_t protocol;
	int32_t pid;
	uint32_t capacity; /* attempts at a time, ended ones not acknowledged included */
	uint32_t used;
	char boot_id[40];
	uint64_t table_id; /* the same as before: what is not in the table was never started */
};
static_assert(sizeof(struct sw_hello_ok) == 80, "wire");

struct sw_refused {
	struct sw_head head;
	char why[240];
};
static_assert(sizeof(struct sw_refused) == 256, "wire");

/* What is done between fork and exec, in the order listed, each a version of its own. wire, never
 * renumber */
enum sw_stage_kind {
	SW_STAGE_SESSION =
		1, /* setsid; with SW_START_PTY the terminal becomes the controlling one */
	SW_STAGE_CGROUP = 2, /* into a cgroup of its own, where the system lets us (else nothing) */
	SW_STAGE_LIMITS = 3, /* umask, and the soft limit of open files as the spawner found it */
	SW_STAGE_CWD = 4,
	SW_STAGE_STDIN = 5, /* 0 from what was asked, 1 and 2 from the pipes or the terminal */
	SW_STAGE_EXEC = 6,
	SW_STAGE_MAX,
};
#define SW_STAGES_MAX 16

struct sw_stage {
	uint16_t kind;
	uint16_t version;
	uint32_t reserved;
};
static_assert(sizeof(struct sw_stage) == 8, "wire");

/* flags of a START, kept in its record. stored, never renumber */
#define SW_START_DETACH 1u   /* children that outlive the op are left alone */
#define SW_START_PTY 2u	     /* a terminal instead of two pipes */
#define SW_START_STDIN_FD 4u /* stdin is the fd that came along */
#define SW_START_FORK 8u     /* fork even where vfork would do */
/* Its pipes or terminal came along, behind stdin: the child's end of stdout, then of stderr, and
 * the ends to read from in the same order; with SW_START_PTY one of each. STARTED then brings none:
 * batchd has them, so that nothing is lost with a spawner that is killed before it could tell. */
#define SW_START_STREAMS 16u
/* And beside them there the record's note, 0: none. */
#define SW_FLAGS_NOTE_SHIFT 24
#define SW_FLAGS_NOTE (0xffu << SW_FLAGS_NOTE_SHIFT)

/*
 * Followed by n_stages struct sw_stage, then the texts, each with the length given (its NULs
 * included) and 0 bytes where absent: cwd, argv ("a\0b\0"), extra environment ("NAME=VALUE\0", or
 * "NAME\0" to remove), stdin path, path of the environment file; then up to 7 bytes of padding.
 */
struct sw_start {
	struct sw_head head;
	uint64_t env_id; /* the file is read once per id */
	uint32_t flags;
	uint32_t umask;
	uint32_t
		drain_ms; /* children may go by themselves for so long after the op's own process */
	uint32_t linger_ms; /* then TERM, and KILL so much later */
	uint32_t argc;
	uint32_t n_stages;
	uint32_t cwd_bytes;
	uint32_t argv_bytes;
	uint32_t extra_bytes;
	uint32_t stdin_bytes;
	uint32_t env_bytes;
	uint32_t reserved;
};
static_assert(sizeof(struct sw_start) == 72, "wire");

/*
 * The next START of this token is held until the attempt `after` has ended: begun in that moment
 * when it ended with status 0, by itself and with nothing left behind, else answered BUSY. So too
 * where `after` is not known, and where too many are held. With the connection it is forgotten.
 */
struct sw_after {
	struct sw_head head;
	uint64_t after;
};
static_assert(sizeof(struct sw_after) == 24, "wire");

struct sw_stop {
	struct sw_head head;
	int64_t grace_ms; /* from TERM to KILL; 0: KILL at once */
};
static_assert(sizeof(struct sw_stop) == 24, "wire");

/* To be kept with the record, over anybody's death, and told with it in SW_FLAGS_NOTE: that batchd
 * is about to stop the attempt, and why. The spawner does not ask what it means. */
struct sw_note {
	struct sw_head head;
	uint32_t note; /* 1 to 255 */
	uint32_t reserved;
};
static_assert(sizeof(struct sw_note) == 24, "wire");

/* The read ends of an attempt whose record came without: the spawner that had them was killed, and
 * this one keeps them from here on as its own. Of a stream that is over, one at its end. */
struct sw_pipes {
	struct sw_head head;
	uint32_t n_fds; /* as in a report */
	uint32_t reserved;
};
static_assert(sizeof(struct sw_pipes) == 24, "wire");

/*
 * STAGE: the read end of a pipe through which batchd takes the stdout of an attempt with two pipes;
 * to be kept with them from here on, in the place of one before it. What it holds was printed
 * before what stdout's pipe holds. No other answer than STAGED: it is not kept.
 */

struct sw_signal {
	struct sw_head head;
	int32_t signal;
	uint32_t reserved;
};
static_assert(sizeof(struct sw_signal) == 24, "wire");

/* States of a record. stored, never renumber */
enum sw_state {
	SW_FREE = 0,
	SW_STARTING = 1, /* between fork and exec */
	SW_RUNNING = 2,
	SW_REAPED = 3, /* its own process has ended, wait_status is true; its children are being
			  waited for */
	SW_EXITED = 4,
	SW_FAILED = 5, /* nothing was executed: start_errno, step */
	SW_ORPHAN = 6, /* runs, started by a spawner that is gone: its status will come to whoever
			  is its parent, not to us */
	SW_LOST = 7,   /* has ended, nobody here can know how */
};

/* Where a start failed. stored, never renumber */
enum sw_step {
	SW_STEP_NONE,
	SW_STEP_PIPE,
	SW_STEP_FORK,
	SW_STEP_SETSID,
	SW_STEP_CGROUP,
	SW_STEP_LIMITS,
	SW_STEP_CHDIR,
	SW_STEP_STDIN,
	SW_STEP_EXEC,
	SW_STEP_ENV,
	SW_STEP_STAGE, /* a stage of a kind or version this spawner does not know */
	SW_STEP_MAX,
};

/* For sentences: "cannot start: %s: %s". */
static inline const char *sw_step_name(uint32_t step)
{
	static const char *const names[] = {
		[SW_STEP_NONE] = "",	     [SW_STEP_PIPE] = "pipe",
		[SW_STEP_FORK] = "fork",     [SW_STEP_SETSID] = "setsid",
		[SW_STEP_CGROUP] = "cgroup", [SW_STEP_LIMITS] = "limits",
		[SW_STEP_CHDIR] = "chdir",   [SW_STEP_STDIN] = "stdin",
		[SW_STEP_EXEC] = "exec",     [SW_STEP_ENV] = "environment",
		[SW_STEP_STAGE] = "stage",
	};
	static_assert(sizeof(names) / sizeof(names[0]) == SW_STEP_MAX, "a step without a name");
	return step < SW_STEP_MAX ? names[step] : "unknown";
}

/* STARTED, START_FAILED, BUSY, EXIT, KNOWN: the record as it stands. */
struct sw_report {
	struct sw_head head;
	uint32_t state; /* enum sw_state */
	int32_t pid;
	uint32_t flags; /* of its START, and SW_FLAGS_NOTE */
	int32_t wait_status;
	int32_t start_errno;
	uint32_t step;		      /* enum sw_step */
	uint32_t lingering;	      /* processes that outlived it */
	uint32_t n_fds;		      /* read ends that came along: stdout, stderr, stage; 1: a
					 terminal */
	int64_t started_ms, ended_ms; /* wall clock */
	int64_t duration_ms;	      /* monotonic */
};
static_assert(sizeof(struct sw_report) == 72, "wire");

#define SW_ALIGN(n) (((n) + UINT64_C(7)) & ~UINT64_C(7))

#endif
