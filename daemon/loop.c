#include "daemon/loop.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/thread.h>

#include "common/fd.h"
#include "common/log.h"
#include "common/notify.h"
#include "common/paths.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "daemon/engine/engine.h"
#include "daemon/exec/exec.h"
#include "daemon/exec/ready.h"
#include "daemon/exec/runlog.h"
#include "daemon/on_end.h"
#include "daemon/own_socket.h"
#include "daemon/recovery.h"
#include "daemon/reload.h"
#include "daemon/rpc/server.h"
#include "daemon/socket_watch.h"
#include "daemon/store/keep.h"
#include "daemon/store/store.h"
#include "daemon/takeover.h"
#include "daemon/todo_lists.h"

#define FILE_THREADS 4
#define OUTPUT_PUMPS 2
#define STOP_SECONDS 5

struct batchd {
	struct config config;
	struct engine_pool *pools; /* of the config, as the engine takes them */
	char *socket, *batchctl, *state_dir, *config_path;
	struct own_socket own_socket;
	struct socket_watch *socket_watch; /* NULL: the socket is not of our making */
	struct event_base *base;
	struct event *deadline;
	struct event *signals[3];
	int64_t deadline_ms; /* what `deadline` is set to */
	int64_t started;
	struct store *store;
	struct engine *engine;
	struct work *work;
	struct output *output;
	struct exec_local *local;
	struct exec_file *files;
	struct readiness *ready;
	struct rpc_server *rpc;
	struct keeper *keeper;
	struct reloader *reloader;
	struct todo_lists todo_lists;
	struct on_end on_end;
	bool stopping, draining;
	bool failed; /* cannot go on */
};

/* --- engine -> world --- */

static void port_commit(void *arg, struct txn *t)
{
	store_commit(((struct batchd *)arg)->store, t);
}

static int port_start(void *arg, const struct exec_spec *spec)
{
	return exec_local_start(((struct batchd *)arg)->local, spec);
}

static void port_recall(void *arg, uint64_t token)
{
	exec_local_recall(((struct batchd *)arg)->local, token);
}

static void port_start_file(void *arg, uint64_t token, const struct batch_op *op, const char *path,
			    uint32_t mask, int64_t output_cap, bool again)
{
	exec_file_start(((struct batchd *)arg)->files, token, op, path, mask, output_cap, again);
}

static void port_cancel_file(void *arg, uint64_t token)
{
	exec_file_cancel(((struct batchd *)arg)->files, token);
}

static void port_stop(void *arg, uint64_t token, uint32_t note, int64_t grace_ms)
{
	exec_local_stop(((struct batchd *)arg)->local, token, note, grace_ms);
}

static void port_signal(void *arg, uint64_t token, int signal)
{
	exec_local_signal(((struct batchd *)arg)->local, token, signal);
}

static void port_ready_watch(void *arg, uint64_t token, const struct batch_ready *ready)
{
	ready_watch(((struct batchd *)arg)->ready, token, ready);
}

static void port_ack(void *arg, uint64_t token)
{
	exec_local_ack(((struct batchd *)arg)->local, token);
}

static void port_run_done(void *arg, uint64_t run)
{
	struct batchd *b = arg;
	exec_local_env_done(b->local, run);
	output_run_done(b->output, run);
	if (b->keeper)
		keeper_run_ended(b->keeper);
}

static void port_run_ends(void *arg, uint64_t run, const char *group)
{
	on_end_run(&((struct batchd *)arg)->on_end, run, group);
}

static void port_event(void *arg, const struct event *e)
{
	struct batchd *b = arg;
	if (b->rpc)
		rpc_server_event(b->rpc, e);
}

static bool port_op_heard(void *arg, uint64_t run)
{
	struct batchd *b = arg;
	return b->rpc && rpc_server_op_heard(b->rpc, run);
}

static void port_printed(void *arg, uint64_t token, int64_t ret[3])
{
	runlog_printed(store_runs_dir(((struct batchd *)arg)->store), token_run(token),
		       token_op(token), token_attempt(token), ret);
}

static int port_run_state(void *arg, uint64_t run, enum run_state *ret)
{
	struct batchd *b = arg;
	if (b->keeper && keeper_is_going(b->keeper, run))
		return 1;
	return store_run_state(b->store, run, ret);
}

static void port_todos_lost(void *arg, const char *list)
{
	todo_lists_lost(&((struct batchd *)arg)->todo_lists, list);
}

static int port_todos_reload(void *arg, struct err *e)
{
	return todo_lists_reload(&((struct batchd *)arg)->todo_lists, e);
}

/* --- world -> engine --- */

static void on_started(void *arg, uint64_t token, int32_t pid, int64_t wall_ms)
{
	engine_op_started(((struct batchd *)arg)->engine, token, pid, wall_ms);
}

static void on_ended(void *arg, const struct exec_result *result)
{
	engine_op_ended(((struct batchd *)arg)->engine, result);
}

static void on_busy(void *arg, uint64_t token)
{
	engine_op_busy(((struct batchd *)arg)->engine, token);
}

static void on_drained(void *arg, uint64_t token, const struct output_totals *totals)
{
	struct batchd *b = arg;
	if (!exec_file_drained(b->files, token, totals))
		exec_local_drained(b->local, token, totals);
}

static void on_staged(void *arg, uint64_t token, int fd)
{
	exec_local_staged(((struct batchd *)arg)->local, token, fd);
}

static void on_grew(void *arg, uint64_t token)
{
	struct batchd *b = arg;
	ready_grew(b->ready, token);
	engine_op_output(b->engine, token);
}

static void on_ready(void *arg, uint64_t token)
{
	engine_op_ready(((struct batchd *)arg)->engine, token);
}

static void on_respawned(void *arg)
{
	(void)arg;
	log_warn("the spawner has ended, and another one serves now");
}

static void stop_now(struct batchd *b)
{
	b->stopping = true;
	event_base_loopbreak(b->base);
}

/* Started again by systemd, we have it start batchd-spawner.service again as well. */
static void on_spawner_gone(void *arg)
{
	struct batchd *b = arg;
	log_error("there is no spawner: is batchd-spawner.service running?");
	b->failed = true;
	stop_now(b);
}

/* --- start --- */

static int open_store(struct batchd *b, const struct batchd_options *o, struct err *e)
{
	struct store_config sc = {
		.state_dir = b->state_dir,
		.base = b->base,
		.sync_log = runlog_sync,
		.socket = b->socket,
	};
	pid_t holder;
	int r;
	while ((r = store_open(&sc, &b->store, &holder, e)) == STORE_LOCKED && o->systemd)
		if (takeover_ask(holder, e))
			return 1;
	return r == STORE_LOCKED ? BATCHD_RUNNING : r;
}

/* The pools are made anew; those before are to be freed when the engine has these. */
static struct engine_config engine_config_now(struct batchd *b)
{
	const struct config *c = &b->config;
	b->pools = xcalloc(c->n_groups, sizeof(b->pools[0]));
	for (size_t i = 0; i < c->n_groups; i++)
		b->pools[i] =
			(struct engine_pool){ c->groups[i].name, (uint32_t)c->groups[i].slots };
	return (struct engine_config){
		.slots = (uint32_t)c->slots,
		.pools = b->pools,
		.n_pools = c->n_groups,
		.output_cap = c->output_cap,
		.grace_ms = c->grace_ms,
		.shell = c->shell,
		.batchctl = b->batchctl,
		.socket = b->socket,
		.runs_dir = store_runs_dir(b->store),
	};
}

static void make_engine(struct batchd *b)
{
	struct engine_config ec = engine_config_now(b);
	struct engine_ports ports = {
		.commit = port_commit,
		.start = port_start,
		.start_file = port_start_file,
		.cancel_file = port_cancel_file,
		.stop = port_stop,
		.signal = port_signal,
		.ready_watch = port_ready_watch,
		.ack = port_ack,
		.run_done = port_run_done,
		.run_ends = port_run_ends,
		.event = port_event,
		.op_heard = port_op_heard,
		.run_state = port_run_state,
		.printed = port_printed,
		.todos_lost = port_todos_lost,
		.todos_reload = port_todos_reload,
		.recall = port_recall,
		.arg = b,
	};
	b->engine = engine_new(&ec, &ports, store_next_run(b->store), store_rev(b->store));
	b->todo_lists = (struct todo_lists){ .store = b->store, .engine = b->engine };
}

static int make_executors(struct batchd *b, const struct batchd_options *o, struct err *e)
{
	struct output_events oe = {
		.drained = on_drained, .staged = on_staged, .grew = on_grew, .arg = b
	};
	struct exec_events ee = {
		.started = on_started, .ended = on_ended, .busy = on_busy, .arg = b
	};
	const char *runs_dir = store_runs_dir(b->store);
	b->work = work_new(b->base, FILE_THREADS);
	b->output = output_new(b->base, runs_dir, OUTPUT_PUMPS, &oe);
	b->files = exec_file_new(b->base, b->work, b->output, &ee);
	b->ready = ready_new(b->base, b->output, b->work, on_ready, b);
	_cleanup_free_ char *home = xasprintf("%s/spawner", b->state_dir);
	struct exec_local_config lc = {
		.base = b->base,
		.spawner_program = o->spawner_program,
		.socket = o->spawner_socket,
		.home = home,
		.store_id = store_id(b->store),
		.can_start = !o->systemd,
		.output = b->output,
		.events = ee,
		.respawned = on_respawned,
		.gone = on_spawner_gone,
	};
	return exec_local_new(&lc, &b->local, e);
}

/* What was set by hand holds over what batchd.conf says. */
/* --- what is kept, and what batchd.conf says --- */

static void keep_needed(void *arg, struct buf *ret)
{
	engine_needed_runs(((struct batchd *)arg)->engine, ret);
}

static void keep_removed(void *arg, uint64_t run)
{
	struct batchd *b = arg;
	if (b->rpc)
		rpc_server_removed(b->rpc, run);
}

static struct keep_limits keep_limits_now(const struct batchd *b)
{
	return (struct keep_limits){ .output_ms = b->config.keep_output_ms,
				     .output_bytes = b->config.keep_output_bytes,
				     .rows_ms = b->config.keep_rows_ms };
}

static int make_keeper(struct batchd *b, struct err *e)
{
	struct keep_config kc = { .base = b->base,
				  .store = b->store,
				  .limits = keep_limits_now(b),
				  .needed = keep_needed,
				  .removed = keep_removed,
				  .arg = b };
	b->keeper = keeper_new(&kc, e);
	return b->keeper ? 0 : 1;
}

/* All of it: what has not changed stays as it is. */
static void on_config(void *arg)
{
	struct batchd *b = arg;
	struct engine_pool *before = b->pools;
	struct engine_config ec = engine_config_now(b);
	struct keep_limits limits = keep_limits_now(b);
	engine_reconfigure(b->engine, &ec);
	free(before);
	keeper_set_limits(b->keeper, &limits);
	rpc_server_set_max_frame(b->rpc, (uint32_t)b->config.max_frame);
	log_set_level((enum log_level)b->config.log_level);
}

static void make_reloader(struct batchd *b, const struct batchd_options *o)
{
	struct reload_config rc = { .work = b->work,
				    .path = b->config_path,
				    .must_exist = o->config_must_exist,
				    .config = &b->config,
				    .apply = on_config,
				    .arg = b };
	b->reloader = reloader_new(&rc);
}

/* The programs may have been replaced as well as the file: the spawner, which outlives us, sees to
 * its own. */
static void on_reload(void *arg, rpc_reloaded_fn done, void *done_arg)
{
	struct batchd *b = arg;
	exec_local_renew(b->local);
	reloader_ask(b->reloader, done, done_arg);
}

static void on_hangup(evutil_socket_t signal, short what, void *arg)
{
	struct batchd *b = arg;
	(void)signal;
	(void)what;
	if (b->reloader)
		on_reload(b, NULL, NULL);
}

/* --- stopping --- */

static void on_drain_over(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	log_info("ops still run after the time to drain: they are left to the spawner");
	stop_now(arg);
}

static void on_stop(void *arg, bool drain)
{
	struct batchd *b = arg;
	if (!drain) {
		stop_now(b);
		return;
	}
	b->draining = true;
	engine_stop_starting(b->engine);
	if (b->config.drain_ms > 0) {
		struct timeval tv = { .tv_sec = b->config.drain_ms / 1000,
				      .tv_usec = b->config.drain_ms % 1000 * 1000 };
		event_base_once(b->base, -1, EV_TIMEOUT, on_drain_over, b, &tv);
	}
}

static void on_signal(evutil_socket_t signal, short what, void *arg)
{
	(void)what;
	log_info("%s: stopping; running ops are left to the spawner", strsignal((int)signal));
	stop_now(arg);
}

static void on_status(void *arg, struct pk *pk)
{
	struct batchd *b = arg;
	pk_kint(pk, "pid", getpid());
	pk_kstr(pk, "version", slice_str(BATCHD_VERSION));
	pk_kstr(pk, "socket", slice_str(b->socket));
	pk_kstr(pk, "state_dir", slice_str(b->state_dir));
	pk_ktext(pk, "shell", slice_str(b->config.shell));
	pk_kint(pk, "started", b->started);
	pk_kint(pk, "running_ops", engine_running_ops(b->engine));
	pk_kint(pk, "spawner_pid", exec_local_pid(b->local));
	pk_kbool(pk, "draining", b->draining);
}

static void on_socket_again(void *arg, int fd)
{
	struct batchd *b = arg;
	rpc_server_listen(b->rpc, fd);
	exec_local_replaced(b->local);
}

static void make_socket_watch(struct batchd *b, const struct batchd_options *o)
{
	struct socket_watch_config wc = { .base = b->base,
					  .path = b->socket,
					  .own = &b->own_socket,
					  .again = on_socket_again,
					  .arg = b };
	if (o->listen_fd < 0)
		b->socket_watch = socket_watch_new(&wc);
}

static int listen_now(struct batchd *b, const struct batchd_options *o, struct err *e)
{
	int fd = o->listen_fd;
	if (fd < 0 && own_socket_bind(&b->own_socket, b->socket, &fd, e))
		return 1;
	fd_set_nonblock(fd, true);
	struct rpc_config rc = {
		.base = b->base,
		.listen_fd = fd,
		.engine = b->engine,
		.store = b->store,
		.output = b->output,
		.work = b->work,
		.runs_dir = store_runs_dir(b->store),
		.environ_dflt = environ,
		.socket = b->socket,
		.max_frame = (uint32_t)b->config.max_frame,
		.keeper = b->keeper,
		.reload = on_reload,
		.status = on_status,
		.stop = on_stop,
		.arg = b,
	};
	b->rpc = rpc_server_new(&rc);
	make_socket_watch(b, o);
	return 0;
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	((struct batchd *)arg)->deadline_ms = INT64_MAX; /* the turn does what is due */
}

static int make_base(struct batchd *b, struct err *e)
{
	struct event_config *ec = event_config_new();
	evthread_use_pthreads();
	event_config_set_flag(ec, EVENT_BASE_FLAG_IGNORE_ENV);
	b->base = event_base_new_with_config(ec);
	event_config_free(ec);
	if (!b->base)
		return err_set(e, 0, "cannot make an event loop");
	event_base_priority_init(b->base, 3);
	static const struct {
		int signal;
		event_callback_fn fn;
	} signals[] = { { SIGTERM, on_signal }, { SIGINT, on_signal }, { SIGHUP, on_hangup } };
	static_assert(ARRAY_SIZE(signals) == ARRAY_SIZE(b->signals), "an event for each");
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		b->signals[i] = evsignal_new(b->base, signals[i].signal, signals[i].fn, b);
		event_add(b->signals[i], NULL);
	}
	b->deadline = evtimer_new(b->base, on_deadline, b);
	b->deadline_ms = INT64_MAX;
	return 0;
}

int batchd_open(const struct batchd_options *o, struct config *config, struct batchd **ret,
		struct err *e)
{
	struct batchd *b = xcalloc(1, sizeof(*b));
	b->config = *config;
	*config = (struct config){ 0 };
	b->config_path = o->config ? xstrdup(o->config) : NULL;
	b->socket = xstrdup(o->socket);
	b->batchctl = o->batchctl ? xstrdup(o->batchctl) : NULL;
	b->state_dir = xstrdup(o->state_dir);
	b->started = time_wall_ms();
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	int r = make_base(b, e);
	if (!r)
		r = path_check_private(b->socket, e);
	if (!r)
		r = open_store(b, o, e);
	if (!r) {
		make_engine(b);
		r = make_executors(b, o, e);
	}
	if (!r)
		r = recovery(b->engine, b->store, b->local, &b->todo_lists, e);
	if (!r)
		r = make_keeper(b, e);
	if (!r)
		r = listen_now(b, o, e);
	if (!r)
		make_reloader(b, o);
	if (r) {
		*config = b->config;
		b->config = (struct config){ 0 };
		batchd_close(b);
		return r;
	}
	*ret = b;
	return 0;
}

/* --- the turn --- */

static void arm_deadline(struct batchd *b)
{
	int64_t at = engine_deadline(b->engine);
	if (at == b->deadline_ms)
		return;
	b->deadline_ms = at;
	event_del(b->deadline);
	if (at == INT64_MAX)
		return;
	int64_t in = MAX2(at - time_mono_ms(), 0);
	struct timeval tv = { .tv_sec = in / 1000, .tv_usec = in % 1000 * 1000 };
	event_add(b->deadline, &tv);
}

/* What follows every turn: what is due, then one transaction for all that happened, then all starts
 * in one packet. */
static void turn(struct batchd *b)
{
	engine_tick(b->engine, time_mono_ms());
	on_end_submit(&b->on_end, b->engine, b->config.on_end);
	engine_flush_due(b->engine);
	exec_local_flush(b->local);
	exec_file_flush(b->files);
	arm_deadline(b);
	b->stopping = b->stopping || (b->draining && engine_running_ops(b->engine) == 0);
}

int batchd_run(struct batchd *b)
{
	notify_send("READY=1");
	while (!b->stopping) {
		turn(b);
		if (b->stopping)
			break;
		event_base_loop(b->base, EVLOOP_ONCE);
	}
	notify_send("STOPPING=1");
	return b->failed;
}

/* What has happened is stored and acknowledged: the turn on its way, then the one that gathered
 * meanwhile; also where the disk is full. */
static void settle_up(struct batchd *b)
{
	if (!b->store)
		return;
	for (int i = 0; i < 2 && b->engine; i++) {
		engine_flush(b->engine);
		store_drain(b->store);
		if (!engine_is_behind(b->engine))
			continue;
		store_give_spare(b->store);
		engine_offer_again(b->engine);
		store_drain(b->store);
	}
	if (b->local)
		exec_local_flush(b->local);
}

/*
 * Nobody remembers file ops but we: those that have begun end here, for a while, and those that
 * have not are known not to have. Else the next batchd could only call them lost. Nor has anybody
 * but us the pipes of a spawner that was killed a moment ago: the next one is to have them first.
 */
static void finish(struct batchd *b)
{
	const struct timeval tv = { .tv_sec = STOP_SECONDS };
	int64_t end = time_mono_ms() + STOP_SECONDS * 1000;
	if (!b->engine || !b->files || !b->local)
		return;
	engine_leave(b->engine);
	exec_file_leave(b->files);
	event_base_loopexit(b->base, &tv); /* wakes us then */
	while ((exec_file_is_busy(b->files) || work_is_busy(b->work) ||
		(!b->failed && !exec_local_is_kept(b->local))) &&
	       time_mono_ms() < end) {
		turn(b);
		event_base_loop(b->base, EVLOOP_ONCE);
	}
}

struct batchd *batchd_close(struct batchd *b)
{
	b->socket_watch = socket_watch_free(b->socket_watch);
	if (b->rpc) {
		store_leave(b->store);
		own_socket_unlink(&b->own_socket, b->socket);
		rpc_server_quiet(b->rpc);
	}
	reloader_quiet(b->reloader);
	keeper_quiet(b->keeper);
	finish(b);
	settle_up(b);
	b->rpc = rpc_server_free(b->rpc);
	exec_local_free(b->local);
	/* Before the threads: one may wait for room in a pipe that is read there. */
	output_free(b->output);
	work_free(b->work);
	b->ready = ready_free(b->ready);
	exec_file_free(b->files);
	store_close(b->store);
	keeper_free(b->keeper);
	reloader_free(b->reloader);
	todo_lists_done(&b->todo_lists);
	engine_free(b->engine);
	for (size_t i = 0; i < ARRAY_SIZE(b->signals); i++)
		if (b->signals[i])
			event_free(b->signals[i]);
	if (b->deadline)
		event_free(b->deadline);
	if (b->base)
		event_base_free(b->base);
	config_done(&b->config);
	free(b->pools);
	free(b->socket);
	free(b->batchctl);
	on_end_done(&b->on_end);
	free(b->state_dir);
	free(b->config_path);
	free(b);
	return NULL;
}
