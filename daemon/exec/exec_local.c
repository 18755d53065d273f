#include "daemon/exec/exec.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/fd.h"
#include "common/log.h"
#include "common/sum.h"
#include "common/timeutil.h"
#include "common/trouble.h"
#include "common/xalloc.h"
#include "daemon/exec/age.h"
#include "daemon/exec/exec_local_kin.h"
#include "daemon/exec/exec_spawner_pipes.h"
#include "daemon/exec/exec_spawner_say.h"
#include "daemon/exec/exec_spawner_start.h"

#define STRANGERS_MS (INT64_C(1) << 48) /* until they have ended */
#define HINDERED_MS 3000		/* a start that was refused is tried again sooner */

/* stdout, stderr, and the stage of stdout (output_attach). */
static void fds_close(int fds[3])
{
	for (int i = 0; i < 3; i++) {
		cleanup_closep(&fds[i]);
		fds[i] = -1;
	}
}

static struct attempt *attempt_find(const struct exec_local *x, uint64_t token)
{
	return idmap_ptr(&x->attempts, token);
}

static struct attempt *attempt_new(struct exec_local *x, uint64_t token)
{
	struct attempt *a = xcalloc(1, sizeof(*a));
	a->token = token;
	a->stop_ms = -1;
	a->fds[0] = a->fds[1] = a->fds[2] = -1;
	list_init(&a->later);
	list_init(&a->child);
	list_init(&a->sent);
	idmap_put(&x->attempts, token, (uintptr_t)a);
	return a;
}

static void local_settle(struct exec_local *x)
{
	if (x->stored && x->n_swept == 0 && spawner_link_is_up(x->link))
		spawner_link_settle(x->link);
}

static void attempt_free(struct exec_local *x, struct attempt *a)
{
	x->n_swept -= a->swept;
	x->n_strangers -= a->stranger;
	if (a->stranger && x->n_strangers == 0)
		trouble_over(TROUBLE_STRANGERS);
	if (a->swept)
		local_settle(x);
	idmap_del(&x->attempts, a->token);
	sent_answered(x, a);
	list_del(&a->later);
	list_del(&a->child);
	fds_close(a->fds);
	free(a);
}

/* --- to the spawner --- */

/* A new spawner is told of what is left of the grace. */
static void local_say_stop(struct exec_local *x, struct attempt *a)
{
	int64_t now = time_mono_ms();
	if (!spawner_link_is_up(x->link))
		return;
	if (a->kill_at_ms == 0)
		a->kill_at_ms = now + a->stop_ms;
	spawner_say_stop(x->link, a->token, a->note, MAX2(a->kill_at_ms - now, 0));
}

/* What the spawner may not have come to do, or the one before it. */
static void local_say_again(struct exec_local *x, struct attempt *a)
{
	if (a->halt)
		spawner_say_signal(x->link, a->token, a->halt);
	if (a->stop_ms >= 0)
		local_say_stop(x, a);
}

/* --- the life of an attempt --- */

static const char *attempt_unread(const struct attempt *a)
{
	if (a->report.state == SW_EXITED && !a->attached)
		return "the spawner was killed while it ran, and batchd did not have its pipes";
	return a->totals.left ? OUTPUT_LEFT : NULL;
}

static void attempt_end(struct exec_local *x, struct attempt *a)
{
	const struct sw_report *r = &a->report;
	struct exec_result result = {
		.token = a->token,
		.wait_status = r->wait_status,
		.start_errno = r->state == SW_FAILED ? r->start_errno : 0,
		.start_step = r->state == SW_FAILED ? sw_step_name(r->step) : NULL,
		.lost = r->state == SW_LOST,
		.unread = attempt_unread(a),
		.note = r->flags >> SW_FLAGS_NOTE_SHIFT,
		.pid = r->pid,
		.lingering = r->lingering,
		.started = r->started_ms,
		.ended = r->ended_ms,
		.duration_ms = r->duration_ms,
		.stdout_bytes = a->totals.stdout_bytes,
		.stderr_bytes = a->totals.stderr_bytes,
		.dropped_bytes = a->totals.dropped_bytes,
	};
	a->stage = ATTEMPT_ENDED;
	list_del(&a->child);
	x->events.ended(x->events.arg, &result);
}

static void attempt_attach(struct exec_local *x, struct attempt *a, int fds[3])
{
	if (a->attached || fds[0] < 0)
		return;
	a->attached = true;
	output_attach(x->output, a->token, fds, a->cap);
	fds[0] = fds[1] = fds[2] = -1;
}

void attempt_exited(struct exec_local *x, struct attempt *a)
{
	uint64_t token = a->token;
	bool hurry = a->stop_ms >= 0 || a->report.flags >> SW_FLAGS_NOTE_SHIFT;
	if (a->report.state != SW_FAILED)
		attempt_attach(x, a, a->fds);
	a->stage = ATTEMPT_EXITED;
	sent_answered(x, a);
	if (!a->attached || a->drained ||
	    (!a->recovered && output_finish_silent(x->output, token))) {
		attempt_end(x, a);
		return;
	}
	output_finish(x->output, token);
	if (hurry)
		output_hurry(x->output, token);
}

/* Not on this stack: the caller may be in the middle of a call from above. */
static void attempt_exited_later(struct exec_local *x, struct attempt *a)
{
	list_del(&a->later);
	list_add_tail(&x->later, &a->later);
	event_active(x->later_event, EV_TIMEOUT, 0);
}

static void local_on_later(evutil_socket_t fd, short what, void *arg)
{
	struct exec_local *x = arg;
	(void)fd, (void)what;
	while (!list_empty(&x->later)) {
		struct attempt *a = list_entry(x->later.next, struct attempt, later);
		list_del(&a->later);
		if (a->stage < ATTEMPT_EXITED)
			attempt_exited(x, a);
	}
	kin_reap(x);
}

static void attempt_started(struct exec_local *x, struct attempt *a, const struct sw_report *r,
			    int fds[3])
{
	attempt_attach(x, a, a->fds[0] >= 0 ? a->fds : fds);
	if (a->stage != ATTEMPT_SENT)
		return;
	a->stage = ATTEMPT_RUNNING;
	sent_answered(x, a);
	a->report = *r;
	if (trouble_over(TROUBLE_START))
		log_info("ops can be started again");
	x->events.started(x->events.arg, a->token, r->pid, r->started_ms);
}

/* --- from our children, next of kin that we are --- */

static void local_on_sigchld(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	kin_reap(arg);
}

/* --- from the spawner --- */

static bool local_is_end(const struct sw_report *r)
{
	return r->state == SW_EXITED || r->state == SW_FAILED || r->state == SW_LOST;
}

static void local_exit(struct exec_local *x, struct attempt *a, const struct sw_report *r)
{
	if (a->stage >= ATTEMPT_EXITED)
		return;
	if (a->reaped && r->state != SW_FAILED) {
		a->report.lingering = r->lingering;
		attempt_exited(x, a);
		return;
	}
	a->report = *r;
	if (r->state == SW_LOST && kin_adopt(x, a)) {
		kin_reap(x);
		return;
	}
	attempt_exited(x, a);
}

/* Trouble of the machine, not of the op: said while starts are tried again, once a second. */
static void local_hindered(int err, uint32_t step)
{
	if (err == 0)
		return; /* the table is full: ops are at work */
	if (trouble_say(TROUBLE_START, HINDERED_MS, "ops cannot be started now: %s: %s: %s",
			sw_step_name(step), strerror(err), trouble_mend(err)))
		log_warn("ops cannot be started now, and are tried again: %s: %s: %s",
			 sw_step_name(step), strerror(err), trouble_mend(err));
}

static void local_busy(struct exec_local *x, struct attempt *a)
{
	uint64_t token = a->token;
	attempt_free(x, a);
	x->events.busy(x->events.arg, token);
}

static void local_known(struct exec_local *x, struct attempt *a, const struct sw_report *r,
			int fds[3])
{
	uint64_t token = a->token;
	a->seen = true;
	if (r->state == SW_STARTING)
		return;
	if (r->state != SW_FAILED) {
		attempt_started(x, a, r, fds);
		a = attempt_find(x, token); /* `started` may have done anything */
		if (!a)
			return;
		a->bare = r->n_fds == 0 && a->attached;
	}
	if (r->state == SW_ORPHAN && a->stage == ATTEMPT_RUNNING && !a->reaped) {
		a->report = *r;
		kin_adopt(x, a);
	} else if (local_is_end(r)) {
		local_exit(x, a, r);
	}
}

/* While recovering: noted, told by exec_local_recover. */
static void local_note(struct exec_local *x, const struct sw_report *r, int fds[3])
{
	struct attempt *a = attempt_find(x, r->head.token);
	if (!a)
		a = attempt_new(x, r->head.token);
	bool pipes = fds[0] >= 0; /* they come once: an end that follows brings none */
	for (int i = 0; i < 3 && pipes; i++) {
		cleanup_closep(&a->fds[i]);
		a->fds[i] = TAKE_FD(fds[i]);
	}
	a->report = *r;
}

static void local_refused(struct exec_local *x, struct attempt *a, const struct sw_report *r)
{
	if (a->stage != ATTEMPT_SENT)
		return; /* it had said that this one has begun */
	local_hindered(r->start_errno, r->step);
	local_busy(x, a);
}

static void local_on_report(void *arg, const struct sw_report *r, int fds[3])
{
	struct exec_local *x = arg;
	struct attempt *a = attempt_find(x, r->head.token);
	if (x->recovering)
		local_note(x, r, fds);
	else if (!a)
		spawner_say(x->link, SW_ACK,
			    r->head.token); /* acknowledged before; that got lost */
	else if (r->head.type == SW_STARTED)
		attempt_started(x, a, r, fds);
	else if (r->head.type == SW_STAGED)
		output_stage_kept(x->output, a->token, true);
	else if (r->head.type == SW_BUSY)
		local_refused(x, a, r);
	else if (r->head.type == SW_KNOWN)
		local_known(x, a, r, fds);
	else
		local_exit(x, a, r);
	fds_close(fds);
}

static void local_on_down(void *arg)
{
	struct exec_local *x = arg;
	idmap_for(&x->attempts, slot)
	{
		struct attempt *a = (struct attempt *)slot->word;
		a->seen = a->bare = false;
	}
}

/* The spawner has told all it knows, and it does not know this one. */
static void local_forgotten(struct exec_local *x, struct attempt *a)
{
	if (a->stage == ATTEMPT_SENT && !spawner_link_is_swept(x->link)) {
		local_busy(x, a);
		return;
	}
	if (!a->reaped) {
		a->report.state = SW_LOST;
		a->report.ended_ms = time_wall_ms();
	}
	attempt_exited(x, a);
}

static void local_on_synced(void *arg)
{
	struct exec_local *x = arg;
	struct buf gone = BUF_INIT;
	if (x->recovering)
		return;
	/* The map changes under the calls. */
	idmap_for(&x->attempts, slot)
	{
		struct attempt *a = (struct attempt *)slot->word;
		if (!a->seen && !a->swept && spawner_link_is_swept(x->link)) {
			a->swept = true; /* ended ones too: until that is stored */
			x->n_swept++;
		}
		if (a->bare)
			spawner_pipes_give(x->link, x->output, &a->report);
		a->bare = false;
		if (!a->seen && a->stage < ATTEMPT_EXITED)
			buf_add(&gone, &a->token, sizeof(a->token));
		else if (a->stage < ATTEMPT_EXITED)
			local_say_again(x, a);
	}
	for (size_t at = 0; at < gone.len; at += sizeof(uint64_t)) {
		uint64_t token;
		memcpy(&token, gone.p + at, sizeof(token));
		struct attempt *a = attempt_find(x, token);
		if (a && a->stage < ATTEMPT_EXITED)
			local_forgotten(x, a);
	}
	buf_done(&gone);
	local_settle(x);
	kin_reap(x);
	if (spawner_link_pid(x->link) != x->spawner_pid && x->respawned)
		x->respawned(x->events.arg);
	x->spawner_pid = spawner_link_pid(x->link);
}

static void local_on_gone(void *arg)
{
	struct exec_local *x = arg;
	x->gone(x->events.arg);
}

/* --- what batchd calls --- */

int exec_local_new(const struct exec_local_config *config, struct exec_local **ret, struct err *e)
{
	struct exec_local *x = xcalloc(1, sizeof(*x));
	x->output = config->output;
	x->events = config->events;
	x->respawned = config->respawned;
	x->gone = config->gone;
	x->can_start = config->can_start;
	x->recovering = true;
	list_init(&x->later);
	list_init(&x->children);
	x->later_event = event_new(config->base, -1, 0, local_on_later, x);
	sent_init(x, config->base);
	if (x->can_start) {
		prctl(PR_SET_CHILD_SUBREAPER, 1);
		x->sigchld = evsignal_new(config->base, SIGCHLD, local_on_sigchld, x);
		event_add(x->sigchld, NULL);
	}
	struct spawner_link_config link = {
		.base = config->base,
		.program = config->spawner_program,
		.socket = config->socket,
		.store_id = config->store_id,
		.can_start = config->can_start,
		.home = config->home,
		.report = local_on_report,
		.down = local_on_down,
		.synced = local_on_synced,
		.gone = local_on_gone,
		.arg = x,
	};
	int r = spawner_link_new(&link, &x->link, e);
	if (r != 0) {
		exec_local_free(x);
		return r;
	}
	x->spawner_pid = spawner_link_pid(x->link);
	*ret = x;
	return 0;
}

struct exec_local *exec_local_free(struct exec_local *x)
{
	if (!x)
		return NULL;
	if (x->link && !x->recovering && x->attempts.n == 0 && !spawner_link_is_swept(x->link))
		spawner_link_forget(x->link);
	spawner_link_free(x->link);
	if (x->sigchld)
		event_free(x->sigchld);
	event_free(x->later_event);
	sent_done(x);
	idmap_for(&x->attempts, slot)
	{
		struct attempt *a = (struct attempt *)slot->word;
		fds_close(a->fds);
		free(a);
	}
	idmap_done(&x->attempts);
	free(x);
	return NULL;
}

static void local_recover_one(struct exec_local *x, struct attempt *a, int64_t cap)
{
	a->cap = cap;
	a->recovered = true;
	if (a->report.state != SW_FAILED)
		attempt_attach(x, a, a->fds);
	a->stage = ATTEMPT_RUNNING;
	/* After an exec of ourselves the children of a spawner that died are still ours. */
	if ((a->report.state == SW_ORPHAN || a->report.state == SW_LOST) && kin_adopt(x, a))
		return;
	if (local_is_end(&a->report))
		attempt_exited_later(x, a);
}

static int token_order(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

void exec_local_recover(struct exec_local *x, void (*known)(void *arg, const struct exec_known *k),
			int64_t (*cap_of)(void *arg, uint64_t token), void *arg)
{
	struct buf tokens = BUF_INIT;
	int r = spawner_link_sync(x->link);
	if (r < 0)
		log_error("the spawner does not say what it runs: %s", strerror(-r));
	x->recovering = false;
	idmap_for(&x->attempts, slot) buf_add(&tokens, &slot->key, sizeof(slot->key));
	if (tokens.len) /* the tries of an op in their order */
		qsort(tokens.p, tokens.len / sizeof(uint64_t), sizeof(uint64_t), token_order);
	for (size_t at = 0; at < tokens.len; at += sizeof(uint64_t)) {
		struct exec_known k;
		memcpy(&k.token, tokens.p + at, sizeof(k.token));
		struct attempt *a = attempt_find(x, k.token);
		k.ended = local_is_end(&a->report);
		k.pid = a->report.pid;
		k.started_ms = a->report.started_ms;
		k.note = a->report.flags >> SW_FLAGS_NOTE_SHIFT;
		k.age_ms = k.ended ? -1 : process_age_ms(k.pid);
		known(arg, &k);
		a = attempt_find(x, k.token);
		if (a)
			local_recover_one(x, a, cap_of(arg, k.token));
	}
	buf_done(&tokens);
	event_active(x->later_event, EV_TIMEOUT, 0);
}

void exec_local_stranger(struct exec_local *x, const struct exec_known *k)
{
	struct attempt *a = attempt_find(x, k->token);
	unsigned long long run = token_run(k->token);
	unsigned op = token_op(k->token);
	if (k->ended) {
		log_error("op %llu.%u has ended, but the database does not know run %llu: an older "
			  "copy of it was put back, it seems; how the op ended is not stored",
			  run, op, run);
		return;
	}
	x->n_strangers += !a->stranger;
	a->stranger = true;
	trouble_say(TROUBLE_STRANGERS, STRANGERS_MS,
		    "op %llu.%u runs (pid %d), but the database does not know run %llu: an older "
		    "copy of it was put back, it seems; how the op ends is not stored: let it end, "
		    "or `kill -- -%d`%s",
		    run, op, (int)k->pid, run, (int)k->pid,
		    x->n_strangers > 1 ? "; the log names others like it" : "");
	log_error("op %llu.%u runs (pid %d), but the database does not know run %llu; how it ends "
		  "is not stored",
		  run, op, (int)k->pid, run);
}

void exec_local_recovered(struct exec_local *x)
{
	x->stored = true;
	local_settle(x);
}

bool exec_local_is_swept(const struct exec_local *x)
{
	return spawner_link_is_swept(x->link);
}

/* Cannot go through: it ends as if exec had said so. */
static void local_start_fails(struct exec_local *x, struct attempt *a, int err, enum sw_step step)
{
	a->report = (struct sw_report){ .state = SW_FAILED,
					.start_errno = err,
					.step = step,
					.started_ms = time_wall_ms(),
					.ended_ms = time_wall_ms() };
	attempt_exited_later(x, a);
}

#define ENV_FILE_BYTES (64u << 20) /* as the spawner has it */

/*
 * The environment of a run that is older than this batchd may have been damaged since: a command
 * must not run with what is left of it. One that cannot be read is the spawner's to tell of.
 */
static bool local_env_damaged(struct exec_local *x, const struct exec_spec *spec)
{
	_cleanup_buf_ struct buf env = BUF_INIT;
	uint64_t run = token_run(spec->token);
	if (!spec->env_sum || x->env_sound == run)
		return false;
	if (fd_read_file(spec->env_file, ENV_FILE_BYTES, &env) < 0)
		return false;
	if (sum_bytes(buf_slice(&env)) != spec->env_sum)
		return true;
	x->env_sound = run;
	return false;
}

int exec_local_start(struct exec_local *x, const struct exec_spec *spec)
{
	enum sw_step step;
	int fds[2];
	if (attempt_find(x, spec->token))
		return 0;
	if (!spawner_link_is_up(x->link) || x->attempts.n >= spawner_link_capacity(x->link) ||
	    (spec->after && !spawner_link_can(x->link, SW_CAN_AFTER)))
		return -EAGAIN;
	if (local_env_damaged(x, spec)) {
		if (spec->after)
			return -EAGAIN;
		local_start_fails(x, attempt_new(x, spec->token), EBADMSG, SW_STEP_ENV);
		return 0;
	}
	int r = spawner_start_send(x->link, spec, fds, &step);
	if (r < 0 && spec->after)
		return -EAGAIN;
	if (r < 0 && r != -E2BIG) {
		local_hindered(-r, step);
		return -EAGAIN;
	}
	struct attempt *a = attempt_new(x, spec->token);
	a->cap = spec->output_cap;
	memcpy(a->fds, fds, sizeof(fds));
	if (r < 0)
		local_start_fails(x, a, -r, step);
	else if (!spec->after) /* else the answer may take as long as that one */
		sent_start(x, a);
	return 0;
}

void exec_local_recall(struct exec_local *x, uint64_t token)
{
	spawner_say(x->link, SW_RECALL, token);
}

void exec_local_flush(struct exec_local *x)
{
	spawner_link_flush(x->link);
}

void exec_local_stop(struct exec_local *x, uint64_t token, uint32_t note, int64_t grace_ms)
{
	struct attempt *a = attempt_find(x, token);
	if (a && a->stage == ATTEMPT_EXITED)
		output_hurry(x->output, token);
	if (!a || a->stage >= ATTEMPT_EXITED)
		return;
	a->stop_ms = a->stop_ms < 0 ? grace_ms : MIN2(a->stop_ms, grace_ms);
	if (a->kill_at_ms != 0)
		a->kill_at_ms = MIN2(a->kill_at_ms, time_mono_ms() + grace_ms);
	a->note = note;
	local_say_stop(x, a);
}

void exec_local_signal(struct exec_local *x, uint64_t token, int signal)
{
	struct attempt *a = attempt_find(x, token);
	if (a && (signal == SIGSTOP || signal == SIGCONT))
		a->halt = signal;
	spawner_say_signal(x->link, token, signal);
}

void exec_local_ack(struct exec_local *x, uint64_t token)
{
	struct attempt *a = attempt_find(x, token);
	if (a)
		attempt_free(x, a);
	spawner_say(x->link, SW_ACK, token);
}

void exec_local_drained(struct exec_local *x, uint64_t token, const struct output_totals *totals)
{
	struct attempt *a = attempt_find(x, token);
	if (!a || !a->attached)
		return;
	a->drained = true;
	a->totals = *totals;
	if (a->stage == ATTEMPT_EXITED)
		attempt_end(x, a);
}

void exec_local_staged(struct exec_local *x, uint64_t token, int fd)
{
	const struct attempt *a = attempt_find(x, token);
	if (!a || a->stage != ATTEMPT_RUNNING || !spawner_stage_give(x->link, token, TAKE_FD(fd)))
		cleanup_closep(&fd);
}

bool exec_local_is_kept(const struct exec_local *x)
{
	return x->recovering || x->attempts.n == 0 ||
	       (spawner_link_is_up(x->link) && !kin_spawner_is_dead(x));
}

int32_t exec_local_pid(const struct exec_local *x)
{
	return spawner_link_pid(x->link);
}

void exec_local_renew(const struct exec_local *x)
{
	static const char gone[] = " (deleted)"; /* proc(5), /proc/PID/exe */
	char path[64], exe[PATH_MAX];
	int32_t pid = spawner_link_pid(x->link);
	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	ssize_t n = pid > 0 ? readlink(path, exe, sizeof(exe)) : -1;
	ssize_t len = (ssize_t)strlen(gone);
	if (n > len && memcmp(exe + n - len, gone, (size_t)len) == 0 && kill(pid, SIGHUP) == 0)
		log_info("the spawner's program was replaced: it is told to execute it anew");
}

void exec_local_replaced(const struct exec_local *x)
{
	if (spawner_link_can(x->link, SW_CAN_PLACE))
		spawner_say(x->link, SW_PLACE, 0);
}

void exec_local_env_done(struct exec_local *x, uint64_t run)
{
	spawner_say(x->link, SW_ENV_DROP, run);
}
