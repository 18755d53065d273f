#include "daemon/spawner/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"
#include "daemon/spawner/keep.h"
#include "daemon/spawner/pids.h"
#include "daemon/spawner/tree.h"

#define HANDOVER_MAGIC UINT64_C(0x7265766f646e6168)
#define HANDOVER_ASK_MS 5000

/* stored for the moment of an exec, never reorder */
enum { OP_REAPED = 1, OP_STOPPING = 2, OP_FOREIGN = 4 };
#define OP_STAGE_SHIFT 8 /* from that bit on: its stage_fd, and 1 */
struct handover_op {
	uint32_t slot, phase; /* enum op_phase */
	int32_t stdout_fd, stderr_fd, error_fd;
	uint32_t rounds, flags;
	uint32_t kill_after_ms; /* the deadline, 0: at it; was reserved */
	int64_t deadline_ms;
};
static_assert(sizeof(struct handover_op) == 40, "stored");

/* --- what goes over --- */

static size_t handover_bytes(uint32_t n_ops, uint32_t n_kin)
{
	return sizeof(struct handover) + n_ops * sizeof(struct handover_op) +
	       n_kin * sizeof(struct tree_kin);
}

static uint32_t handover_save_ops(struct handover_op *ret)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < table_end(); i++) {
		const struct op *op = op_at(i);
		if (table_at(i)->state == SW_FREE)
			continue;
		ret[n++] = (struct handover_op){
			.slot = i,
			.phase = op->phase,
			.stdout_fd = op->stdout_fd,
			.stderr_fd = op->stderr_fd,
			.error_fd = op->error_fd,
			.rounds = op->rounds,
			.flags = (op->reaped ? OP_REAPED : 0) | (op->stopping ? OP_STOPPING : 0) |
				 (op->foreign ? OP_FOREIGN : 0) |
				 (uint32_t)(op->stage_fd + 1) << OP_STAGE_SHIFT,
			.kill_after_ms = (uint32_t)MAX2(op->kill_ms - op->deadline_ms, 0),
			.deadline_ms = op->deadline_ms,
		};
	}
	return n;
}

/* The fd, or -errno. Every page is there before it is written to. */
static int handover_write(const struct handover *h)
{
	_cleanup_close_ int fd = memfd_create("batchd-spawner", MFD_CLOEXEC);
	size_t size = handover_bytes(table_used(), PIDS_ORPHANS);
	if (fd < 0)
		return -errno;
	int r = posix_fallocate(fd, 0, (off_t)size);
	if (r != 0)
		return -r;
	struct handover *to = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (to == MAP_FAILED)
		return -errno;
	struct handover_op *ops = (struct handover_op *)(to + 1);
	*to = *h;
	to->magic = HANDOVER_MAGIC;
	to->layout = HANDOVER_LAYOUT;
	to->protocol = SW_PROTOCOL;
	to->n_ops = handover_save_ops(ops);
	to->n_kin = tree_save((struct tree_kin *)(ops + to->n_ops));
	munmap(to, size);
	return TAKE_FD(fd);
}

/* The files that stay open over the exec, or close with it again when it fails. */
static void handover_keep_open(const struct handover *h, bool open)
{
	const int files[] = { h->lock_fd, h->table_fd, h->listen_fd, h->client_fd };
	for (unsigned i = 0; i < ARRAY_SIZE(files); i++)
		if (files[i] >= 0)
			fd_set_cloexec(files[i], !open);
	for (uint32_t i = 0; i < table_end(); i++) {
		const struct op *op = op_at(i);
		const int pipes[] = { op->stdout_fd, op->stderr_fd, op->stage_fd, op->error_fd };
		for (unsigned k = 0; table_at(i)->state != SW_FREE && k < ARRAY_SIZE(pipes); k++)
			if (pipes[k] >= 0)
				fd_set_cloexec(pipes[k], !open);
	}
}

/* --- asking and going --- */

/* Waits for the child; false when it did not say yes in time. No other child is reaped here. */
static bool handover_answer(pid_t pid)
{
	int status = 0;
	int process = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = { .fd = process, .events = POLLIN };
	if (process < 0 || poll(&p, 1, HANDOVER_ASK_MS) <= 0)
		kill(pid, SIGKILL);
	if (process >= 0)
		close(process);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return false;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool handover_ask(const char *program)
{
	char layout[16];
	char *argv[] = { (char *)"batchd-spawner", (char *)"--takes-over", layout, NULL };
	posix_spawnattr_t attr;
	sigset_t none;
	pid_t pid;
	snprintf(layout, sizeof(layout), "%d", HANDOVER_LAYOUT);
	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigmask(&attr, &none);
	int r = posix_spawn(&pid, program, NULL, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	return r == 0 && handover_answer(pid);
}

int handover_exec(const char *program, const char *socket, const struct handover *h)
{
	char number[16];
	char *argv[] = { (char *)"batchd-spawner",
			 (char *)"--socket",
			 (char *)socket,
			 (char *)"--handover",
			 number,
			 NULL };
	if (!handover_ask(program))
		return 1;
	_cleanup_close_ int fd = handover_write(h);
	if (fd < 0) {
		int r = fd;
		fd = -1;
		return r;
	}
	snprintf(number, sizeof(number), "%d", fd);
	handover_keep_open(h, true);
	fd_set_cloexec(fd, false);
	execv(program, argv);
	int r = -errno;
	handover_keep_open(h, false);
	return r;
}

/* --- the other side --- */

bool handover_takes(int64_t layout)
{
	return layout == HANDOVER_LAYOUT;
}

int handover_read(int fd, struct handover *ret)
{
	ssize_t n = fd_pread_all(fd, ret, sizeof(*ret), 0);
	if (n != (ssize_t)sizeof(*ret) || ret->magic != HANDOVER_MAGIC ||
	    !handover_takes(ret->layout) || ret->n_ops > SW_CAPACITY || ret->n_kin > PIDS_ORPHANS)
		return n < 0 ? (int)n : -EPROTO;
	return 0;
}

void handover_resume(int fd, const struct handover *h)
{
	size_t size = handover_bytes(h->n_ops, h->n_kin);
	void *all = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (all == MAP_FAILED) {
		log_error("what was handed over cannot be read: %s", strerror(errno));
		keep_inherit();
		return;
	}
	const struct handover_op *ops = (const struct handover_op *)((struct handover *)all + 1);
	for (uint32_t i = 0; i < h->n_ops; i++) {
		const struct handover_op *from = &ops[i];
		if (from->slot >= table_end())
			continue;
		struct op *op = op_at(from->slot);
		op_init(op, (enum op_phase)from->phase);
		op->stdout_fd = from->stdout_fd;
		op->stderr_fd = from->stderr_fd;
		op->stage_fd = (int)(from->flags >> OP_STAGE_SHIFT) - 1;
		op->error_fd = from->error_fd;
		op->rounds = from->rounds;
		op->reaped = from->flags & OP_REAPED;
		op->stopping = from->flags & OP_STOPPING;
		op->foreign = from->flags & OP_FOREIGN;
		op->deadline_ms = from->deadline_ms;
		op->kill_ms = from->kill_after_ms ? from->deadline_ms + from->kill_after_ms : 0;
		keep_resume(from->slot);
	}
	tree_restore((const struct tree_kin *)(ops + h->n_ops), h->n_kin);
	munmap(all, size);
}
