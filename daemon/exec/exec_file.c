/*
 * write, edit and read ops: a job goes to a worker thread with everything it needs, comes back as a
 * result. What touches the files is in file_ops.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/table.h"

#include "common/text.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "daemon/exec/exec.h"
#include "daemon/exec/file_ops.h"
#include "daemon/exec/idmap.h"
#include "daemon/record.h"
#include "proto/batch.h"

struct exec_file {
	struct work *work;
	struct output *output;
	struct exec_events events;
	int root_fd;
	uint32_t store;	   /* of the runs folder's name: see file_op */
	struct idmap jobs; /* by token */
};

struct file_job {
	struct exec_file *x;
	struct file_op op;
	char *path; /* op.path */
	int unable; /* -errno: it cannot even be tried */
	struct exec_result result;
	int64_t begun_ns;
	atomic_bool cancelled; /* looked at when it begins */
	bool worked, drained;  /* read: both are needed; others are drained from the start */
};

struct exec_file *exec_file_new(struct work *work, struct output *output,
				const struct exec_events *events)
{
	struct exec_file *x = xcalloc(1, sizeof(*x));
	x->work = work;
	x->output = output;
	x->events = *events;
	x->root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
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
	free(x);
	return NULL;
}

/* On a worker thread. */
static void job_run(void *arg)
{
	struct file_job *j = arg;
	j->begun_ns = time_mono_ns();
	j->result.started = time_wall_ms();
	if (atomic_load(&j->cancelled)) {
		j->result.cause = CAUSE_CANCEL;
	} else if (j->unable < 0) {
		j->result.cause = CAUSE_IO;
		err_set(&j->result.error, 0, "cannot start: %s", errno_text(-j->unable));
	} else {
		j->result.cause = file_op_run(&j->op, &j->result.error);
	}
	if (j->op.pipe_fd >= 0)
		close(TAKE_FD(j->op.pipe_fd));
	j->result.ended = time_wall_ms();
	j->result.duration_ms = (time_mono_ns() - j->begun_ns) / 1000000;
}

static void job_end(struct file_job *j)
{
	struct exec_file *x = j->x;
	idmap_del(&x->jobs, j->result.token);
	x->events.ended(x->events.arg, &j->result);
	job_free(j);
}

static void job_done(void *arg)
{
	struct file_job *j = arg;
	j->worked = true;
	/* A read's pipe is at its end by now: drained will come if it has not. */
	if (j->drained)
		job_end(j);
}

bool exec_file_drained(struct exec_file *x, uint64_t token, const struct output_totals *totals)
{
	struct file_job *j = idmap_ptr(&x->jobs, token);
	if (!j)
		return false;
	j->result.stdout_bytes = totals->stdout_bytes;
	j->result.dropped_bytes = totals->dropped_bytes;
	j->drained = true;
	if (j->worked)
		job_end(j);
	return true;
}

static int job_pipe(struct file_job *j, int64_t output_cap)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	j->op.pipe_fd = fds[1];
	/* Done again after a crash, it reads from the beginning again. */
	output_attach_again(j->x->output, j->result.token, fds[0], output_cap);
	return 0;
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
	if (op->kind == KIND_READ)
		j->unable = job_pipe(j, output_cap);
	j->drained = op->kind != KIND_READ || j->unable < 0;
	work_submit(x->work, job_run, job_done, j);
}

bool exec_file_is_busy(const struct exec_file *x)
{
	return x->jobs.n > 0;
}

void exec_file_cancel(struct exec_file *x, uint64_t token)
{
	struct file_job *j = idmap_ptr(&x->jobs, token);
	if (j)
		atomic_store(&j->cancelled, true);
}
