/*
 * What batchd says to batchd-spawner, as any bytes: packets, each after two bytes of its length (0
 * hangs up and connects anew). The connection, the frames, the table and the making of an op are
 * the spawner's own; where a process would begin (child.h) or one is looked after (keep.h) is the
 * world below. The spawner's answers are whole frames with as many open files as they say, and no
 * file stays open.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "common/packet.h"
#include "daemon/spawner/cgroup.h"
#include "daemon/spawner/conn.h"
#include "daemon/spawner/env.h"
#include "daemon/spawner/keep.h"
#include "daemon/spawner/mounts.h"
#include "daemon/spawner/start.h"
#include "daemon/spawner/tree.h"
#include "daemon/spawner/warm.h"
#include "tests/fuzz/fuzz.h"

#define STORE_ID 7
#define CAPACITY 12

static int epoll_fd, peer = -1;

/* --- the world --- */

static volatile size_t sum;

/* As the stages of child.c would use it. */
static void child_uses(const struct child_spec *s)
{
	HOLDS(s->n_stages <= SW_STAGES_MAX);
	for (unsigned i = 0; i < s->n_stages; i++)
		sum += s->stages[i].kind;
	sum += strlen(s->cwd) + (s->stdin_fd < 0 ? strlen(s->stdin_path) : 0);
	HOLDS(s->argv[0]);
	for (char *const *a = s->argv; *a; a++)
		sum += strlen(*a);
	for (char *const *v = s->env; *v; v++)
		HOLDS(strchr(*v, '='));
	HOLDS(s->stdout_fd >= 0 && s->stderr_fd >= 0);
}

bool warm_ask(const struct child_spec *spec, uint32_t slot)
{
	(void)spec, (void)slot;
	return false;
}

void warm_settle(void)
{
}

int child_vfork(const struct child_spec *s, struct record *r)
{
	child_uses(s);
	r->pid = 1;
	r->failed = (struct child_error){ s->umask == 0777 ? ENOENT : 0, SW_STEP_EXEC };
	return s->umask == 0776 ? -EAGAIN : 0;
}

int child_fork(const struct child_spec *s, struct record *r)
{
	child_uses(s);
	r->pid = 1;
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

int cgroup_take(uint32_t slot)
{
	(void)slot;
	return -1;
}

uint32_t cgroup_number(uint32_t slot)
{
	return slot;
}

bool mounts_is_remote(const char *path)
{
	return path[0] != '/';
}

bool mounts_any_remote(const char *search)
{
	return search[0] == ':';
}

uint64_t tree_owner_hash(const char *strings, size_t len)
{
	return len > 0 ? (uint64_t)strings[len - 1] : 0;
}

bool keep_start(const struct sw_start *start, struct start_fds *fds, struct child_error *ret_why)
{
	struct child_error e = { 0 };
	uint32_t slot = table_find(start->head.token);
	if (slot != TABLE_NONE) {
		conn_report(op_at(slot), REPORT_KNOWN);
		return true;
	}
	slot = table_add(start->head.token);
	if (slot == TABLE_NONE)
		return false;
	struct slice extra = start_extra(start);
	struct op *op = op_at(slot);
	op_init(op, PHASE_DONE);
	op_record(op)->owner_hash = tree_owner_hash(extra.p, extra.len);
	enum start_result r = start_op(op, start, fds, &e);
	if (r == START_BUSY) {
		op_done(op);
		table_remove(slot);
		*ret_why = e;
		return false;
	}
	table_set_state(op_record(op), r == START_FAILED ? SW_FAILED : SW_RUNNING);
	conn_report(op, r == START_FAILED ? REPORT_ENDED : REPORT_STARTED);
	return true;
}

void keep_ack(uint64_t token)
{
	uint32_t slot = table_find(token);
	if (slot == TABLE_NONE)
		return;
	op_done(op_at(slot));
	table_remove(slot);
}

void keep_stop(uint64_t token, int64_t grace_ms)
{
	uint32_t slot = table_find(token);
	if (slot != TABLE_NONE && grace_ms == 0)
		conn_report(op_at(slot), REPORT_ENDED);
}

void keep_note(uint64_t token, uint32_t note)
{
	uint32_t slot = table_find(token);
	if (slot != TABLE_NONE)
		op_record(op_at(slot))->flags |= note << SW_FLAGS_NOTE_SHIFT;
}

bool keep_pipes(uint64_t token, int stdout_fd, int stderr_fd)
{
	uint32_t slot = table_find(token);
	struct op *op = slot == TABLE_NONE ? NULL : op_at(slot);
	HOLDS(stdout_fd >= 0);
	if (!op || op->stdout_fd >= 0)
		return false;
	op->stdout_fd = stdout_fd;
	op->stderr_fd = stderr_fd;
	return true;
}

void keep_signal(uint64_t token, int sig)
{
	(void)token;
	(void)sig;
}

void keep_forget(void)
{
}

uint32_t keep_live(void)
{
	return table_used() > 4 ? table_used() : 0;
}

/* --- what comes back --- */

static void check_frame(const struct sw_head *f, unsigned *fds)
{
	const struct sw_report *r = (const struct sw_report *)f;
	switch (f->type) {
	case SW_HELLO_OK:
		HOLDS(f->size == sizeof(struct sw_hello_ok));
		return;
	case SW_REFUSED:
		HOLDS(f->size == sizeof(struct sw_refused) &&
		      memchr(((const struct sw_refused *)f)->why, 0, 240));
		return;
	case SW_KNOWN_END:
		HOLDS(f->size == sizeof(*f));
		return;
	case SW_STARTED:
	case SW_START_FAILED:
	case SW_BUSY:
	case SW_EXIT:
	case SW_KNOWN:
	case SW_STAGED:
		HOLDS(f->size == sizeof(*r) && r->n_fds <= (f->type == SW_KNOWN ? 3 : 2));
		*fds += r->n_fds;
		return;
	}
	HOLDS(!"a type that batchd does not know");
}

/* Takes all that the spawner said. */
static void take_answers(void)
{
	static char bytes[SW_PACKET_BYTES] __attribute__((aligned(8)));
	char control[CMSG_SPACE(sizeof(int) * 256)] __attribute__((aligned(8)));
	for (;;) {
		struct iovec iov = { bytes, sizeof(bytes) };
		struct msghdr msg = { .msg_iov = &iov,
				      .msg_iovlen = 1,
				      .msg_control = control,
				      .msg_controllen = sizeof(control) };
		unsigned fds = 0, came = 0;
		ssize_t n = recvmsg(peer, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n <= 0)
			return;
		for (size_t at = 0; at < (size_t)n;) {
			const struct sw_head *f = (const struct sw_head *)(bytes + at);
			HOLDS((size_t)n - at >= sizeof(*f) && f->size <= (size_t)n - at &&
			      f->size % 8 == 0 && f->version == SW_VERSION);
			check_frame(f, &fds);
			at += f->size;
		}
		for (struct cmsghdr *m = CMSG_FIRSTHDR(&msg); m; m = CMSG_NXTHDR(&msg, m))
			for (; came < (m->cmsg_len - CMSG_LEN(0)) / sizeof(int); came++)
				close(((int *)CMSG_DATA(m))[came]);
		HOLDS(came == fds && !(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)));
	}
}

static void hang_up(void)
{
	if (peer >= 0) {
		close(peer);
		conn_event(0);
		HOLDS(!conn_any() && conn_has_said_all());
	}
	peer = -1;
}

static void say(const void *p, size_t len, int fd)
{
	int r = packet_send(peer, p, len, &fd, fd >= 0);
	HOLDS(r == 0 || r == -EPIPE || r == -EAGAIN);
	conn_event(0);
	conn_flush();
	take_answers();
}

static void call(bool hello)
{
	const struct sw_hello h = {
		{ sizeof(h), SW_HELLO, SW_VERSION, 0 }, SW_PROTOCOL, SW_TAKES_STAGE, STORE_ID
	};
	int pair[2];
	HOLDS(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
	peer = pair[0];
	conn_add(pair[1]);
	if (hello)
		say(&h, sizeof(h), -1);
}

static void init(void)
{
	log_init("fuzz", LOG_ERROR);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	conn_init(epoll_fd);
	HOLDS(start_init(1024) == 0);
	HOLDS(table_take(memfd_create("table", MFD_CLOEXEC)) == 0);
	table_set_capacity(CAPACITY);
}

static void forget_all(void)
{
	for (uint32_t i = 0; i < table_end(); i++)
		if (table_at(i)->state != SW_FREE)
			op_done(op_at(i));
	env_drop_all();
	table_reset(STORE_ID);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char packet[SW_PACKET_BYTES];
	static bool begun;
	if (!begun)
		init();
	begun = true;
	if (size < 1)
		return 0;
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	call(data[0] & 1);
	for (size_t at = 1; at + 2 <= size;) {
		size_t len = data[at] | (size_t)data[at + 1] << 8;
		at += 2;
		len = len < size - at ? len : size - at;
		memcpy(packet, data + at, len);
		if (len == 0)
			hang_up();
		if (len == 0)
			call(data[0] & 1);
		else
			say(packet, len, data[0] & 2 ? null : -1);
		at += len;
	}
	hang_up();
	forget_all();
	close(null);
	int after = open("/dev/null", O_RDONLY | O_CLOEXEC);
	HOLDS(after == null); /* the lowest free number: nothing stayed open */
	close(after);
	return 0;
}
