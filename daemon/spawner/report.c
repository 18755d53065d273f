#include "daemon/spawner/report.h"

#include <string.h>

#include "common/timeutil.h"

#define REPORT_BUSY_MAX 8192u
/*
 * How long a start that brings no pipes waits for company: most ops are over by then, and batchd is
 * woken once for all that there is of one. Longer would lose the order of what an op prints to
 * stdout and stderr, which are read from then on.
 */
#define REPORT_LATER_MS 2
/* STARTs that fit into one packet. */
#define REPORT_BUSY_PACKET (SW_PACKET_BYTES / sizeof(struct sw_start))
static_assert(REPORT_BUSY_PACKET < REPORT_BUSY_MAX / 2, "one packet's BUSY answers must fit");

#define REPORTS_A_PACKET (sizeof(((struct report_packet *)0)->bytes) / sizeof(struct sw_report))

/* Where the sources stand; saved before a packet is made, for the case that it cannot be sent. */
struct report_position {
	uint32_t busy_from;
	uint32_t query_slot; /* QUERY_NONE: none under way */
};
#define QUERY_NONE UINT32_MAX

static struct list out;
static int64_t due_ms; /* monotonic, of all that there is to send; 0: at once */
static struct {
	uint64_t token;
	struct child_error why;
} busy[REPORT_BUSY_MAX];
static uint32_t busy_to;
static struct report_position now = { 0, QUERY_NONE }, before;
static struct report_packet packet;
static struct {
	struct op *op;
	unsigned reports;
} taken[REPORTS_A_PACKET];
static unsigned n_taken;
static bool stages;

void report_init(void)
{
	list_init(&out);
}

void report_clear(void)
{
	while (!list_empty(&out)) {
		struct op *op = list_entry(out.next, struct op, out);
		op->reports = 0;
		list_del(&op->out);
	}
	busy_to = 0;
	now = (struct report_position){ 0, QUERY_NONE };
}

void report_with_stages(bool with)
{
	stages = with;
}

bool report_has_room(void)
{
	return busy_to - now.busy_from < REPORT_BUSY_MAX / 2;
}

bool report_is_empty(void)
{
	return list_empty(&out) && now.busy_from == busy_to && now.query_slot == QUERY_NONE;
}

void report_add(struct op *op, unsigned reports)
{
	bool later = reports == REPORT_STARTED && op_record(op)->flags & SW_START_STREAMS;
	if (!later)
		due_ms = 0;
	else if (report_is_empty())
		due_ms = time_mono_ms() + REPORT_LATER_MS;
	if (op->reports == 0)
		list_add_tail(&out, &op->out);
	op->reports |= reports;
}

int64_t report_due_ms(void)
{
	return report_is_empty() ? 0 : due_ms;
}

void report_busy(uint64_t token, struct child_error why)
{
	due_ms = 0;
	busy[busy_to % REPORT_BUSY_MAX].token = token;
	busy[busy_to++ % REPORT_BUSY_MAX].why = why;
}

void report_query(void)
{
	due_ms = 0;
	now.query_slot = 0;
}

static bool report_fits(size_t bytes, unsigned fds)
{
	return packet.len + bytes <= sizeof(packet.bytes) && packet.n_fds + fds <= SW_PACKET_FDS;
}

static void report_put(const void *frame, size_t size)
{
	memcpy(packet.bytes + packet.len, frame, size);
	packet.len += size;
}

static unsigned report_fds(const struct op *op)
{
	return (op->stdout_fd >= 0) + (op->stderr_fd >= 0) + (stages && op->stage_fd >= 0);
}

static void report_put_op(const struct op *op, enum sw_type type, bool with_fds)
{
	const struct record *r = op_record(op);
	struct sw_report f = {
		.head = { sizeof(f), (uint16_t)type, SW_VERSION, r->token },
		.state = r->state,
		.pid = r->pid,
		.flags = r->flags,
		.wait_status = r->wait_status,
		.start_errno = r->failed.err,
		.step = r->failed.step,
		.lingering = r->lingering,
		.n_fds = with_fds ? report_fds(op) : 0,
		.started_ms = r->started_ms,
		.ended_ms = r->ended_ms,
		.duration_ms = r->ended_mono_ns > 0
				       ? (r->ended_mono_ns - r->started_mono_ns) / 1000000
				       : 0,
	};
	report_put(&f, sizeof(f));
	if (f.n_fds > 0)
		packet.fds[packet.n_fds++] = op->stdout_fd;
	if (f.n_fds > 1)
		packet.fds[packet.n_fds++] = op->stderr_fd;
	if (f.n_fds > 2)
		packet.fds[packet.n_fds++] = op->stage_fd;
}

static void report_fill_query(void)
{
	struct sw_head last = { sizeof(last), SW_KNOWN_END, SW_VERSION, 0 };
	for (; now.query_slot < table_end(); now.query_slot++) {
		if (table_at(now.query_slot)->state == SW_FREE)
			continue;
		if (!report_fits(sizeof(struct sw_report), 3))
			return;
		report_put_op(op_at(now.query_slot), SW_KNOWN, true);
	}
	if (!report_fits(sizeof(last), 0))
		return;
	report_put(&last, sizeof(last));
	now.query_slot = QUERY_NONE;
}

static void report_fill_busy(void)
{
	struct sw_report f = { .head = { sizeof(f), SW_BUSY, SW_VERSION, 0 } };
	while (now.busy_from != busy_to && report_fits(sizeof(f), 0)) {
		f.head.token = busy[now.busy_from % REPORT_BUSY_MAX].token;
		f.start_errno = busy[now.busy_from % REPORT_BUSY_MAX].why.err;
		f.step = busy[now.busy_from++ % REPORT_BUSY_MAX].why.step;
		report_put(&f, sizeof(f));
	}
}

/* Up to four frames of one op: all or none. */
static void report_fill_ops(void)
{
	while (!list_empty(&out) && n_taken < ARRAY_SIZE(taken) &&
	       report_fits(4 * sizeof(struct sw_report), 6)) {
		struct op *op = list_entry(out.next, struct op, out);
		if (op->reports & REPORT_STARTED)
			report_put_op(op, SW_STARTED, !(op_record(op)->flags & SW_START_STREAMS));
		if (op->reports & REPORT_ENDED)
			report_put_op(op,
				      op_record(op)->state == SW_FAILED ? SW_START_FAILED : SW_EXIT,
				      false);
		if (op->reports & REPORT_KNOWN)
			report_put_op(op, SW_KNOWN, true);
		if (op->reports & REPORT_STAGED)
			report_put_op(op, SW_STAGED, false);
		taken[n_taken].op = op;
		taken[n_taken++].reports = op->reports;
		op->reports = 0;
		list_del(&op->out);
	}
}

const struct report_packet *report_next(void)
{
	packet.len = packet.n_fds = 0;
	n_taken = 0;
	before = now;
	if (now.query_slot != QUERY_NONE)
		report_fill_query();
	if (now.query_slot == QUERY_NONE) {
		report_fill_busy();
		report_fill_ops();
	}
	return packet.len > 0 ? &packet : NULL;
}

void report_sent(void)
{
	n_taken = 0;
}

void report_unsent(void)
{
	now = before;
	while (n_taken > 0) {
		struct op *op = taken[--n_taken].op;
		op->reports = taken[n_taken].reports;
		list_add_tail(out.next, &op->out);
	}
}
