#include "daemon/spawner/keep.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "common/timeutil.h"
#include "daemon/spawner/cgroup.h"
#include "daemon/spawner/conn.h"
#include "daemon/spawner/loop.h"
#include "daemon/spawner/pids.h"
#include "daemon/spawner/report.h"
#include "daemon/spawner/tree.h"
#include "daemon/spawner/warm.h"

#define KEEP_ROUND_MS 10 /* pause after the first round of KILL, doubled each time */
#define KEEP_ROUND_MAX_MS 1000
#define KEEP_RELOOK_MS 5
#define KEEP_LOOK_MS 20 /* at what a predecessor's op left behind */
#define KEEP_ROUNDS_MAX                                                                            \
	12 /* then what lives is counted and let go: nothing more can be done to it */
#define KEEP_TIME_MAX_MS (INT64_C(1) << 40)

static int epoll_fd;
static struct list closing, timers;
static int64_t relook_ms; /* when to look at orphans again that were unclear, 0: none are */
static int64_t next_ms;	  /* no later than the first deadline of `timers` */
static uint32_t live, live_own;
static bool check; /* something happened that may have emptied a tree */

/* --- small steps --- */

/* 0: no deadline. */
static void keep_arm(struct op *op, int64_t deadline_ms)
{
	list_del(&op->timer);
	op->deadline_ms = deadline_ms;
	if (deadline_ms == 0)
		return;
	list_add_tail(&timers, &op->timer);
	if (next_ms == 0 || deadline_ms < next_ms)
		next_ms = deadline_ms;
}

static void keep_count(const struct op *op, int delta)
{
	live += (uint32_t)delta;
	if (!op->foreign)
		live_own += (uint32_t)delta;
}

/* Nothing more will happen to it: what there is to say is said. */
static void keep_finish(struct op *op, enum sw_state state)
{
	keep_count(op, -1);
	op->phase = PHASE_DONE;
	cgroup_leave(op_slot(op));
	list_del(&op->closing);
	keep_arm(op, 0);
	table_set_state(op_record(op), state);
	conn_report(op, REPORT_ENDED);
}

static void keep_note_end(struct record *r)
{
	r->ended_ms = time_wall_ms();
	r->ended_mono_ns = time_mono_ns();
}

static void keep_note_failed(struct record *r, struct child_error e)
{
	r->pid = 0;
	r->failed = e;
	keep_note_end(r);
}

static void keep_fail(struct op *op, struct child_error e)
{
	struct record *r = op_record(op);
	if (r->pid > 0)
		pids_remove(r->pid);
	cleanup_closep(&op->stdout_fd);
	cleanup_closep(&op->stderr_fd);
	op->stdout_fd = op->stderr_fd = -1;
	keep_note_failed(r, e);
	keep_finish(op, SW_FAILED);
}

static void keep_runs(struct op *op)
{
	op->phase = op->phase == PHASE_FORKING ? PHASE_RUNNING : op->phase;
	table_set_state(op_record(op), SW_RUNNING);
	conn_report(op, REPORT_STARTED);
}

static void keep_watch(struct op *op, int fd)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET, .data.u64 = LOOP_OP | op_slot(op) };
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		log_error("cannot watch the start of a process: %s", strerror(errno));
}

/* --- starting --- */

static void keep_fill(struct record *r, const struct sw_start *start)
{
	struct slice extra = start_extra(start);
	r->flags = start->flags & ~SW_FLAGS_NOTE;
	r->drain_ms = start->drain_ms;
	r->linger_ms = start->linger_ms;
	r->owner_hash = tree_owner_hash(extra.p, extra.len);
	r->started_ms = time_wall_ms();
	r->started_mono_ns = time_mono_ns();
	r->started_boot_ns = time_boot_ns();
	table_set_state(r, SW_STARTING);
}

static void keep_forked(struct op *op)
{
	struct record *r = op_record(op);
	r->forked_boot_ns = time_boot_ns();
	pids_add(r->pid, op_slot(op));
}

bool keep_start(const struct sw_start *start, struct start_fds *fds, struct child_error *ret_why)
{
	uint32_t slot = table_find(start->head.token);
	if (slot != TABLE_NONE) {
		conn_report(op_at(slot), REPORT_KNOWN);
		return true;
	}
	slot = table_add(start->head.token);
	if (slot == TABLE_NONE)
		return false;
	struct op *op = op_at(slot);
	struct record *r = table_at(slot);
	struct child_error e = { 0 };
	op_init(op, PHASE_FORKING);
	keep_fill(r, start);
	enum start_result result = start_op(op, start, fds, &e);
	if (result == START_BUSY) {
		log_debug("cannot start an op now: %s: %s", sw_step_name(e.step), strerror(e.err));
		op_done(op);
		table_remove(slot);
		*ret_why = e;
		return false;
	}
	keep_count(op, 1);
	if (result == START_FAILED) {
		r->pid = 0;
		keep_fail(op, e);
		return true;
	}
	if (result == START_ASKED)
		return true;
	keep_forked(op);
	if (result == START_FORKED)
		keep_watch(op, op->error_fd);
	else
		keep_runs(op);
	return true;
}

void keep_answered(uint32_t slot, int32_t pid, struct child_error e)
{
	struct op *op = op_at(slot);
	struct record *r = table_at(slot);
	if (pid == 0) { /* as if no START had come */
		if (conn_served_fd() >= 0)
			report_busy(r->token, e);
		keep_count(op, -1);
		op_done(op);
		table_remove(slot);
		return;
	}
	if (e.err != 0) {
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
		keep_fail(op, e);
		return;
	}
	keep_forked(op);
	keep_runs(op);
}

/* One that the warm shell is just making is waited for: it has no pid that a signal could go to. */
static uint32_t keep_find(uint64_t token)
{
	uint32_t slot = table_find(token);
	if (slot == TABLE_NONE || op_at(slot)->phase != PHASE_FORKING || op_at(slot)->error_fd >= 0)
		return slot;
	warm_settle();
	return table_find(token);
}

/* The pipe of a fork has ended: it is executed or has failed. */
static void keep_fork_event(struct op *op)
{
	struct child_error e = op_record(op)->failed;
	close(op->error_fd);
	op->error_fd = -1;
	if (e.err != 0)
		keep_fail(op, e);
	else
		keep_runs(op);
}

/* --- ending --- */

/* What there is to say of an op that is over: how a predecessor's ended we know only where that one
 * had reaped it. */
static enum sw_state keep_end_state(const struct op *op)
{
	return op->foreign && op_record(op)->state != SW_REAPED ? SW_LOST : SW_EXITED;
}

/* Of a foreign op, what is just executing a program may be left by it, and can be asked in a
 * moment.
 */
static bool keep_may_have_more(struct op *op)
{
	int64_t now = time_mono_ms();
	if (!op->foreign || tree_unclear(op) == 0)
		return false;
	if (op->clear_ms == 0)
		op->clear_ms = now + TREE_EXEC_PATIENCE_MS;
	return now < op->clear_ms;
}

static void keep_kill_round(struct op *op)
{
	uint32_t alive = tree_signal(op, SIGKILL);
	if (op->phase != PHASE_KILL) {
		op->phase = PHASE_KILL;
		op->rounds = 0;
		if (op->reaped && op_record(op)->lingering == 0)
			op_record(op)->lingering = alive;
	}
	check = true;
	if ((op->foreign && alive == 0 && !keep_may_have_more(op)) ||
	    (op->reaped && op->rounds >= KEEP_ROUNDS_MAX)) {
		if (alive > 0)
			log_warn("%u processes of an op cannot be ended", alive);
		keep_arm(op, 0);
		if (op->foreign && !op->reaped)
			return; /* its pidfd tells when it is over */
		if (!op->foreign)
			op_record(op)->lingering = alive;
		keep_finish(op, keep_end_state(op));
		return;
	}
	int64_t pause_ms = (int64_t)KEEP_ROUND_MS << MIN2(op->rounds, 10u);
	op->rounds++;
	keep_arm(op, time_mono_ms() + MIN2(pause_ms, KEEP_ROUND_MAX_MS));
}

static void keep_term(struct op *op, int64_t kill_in_ms)
{
	if (kill_in_ms <= 0) {
		keep_kill_round(op);
		return;
	}
	tree_signal(op, SIGTERM);
	if (op->phase != PHASE_FORKING)
		op->phase = PHASE_TERM;
	keep_arm(op, time_mono_ms() + kill_in_ms);
}

/* Nobody tells of the end of what a predecessor's op left behind: it is looked for until KILL is
 * due. */
static void keep_look(struct op *op)
{
	if (op->phase != PHASE_TERM)
		return;
	if (op->kill_ms == 0)
		op->kill_ms = op->deadline_ms;
	keep_arm(op, MIN2(op->kill_ms, time_mono_ms() + KEEP_LOOK_MS));
}

/* The own process of a predecessor's op has ended: what it left behind is to end before that is
 * told. False when there is nothing. */
static bool keep_end_left(struct op *op)
{
	struct record *r = op_record(op);
	bool stay = (r->flags & SW_START_DETACH) && !op->stopping;
	uint32_t left = stay ? 0 : tree_count(op);
	if (left == 0 && (stay || !keep_may_have_more(op)))
		return false;
	if (left == 0 && op->phase != PHASE_TERM) {
		op->phase = op->phase == PHASE_KILL ? PHASE_KILL : PHASE_DRAIN;
		keep_arm(op, time_mono_ms() + KEEP_LOOK_MS);
		return true;
	}
	r->lingering = MAX2(r->lingering, left);
	if (op->phase != PHASE_TERM && op->phase != PHASE_KILL)
		keep_term(op, r->linger_ms);
	keep_look(op);
	return true;
}

/* The children had their time; or it is to be asked again which are a foreign op's. */
static void keep_drained(struct op *op)
{
	struct record *r = op_record(op);
	if (op->foreign) {
		if (!keep_end_left(op))
			keep_finish(op, keep_end_state(op));
		return;
	}
	r->lingering = tree_count(op);
	if (r->lingering == 0 || (r->flags & SW_START_DETACH))
		keep_finish(op, SW_EXITED);
	else
		keep_term(op, r->linger_ms);
}

static void keep_deadline(struct op *op)
{
	keep_arm(op, 0);
	check = true;
	if (op->phase == PHASE_DRAIN)
		keep_drained(op);
	else if (op->phase != PHASE_TERM || op->kill_ms <= time_mono_ms())
		keep_kill_round(op);
	else if (tree_count(op) > 0 || keep_may_have_more(op))
		keep_look(op);
	else
		keep_finish(op, keep_end_state(op));
}

void keep_stop(uint64_t token, int64_t grace_ms)
{
	uint32_t slot = keep_find(token);
	if (slot == TABLE_NONE)
		return;
	struct op *op = op_at(slot);
	struct record *r = table_at(slot);
	grace_ms = MIN2(MAX2(grace_ms, 0), KEEP_TIME_MAX_MS);
	switch (op->phase) {
	case PHASE_NONE:
	case PHASE_KILL:
		break;
	case PHASE_DONE:
		if (op->foreign) /* lost, but its session may live */
			tree_signal(op, grace_ms > 0 ? SIGTERM : SIGKILL);
		break;
	case PHASE_FORKING:
	case PHASE_RUNNING:
		if (op->stopping && op->deadline_ms > 0 && grace_ms > 0)
			keep_arm(op, MIN2(op->deadline_ms, time_mono_ms() + grace_ms));
		else
			keep_term(op, grace_ms);
		break;
	case PHASE_DRAIN:
		r->lingering = tree_count(op);
		keep_term(op, MIN2(grace_ms, (int64_t)r->linger_ms));
		break;
	case PHASE_TERM:
		op->kill_ms = MIN2(op->kill_ms, time_mono_ms() + grace_ms);
		if (grace_ms == 0)
			keep_kill_round(op);
		else
			keep_arm(op, MIN2(op->deadline_ms, time_mono_ms() + grace_ms));
		break;
	}
	op->stopping = true;
}

void keep_signal(uint64_t token, int sig)
{
	uint32_t slot = keep_find(token);
	if (slot == TABLE_NONE || sig < 1 || sig >= NSIG)
		return;
	struct op *op = op_at(slot);
	struct record *r = table_at(slot);
	if (!op_is_live(op) || op->reaped || r->pid <= 1)
		return;
	if (op->foreign && !tree_is_process_of(r))
		return;
	if (kill(-r->pid, sig) < 0 && errno == ESRCH)
		kill(r->pid, sig); /* has not come to setsid yet */
}

void keep_note(uint64_t token, uint32_t note)
{
	uint32_t slot = table_find(token);
	if (slot == TABLE_NONE)
		return;
	struct record *r = table_at(slot);
	r->flags = (r->flags & ~SW_FLAGS_NOTE) | note << SW_FLAGS_NOTE_SHIFT;
}

bool keep_pipes(uint64_t token, int stdout_fd, int stderr_fd)
{
	uint32_t slot = table_find(token);
	struct op *op = slot == TABLE_NONE ? NULL : op_at(slot);
	if (!op || op->phase == PHASE_NONE || op->stdout_fd >= 0)
		return false;
	op->stdout_fd = stdout_fd;
	op->stderr_fd = stderr_fd;
	return true;
}

void keep_ack(uint64_t token)
{
	uint32_t slot = table_find(token);
	if (slot == TABLE_NONE)
		return;
	struct op *op = op_at(slot);
	if (op_is_live(op)) {
		if (!op->foreign)
			return;
		if (op->stopping)
			tree_signal(op, SIGKILL);
		keep_count(op, -1);
	}
	op_done(op);
	table_remove(slot);
}

/* --- reaping --- */

static int keep_wait_status(const siginfo_t *si)
{
	switch (si->si_code) {
	case CLD_EXITED:
		return (si->si_status & 0xff) << 8;
	case CLD_DUMPED:
		return si->si_status | 0x80;
	default:
		return si->si_status;
	}
}

/* The op's own process has ended; it is not reaped before its status is in the table. */
static void keep_own_ended(struct op *op, const siginfo_t *si)
{
	struct record *r = op_record(op);
	if (!op->foreign && op->error_fd >= 0)
		keep_fork_event(op);
	if (!op_is_live(op))
		return;
	r->wait_status = keep_wait_status(si);
	keep_note_end(r);
	table_set_state(r, SW_REAPED);
	op->reaped = true;
	list_add_tail(&closing, &op->closing);
	if (op->phase == PHASE_RUNNING) {
		op->phase = PHASE_DRAIN;
		keep_arm(op, time_mono_ms() + r->drain_ms);
	}
}

void keep_reap(void)
{
	check = true;
	for (;;) {
		siginfo_t si = { 0 };
		if (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) < 0 || si.si_pid == 0)
			return;
		if (pids_find(si.si_pid) == PIDS_NONE)
			warm_has_ended(si.si_pid);
		uint32_t node = pids_find(si.si_pid);
		if (node < SW_CAPACITY)
			keep_own_ended(op_at(node), &si);
		while (waitpid(si.si_pid, NULL, 0) < 0 && errno == EINTR)
			;
		if (node < SW_CAPACITY)
			pids_remove(si.si_pid);
		else if (warm_is(si.si_pid))
			warm_reaped();
		else
			tree_reaped(si.si_pid);
	}
}

void keep_fd_event(uint32_t slot)
{
	struct op *op = op_at(slot);
	if (op->error_fd < 0)
		return;
	if (!op->foreign) {
		keep_fork_event(op);
		return;
	}
	close(op->error_fd);
	op->error_fd = -1;
	op->reaped = true;
	keep_note_end(op_record(op));
	if (op_record(op)->failed.err != 0)
		keep_fail(op, op_record(op)->failed);
	else if (!keep_end_left(op))
		keep_finish(op, SW_LOST);
}

/* --- the turn --- */

static void keep_deadlines(void)
{
	int64_t now = time_mono_ms();
	if (next_ms == 0 || now < next_ms)
		return;
	list_for_safe (&timers, at) {
		struct op *op = list_entry(at, struct op, timer);
		if (op->deadline_ms <= now)
			keep_deadline(op);
	}
	next_ms = 0;
	list_for (&timers, at) {
		int64_t d = list_entry(at, struct op, timer)->deadline_ms;
		if (next_ms == 0 || d < next_ms)
			next_ms = d;
	}
}

static void keep_settle(void)
{
	if (relook_ms > 0 && time_mono_ms() >= relook_ms)
		check = true;
	if (!check || list_empty(&closing)) {
		relook_ms = list_empty(&closing) ? 0 : relook_ms;
		return;
	}
	uint32_t unclear = tree_look(live_own);
	relook_ms = unclear > 0 ? time_mono_ms() + KEEP_RELOOK_MS : 0;
	list_for_safe (&closing, at) {
		struct op *op = list_entry(at, struct op, closing);
		if (op->kin == 0 && unclear == 0)
			keep_finish(op, SW_EXITED);
		else if (op->kin == 0)
			continue;
		else if (op->phase == PHASE_TERM || op->phase == PHASE_KILL)
			tree_signal_new(op, op->phase == PHASE_TERM ? SIGTERM : SIGKILL);
	}
}

void keep_turn(void)
{
	keep_deadlines();
	keep_settle();
	check = false;
	tree_turn();
	warm_turn();
}

int64_t keep_deadline_ms(void)
{
	const int64_t deadlines[] = { relook_ms, next_ms, warm_deadline_ms() };
	int64_t first = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(deadlines); i++)
		if (deadlines[i] > 0 && (first == 0 || deadlines[i] < first))
			first = deadlines[i];
	return first;
}

void keep_forget(void)
{
	tree_forget();
}

uint32_t keep_live(void)
{
	return live;
}

void keep_stop_all(int64_t grace_ms)
{
	for (uint32_t i = 0; i < table_end(); i++)
		if (table_at(i)->state != SW_FREE && op_is_live(op_at(i)))
			keep_stop(table_at(i)->token, grace_ms);
}

/* --- what a predecessor left --- */

/* It runs on, but its status goes to whoever is its parent now; we can watch it end. */
static bool keep_adopt(struct op *op)
{
	struct record *r = op_record(op);
	if (!tree_is_process_of(r))
		return false;
	int fd = (int)syscall(SYS_pidfd_open, r->pid, 0);
	/* Looked at again: the fd is of what has the pid now. */
	if (fd < 0 || !tree_is_process_of(r)) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	op->foreign = true;
	op->error_fd = fd;
	op->phase = PHASE_RUNNING;
	table_set_state(r, SW_ORPHAN);
	cgroup_again(op_slot(op), r->cgroup);
	keep_count(op, 1);
	keep_watch(op, fd);
	return true;
}

/* It has ended; what it left behind may be there still. */
static void keep_inherit_left(struct op *op, enum sw_state end)
{
	struct record *r = op_record(op);
	op->foreign = op->reaped = true;
	op->phase = PHASE_DRAIN;
	keep_count(op, 1);
	if (keep_end_left(op)) {
		cgroup_again(op_slot(op), r->cgroup);
		return;
	}
	keep_count(op, -1);
	op->phase = PHASE_DONE;
	op->foreign = end == SW_LOST;
	table_set_state(r, end);
}

static void keep_inherit_one(uint32_t slot)
{
	struct record *r = table_at(slot);
	struct op *op = op_at(slot);
	op_init(op, PHASE_DONE);
	if (r->state == SW_STARTING && r->pid == 0) { /* never began: as if no START had come */
		op_done(op);
		table_remove(slot);
		return;
	}
	switch ((enum sw_state)r->state) {
	case SW_STARTING:
	case SW_RUNNING:
	case SW_ORPHAN:
		if (r->failed.err != 0) { /* nothing was executed, and nobody had heard of it */
			keep_note_failed(r, r->failed);
			table_set_state(r, SW_FAILED);
			return;
		}
		if (keep_adopt(op))
			return;
		table_set_state(r, SW_ORPHAN);
		keep_inherit_left(op, SW_LOST);
		return;
	case SW_REAPED:
		keep_inherit_left(op, SW_EXITED);
		return;
	case SW_FREE:
	case SW_EXITED:
	case SW_FAILED:
	case SW_LOST:
		return;
	}
}

int keep_init(const struct keep_config *config)
{
	epoll_fd = config->epoll;
	list_init(&closing);
	list_init(&timers);
	int r = tree_init(&closing);
	if (r < 0 || (r = start_init(config->nofile_soft)) < 0 || (r = child_init()) < 0)
		return r;
	return 0;
}

void keep_inherit(void)
{
	for (uint32_t i = 0; i < table_end(); i++)
		if (table_at(i)->state != SW_FREE)
			keep_inherit_one(i);
}

void keep_resume(uint32_t slot)
{
	struct op *op = op_at(slot);
	struct record *r = op_record(op);
	if (!op_is_live(op))
		return;
	keep_count(op, 1);
	cgroup_again(slot, r->cgroup);
	if (!op->foreign && !op->reaped)
		pids_add(r->pid, slot);
	if (!op->foreign && op->reaped)
		list_add_tail(&closing, &op->closing);
	if (op->error_fd >= 0)
		keep_watch(op, op->error_fd);
	keep_arm(op, op->deadline_ms);
	check = true;
}
