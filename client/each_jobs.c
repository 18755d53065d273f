#include "client/each.h"
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

/* -N, else -n; 0: none of them. */
static size_t jobs_given(const struct each *e)
{
	const struct each_options *o = e->o;
	return (size_t)(o->replace_args.set ? o->replace_args.v : o->max_args.v);
}

static bool jobs_none(const struct each *e)
{
	return e->o->replace_args.set && e->o->replace_args.v == 0; /* -N0 */
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

static bool args_are_blank(const struct each_args *a)
{
	for (size_t i = 0; i < a->n; i++)
		for (size_t k = 0; k < a->v[i].len; k++)
			if (!strchr(" \t\n\r\f\v", a->v[i].p[k]) || !a->v[i].p[k])
				return false;
	return true;
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
	size_t all = e->input.n_records, given = jobs_given(e), most = given ? given : SIZE_MAX;
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

/* -r */
static void jobs_drop_blank(struct each *e)
{
	size_t kept = 0;
	for (size_t i = 0; i < e->n_jobs; i++)
		if (!args_are_blank(each_job_args(e, i)))
			e->jobs[kept++] = e->jobs[i];
	e->n_jobs = kept;
}

int each_jobs_make(struct each *e)
{
	size_t all = e->input.n_records;
	size_t step = MAX2(jobs_given(e), (size_t)1);
	if (e->o->context || e->o->spread || e->o->xargs) {
		jobs_pack(e);
	} else {
		for (size_t first = 0; first < all; first += step)
			jobs_add(e, first, MIN2(step, all - first));
	}
	if (e->o->no_empty)
		jobs_drop_blank(e);
	e->n_todo = e->n_jobs;
	return e->o->resume || e->o->resume_failed ? each_log_resume(e) : EXIT_OK;
}

size_t each_job_slot(const struct each *e, size_t job)
{
	return e->slots ? job % (size_t)e->slots + 1 : job + 1;
}

void each_job_command(struct each *e, size_t job, struct buf *b)
{
	each_template_expand(&e->command, each_job_args(e, job), job + 1, each_job_slot(e, job), b);
}

void each_job_tag(struct each *e, size_t job, struct buf *b)
{
	if (!e->tag.n)
		return;
	each_template_expand(&e->tag, each_job_args(e, job), job + 1, each_job_slot(e, job), b);
	buf_addc(b, '\t');
}
