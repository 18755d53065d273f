/*
 * write, edit and read ops: a job goes to a worker thread with everything it needs, comes back as a
 * result. What touches the files is in file_ops.c. Writes of one run that begin in one turn of the
 * loop go as groups, so that they wait for the disk together; a read or an edit goes alone, since
 * nobody knows how long it takes to read.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/list.h"
#include "common/log.h"
#include "common/table.h"
#include "common/text.h"
#include "common/timeutil.h"
#include "common/trouble.h"
#include "common/xalloc.h"
#include "daemon/exec/exec.h"
#include "daemon/exec/file_ops.h"
#include "daemon/exec/idmap.h"
#include "daemon/record.h"
#include "proto/batch.h"
#include "proto/errors.h"

/* A group has at most so many jobs. */
#define GROUP_MAX 512
/* What it replaces stays until all of it is there, */
#define GROUP_BYTES (16 << 20)
/* and it has two descriptors open for each, or fewer. */
#define GROUP_OF_FDS 32
/* What waits for descriptors looks so often. */
#define AGAIN_MS 1000

struct file_job;
struct file_group {
	size_t n, bytes;
	struct file_job *jobs[];
};

struct exec_file {
	struct work *work;
	struct output *output;
	struct exec_events events;
	int root_fd;
	uint32_t store;	   /* of the runs folder's name: see file_op */
	struct idmap jobs; /* by token */
	size_t group_max;
	struct file_group *gathered; /* writes of one run, to be done; NULL: none */
	struct list waiting;	     /* jobs, for descriptors */
	size_t n_waiting;
	bool leaving;
	struct event *again; /* they are tried again */
};

struct file_job {
	struct exec_file *x;
	struct file_op op;
	char *path; /* op.path */
	int unable; /* -errno: it cannot even be tried */
	bool again; /* there were no descriptors for it */
	struct list waiting;
	int64_t output_cap;
	struct exec_result result;
	atomic_bool cancelled; /* looked at when it begins */
	bool worked, drained;  /* read: both are needed; others are drained from the start */
};

static size_t group_max(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 1;
	return (size_t)MAX2(MIN2(limit.rlim_cur / GROUP_OF_FDS, (rlim_t)GROUP_MAX), (rlim_t)1);
}

static void files_again(evutil_socket_t fd, short what, void *arg);

struct exec_file *exec_file_new(struct event_base *base, struct work *work, struct output *output,
				const struct exec_events *events)
{
	struct exec_file *x = xcalloc(1, sizeof(*x));
	x->work = work;
	x->output = output;
	x->events = *events;
	list_init(&x->waiting);
	x->again = evtimer_new(base, files_again, x);
	x->root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	x->group_max = group_max();
	x->store = 2166136261u; /* FNV-1a */
	for (const char *p = output_dir(output); *p; p++)
		x->store = (x->store ^ (unsigned char)*p) * 16777619u;
	return x;
}

static void job_free(struct file_job *j)
{
	if (j->op.pipe_fd >= 0)
		close(j->op.pipe_fd);
	free(j->path);
	free(j);
}

struct exec_file *exec_file_free(struct exec_file *x)
{
	if (!x)
		return NULL;
	idmap_for(&x->jobs, slot) job_free((struct file_job *)slot->word);
	idmap_done(&x->jobs);
	if (x->root_fd >= 0)
		close(x->root_fd);
	free(x->gathered);
	event_free(x->again);
	free(x);
	return NULL;
}

/* Before anything is done; what it cannot do, and why, is its task's cause. */
static void job_begin(struct file_job *j, struct file_task *task)
{
	*task = (struct file_task){ .op = &j->op, .error = &j->result.error };
	j->result.started = time_wall_ms();
	j->result.error = (struct err)ERR_INIT;
	if (atomic_load(&j->cancelled)) {
		task->cause = CAUSE_CANCEL;
	} else if (j->unable < 0) {
		task->cause = CAUSE_IO;
		bool again = j->unable == -EMFILE || j->unable == -ENFILE;
		err_set(task->error, again ? E_BUSY : 0, "cannot start: %s",
			errno_text(-j->unable));
	}
}

/*
 * On a worker thread. What they waited for together is shared out among them: the times of a run's
 * ops are what it would have taken to do one after another.
 */
static void group_run(void *arg)
{
	struct file_group *g = arg;
	_cleanup_free_ struct file_task *tasks = xcalloc(g->n, sizeof(tasks[0]));
	int64_t begun_ns = time_mono_ns();
	for (size_t i = 0; i < g->n; i++)
		job_begin(g->jobs[i], &tasks[i]);
	file_ops_run(tasks, g->n);
	int64_t took_ms = (time_mono_ns() - begun_ns) / 1000000, n = (int64_t)g->n;
	for (int64_t i = 0; i < n; i++) {
		struct file_job *j = g->jobs[i];
		j->again = tasks[i].again;
		if (j->op.pipe_fd >= 0 && !j->again)
			close(TAKE_FD(j->op.pipe_fd));
		j->result.cause = tasks[i].cause;
		j->result.ended = time_wall_ms();
		j->result.duration_ms = took_ms * (i + 1) / n - took_ms * i / n;
	}
}

static void job_end(struct file_job *j)
{
	struct exec_file *x = j->x;
	if (list_empty(&x->waiting) && trouble_over(TROUBLE_FILES))
		log_info("file ops go on");
	idmap_del(&x->jobs, j->result.token);
	x->events.ended(x->events.arg, &j->result);
	job_free(j);
}

/* Done again it would be done twice, so the next batchd could not know that it was not done. */
static bool job_is_once(const struct file_job *j)
{
	return j->op.kind == KIND_EDIT || j->op.append;
}

/* As a command would that cannot be started now: it is not its fault. */
static void job_wait(struct file_job *j)
{
	const struct timeval tv = { .tv_sec = AGAIN_MS / 1000 };
	struct exec_file *x = j->x;
	if (x->leaving && job_is_once(j)) {
		job_end(j);
		return;
	}
	list_add_tail(&x->waiting, &j->waiting);
	x->n_waiting++;
	if (!event_pending(x->again, EV_TIMEOUT, NULL))
		event_add(x->again, &tv);
	if (trouble_say(TROUBLE_FILES, 3 * AGAIN_MS, "file ops wait: %s: %s", j->result.error.text,
			trouble_mend(EMFILE)))
		log_warn("file ops wait: %s: %s", j->result.error.text, trouble_mend(EMFILE));
}

static void group_done(void *arg)
{
	_cleanup_free_ struct file_group *g = arg;
	for (size_t i = 0; i < g->n; i++) {
		struct file_job *j = g->jobs[i];
		if (j->again) {
			job_wait(j);
			continue;
		}
		j->worked = true;
		/* A read's pipe is at its end by now: drained will come if it has not. */
		if (j->drained)
			job_end(j);
	}
}

static struct file_group *group_new(size_t max)
{
	return xcalloc(1, sizeof(struct file_group) + max * sizeof(struct file_job *));
}

static void group_submit(struct exec_file *x, struct file_group *g)
{
	work_submit(x->work, group_run, group_done, g);
}

void exec_file_flush(struct exec_file *x)
{
	if (x->gathered)
		group_submit(x, TAKE_PTR(x->gathered));
}

static void group_gather(struct exec_file *x, struct file_job *j)
{
	struct file_group *g = x->gathered;
	if (g && token_run(g->jobs[0]->result.token) != token_run(j->result.token))
		exec_file_flush(x);
	if (!x->gathered)
		x->gathered = group_new(x->group_max);
	g = x->gathered;
	g->jobs[g->n++] = j;
	g->bytes += j->op.content.len;
	if (g->n == x->group_max || g->bytes >= GROUP_BYTES)
		exec_file_flush(x);
}

static void job_submit(struct exec_file *x, struct file_job *j)
{
	if (j->op.kind == KIND_WRITE && !j->op.expect.p && !j->op.append) {
		group_gather(x, j);
		return;
	}
	struct file_group *g = group_new(1);
	g->jobs[g->n++] = j;
	group_submit(x, g);
}

bool exec_file_drained(struct exec_file *x, uint64_t token, const struct output_totals *totals)
{
	struct file_job *j = idmap_ptr(&x->jobs, token);
	if (!j)
		return false;
	j->result.stdout_bytes = totals->stdout_bytes;
	j->result.dropped_bytes = totals->dropped_bytes;
	j->result.unread = totals->left ? OUTPUT_LEFT : NULL;
	j->drained = true;
	if (j->worked)
		job_end(j);
	return true;
}

static int job_pipe(struct file_job *j)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	j->op.pipe_fd = fds[1];
	/* Done again after a crash, it reads from the beginning again. */
	output_attach_again(j->x->output, j->result.token, fds[0], j->output_cap);
	return 0;
}

static void job_try(struct file_job *j)
{
	bool reads = j->op.kind == KIND_READ;
	if (reads && j->op.pipe_fd < 0)
		j->unable = job_pipe(j);
	j->drained = !reads || j->unable < 0;
	job_submit(j->x, j);
}

static void files_again(evutil_socket_t fd _unused_, short what _unused_, void *arg)
{
	struct exec_file *x = arg;
	list_for_safe (&x->waiting, node) {
		list_del(node);
		x->n_waiting--;
		job_try(list_entry(node, struct file_job, waiting));
	}
	exec_file_flush(x);
}

void exec_file_start(struct exec_file *x, uint64_t token, const struct batch_op *op,
		     const char *path, uint32_t mask, int64_t output_cap, bool again)
{
	struct file_job *j = xcalloc(1, sizeof(*j));
	j->x = x;
	j->result.token = token;
	j->result.is_file_op = true;
	j->path = xstrdup(path);
	j->op = (struct file_op){
		.kind = op->kind,
		.root_fd = x->root_fd,
		.token = token,
		.store = x->store,
		.umask = mask,
		.mode = op->mode,
		.offset = op->offset,
		.limit = op->limit,
		.create_only = op->create_only,
		.append = op->append,
		.path = slice_str(j->path),
		.content = op->content,
		.expect = op->expect,
		.old_text = op->old_text,
		.new_text = op->new_text,
		.all = op->all,
		.again = again,
		.pipe_fd = -1,
	};
	idmap_put(&x->jobs, token, (uintptr_t)j);
	list_init(&j->waiting);
	j->output_cap = output_cap;
	job_try(j);
}

bool exec_file_is_busy(const struct exec_file *x)
{
	return x->jobs.n > x->n_waiting;
}

void exec_file_leave(struct exec_file *x)
{
	x->leaving = true;
	list_for_safe (&x->waiting, node) {
		struct file_job *j = list_entry(node, struct file_job, waiting);
		if (!job_is_once(j))
			continue;
		list_del(node);
		x->n_waiting--;
		job_end(j);
	}
}

void exec_file_cancel(struct exec_file *x, uint64_t token)
{
	struct file_job *j = idmap_ptr(&x->jobs, token);
	if (!j)
		return;
	atomic_store(&j->cancelled, true);
	output_hurry(x->output, token);
}
