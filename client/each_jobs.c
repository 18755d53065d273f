#include "client/each.h"
#include "common/paths.h"
#include "common/xalloc.h"

#define CHARS_MAX 131000 /* of a command: LIMIT_STRING_BYTES, with room to spare */

static struct each_job *jobs_add(struct each *e, size_t first, size_t n)
{
	if (e->n_jobs == e->cap_jobs) {
		e->cap_jobs = e->cap_jobs ? e->cap_jobs * 2 : 64;
		e->jobs = xrealloc(e->jobs, e->cap_jobs, sizeof(*e->jobs));
	}
	struct each_job *j = &e->jobs[e->n_jobs++];
	*j = (struct each_job){ .first = first, .n = (uint32_t)n };
	return j;
}

/* -N, else -n, else -L. */
static const struct opt_int *jobs_given(const struct each *e)
{
	const struct each_options *o = e->o;
	return o->replace_args.set ? &o->replace_args : o->max_args.set ? &o->max_args : &o->lines;
}

/* -N0, -L0: a job an argument, which is not put in. */
static bool jobs_none(const struct each *e)
{
	return jobs_given(e)->set && jobs_given(e)->v == 0;
}

static const struct each_args *jobs_args(struct each *e, size_t first, size_t n)
{
	e->args.n = 0;
	for (size_t i = 0; i < n && !jobs_none(e); i++)
		each_input_record(&e->input, first + i, &e->args);
	return &e->args;
}

const struct each_args *each_job_args(struct each *e, size_t job)
{
	return jobs_args(e, e->jobs[job].first, e->jobs[job].n);
}

/* -m, -X: as many records as a line holds, at most `most`. */
static size_t jobs_fill(struct each *e, size_t first, size_t most)
{
	const struct each_args none = { 0 };
	_cleanup_buf_ struct buf bare = BUF_INIT;
	each_template_expand(&e->command, &none, e->n_jobs + 1, 1, &bare);
	size_t room = e->o->max_chars.set ? (size_t)e->o->max_chars.v : CHARS_MAX, n = 0;
	size_t len = bare.len;
	while (first + n < e->input.n_records && n < most) {
		len += each_template_cost(&e->command, jobs_args(e, first + n, 1));
		if (n && len > room)
			break;
		n++;
	}
	return n;
}

/* -m, -X, --xargs. What the last line would take is spread over all slots but by --xargs, as is
 * what comes after that. */
static void jobs_pack(struct each *e)
{
	size_t all = e->input.n_records, given = (size_t)jobs_given(e)->v;
	size_t most = given ? given : SIZE_MAX;
	bool spread = !e->o->context && !e->o->spread;
	for (size_t first = 0; first < all;) {
		size_t n = jobs_fill(e, first, most);
		if (!spread && first + n == all) {
			size_t slots = e->slots ? (size_t)e->slots : n;
			most = n = (n + slots - 1) / slots;
			spread = true;
		}
		jobs_add(e, first, n);
		first += n;
	}
}

int each_jobs_make(struct each *e)
{
	size_t all = e->input.n_records;
	size_t step = (size_t)MAX2(jobs_given(e)->v, 1);
	if (e->o->context || e->o->spread || e->o->xargs) {
		jobs_pack(e);
	} else {
		for (size_t first = 0; first < all; first += step)
			jobs_add(e, first, MIN2(step, all - first));
	}
	e->n_todo = e->n_jobs;
	return e->o->resume || e->o->resume_failed ? each_log_resume(e) : EXIT_OK;
}

size_t each_job_slot(const struct each *e, size_t job)
{
	return e->slots ? job % (size_t)e->slots + 1 : job + 1;
}

bool each_has_slots(const struct each *e)
{
	return e->command.has_slot || e->workdir.has_slot || e->tag.has_slot || e->results.has_slot;
}

void each_job_expand(struct each *e, size_t job, const struct each_template *t, struct buf *b)
{
	each_template_expand(t, each_job_args(e, job), job + 1, each_job_slot(e, job), b);
}

void each_job_command(struct each *e, size_t job, struct buf *b)
{
	each_job_expand(e, job, &e->command, b);
}

void each_job_folder(struct each *e, size_t job, struct buf *b)
{
	_cleanup_buf_ struct buf path = BUF_INIT;
	each_job_expand(e, job, &e->workdir, &path);
	if (path.len)
		path_normal(b, slice_str(ctx_cwd()), buf_slice(&path));
}

void each_job_tag(struct each *e, size_t job, struct buf *b)
{
	if (!e->tag.n)
		return;
	each_job_expand(e, job, &e->tag, b);
	buf_addc(b, '\t');
}
