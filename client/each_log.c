#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/each.h"
#include "common/fd.h"
#include "common/text.h"
#include "common/xalloc.h"

#define LOG_HEAD "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n"
#define LOG_COLUMNS 9

/* ---- what was done before ---- */

/* Commands that the log has, sorted, each with how many of it were found again. */
struct done {
	struct slice command;
	bool found;
};

static int done_compare(const void *a, const void *b)
{
	const struct slice *x = &((const struct done *)a)->command,
			   *y = &((const struct done *)b)->command;
	int r = memcmp(x->p, y->p, MIN2(x->len, y->len));
	return r ? r : (x->len > y->len) - (x->len < y->len);
}

/* One line. True: its command is done; with `well` only if it went well. */
static bool log_line(struct slice line, bool well, struct slice *ret)
{
	struct slice columns[LOG_COLUMNS] = { 0 };
	for (int i = 0; i < LOG_COLUMNS; i++) {
		const char *tab = i + 1 < LOG_COLUMNS ? memchr(line.p, '\t', line.len) : NULL;
		if (!tab && i + 1 < LOG_COLUMNS)
			return false;
		size_t n = tab ? (size_t)(tab - line.p) : line.len;
		columns[i] = slice_of(line.p, n);
		line = slice_of(line.p + n + (tab != NULL), line.len - n - (tab != NULL));
	}
	if (!parse_all_digits(columns[0]))
		return false;
	*ret = columns[LOG_COLUMNS - 1];
	return !well || (slice_is(columns[6], "0") && slice_is(columns[7], "0"));
}

static struct done *log_done(const struct buf *text, bool well, size_t *ret_n)
{
	struct slice rest = buf_slice(text), command;
	struct done *done = NULL;
	size_t n = 0, cap = 0;
	while (rest.len) {
		const char *nl = memchr(rest.p, '\n', rest.len);
		if (!nl)
			break; /* it was cut while it was written */
		size_t len = (size_t)(nl - rest.p);
		if (log_line(slice_of(rest.p, len), well, &command)) {
			if (n == cap) {
				cap = cap ? cap * 2 : 64;
				done = xrealloc(done, cap, sizeof(*done));
			}
			done[n++] = (struct done){ .command = command };
		}
		rest = slice_of(nl + 1, rest.len - len - 1);
	}
	if (n)
		qsort(done, n, sizeof(*done), done_compare);
	*ret_n = n;
	return done;
}

/* Finds one that is `command` and was not found before: each counts once. */
static bool done_take(struct done *done, size_t n, struct slice command)
{
	const struct done key = { .command = command };
	size_t low = 0, high = n;
	while (low < high) {
		size_t mid = (low + high) / 2;
		int r = done_compare(&done[mid], &key);
		/* Of the same those found come first. */
		if (r < 0 || (r == 0 && done[mid].found))
			low = mid + 1;
		else
			high = mid;
	}
	if (low == n || done_compare(&done[low], &key) != 0)
		return false;
	return done[low].found = true;
}

static void log_newlines(struct buf *b, char from, char to)
{
	for (size_t i = 0; i < b->len; i++)
		if (b->p[i] == from)
			b->p[i] = to;
}

static void log_match(struct each *e, struct done *done, size_t n)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	for (size_t i = 0; i < e->n_jobs; i++) {
		buf_clear(&b);
		each_job_command(e, i, &b);
		log_newlines(&b, '\n', '\0');
		e->jobs[i].skip = done_take(done, n, buf_slice(&b));
		e->n_todo -= e->jobs[i].skip;
	}
}

/* The results of a job are its log where there is no other. */
static void results_match(struct each *e)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	for (size_t i = 0; i < e->n_jobs; i++) {
		buf_clear(&b);
		each_results_path(e, i, "seq", &b);
		e->jobs[i].skip = access(buf_str(&b), F_OK) == 0;
		e->n_todo -= e->jobs[i].skip;
	}
}

int each_log_resume(struct each *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	const char *path = e->o->joblog;
	size_t n;
	if (!path && e->o->results && !e->o->resume_failed) {
		results_match(e);
		return EXIT_OK;
	}
	if (!path || strcmp(path, "-") == 0)
		return fail(e->c, EXIT_USAGE, "%s needs --joblog FILE%s",
			    e->o->resume_failed ? "--resume-failed" : "--resume",
			    e->o->resume_failed ? "" : " or --results DIR");
	int r = fd_read_file(path, SIZE_MAX / 2, &text);
	if (r == -ENOENT)
		return EXIT_OK;
	if (r < 0)
		return fail(e->c, EXIT_USAGE, "--joblog '%s': %s", path, errno_text(-r));
	struct done *done = log_done(&text, e->o->resume_failed, &n);
	log_match(e, done, n);
	free(done);
	return EXIT_OK;
}

/* ---- writing it ---- */

int each_log_open(struct each *e, int *ret_fd)
{
	const char *path = e->o->joblog;
	bool append = e->o->resume || e->o->resume_failed;
	struct stat st;
	*ret_fd = -1;
	if (!path)
		return EXIT_OK;
	int fd = strcmp(path, "-") == 0
			 ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)
			 : open(path,
				O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (append ? 0 : O_TRUNC),
				0666);
	if (fd < 0)
		return fail(e->c, EXIT_USAGE, "--joblog '%s': %s", path, errno_text(errno));
	*ret_fd = fd;
	bool fresh = !append || fstat(fd, &st) < 0 || st.st_size == 0;
	int r = fresh ? fd_write_all(fd, LOG_HEAD, strlen(LOG_HEAD)) : 0;
	return r < 0 ? fail(e->c, EXIT_RUN, "--joblog '%s': %s", path, errno_text(-r)) : EXIT_OK;
}

int each_log_add(struct each *e, int fd, size_t job, const struct each_end *end)
{
	_cleanup_buf_ struct buf line = BUF_INIT, command = BUF_INIT;
	int64_t ms = MAX2(end->ended - end->started, 0);
	if (fd < 0)
		return EXIT_OK;
	each_job_command(e, job, &command);
	log_newlines(&command, '\n', '\0');
	buf_addf(&line, "%zu\t:\t%lld.%03d\t%6lld.%03d\t0\t%lld\t%d\t%d\t", job + 1,
		 (long long)(end->started / 1000), (int)(end->started % 1000),
		 (long long)(ms / 1000), (int)(ms % 1000), (long long)end->bytes, end->exit,
		 end->signal);
	buf_addslice(&line, buf_slice(&command));
	buf_addc(&line, '\n');
	int r = fd_write_all(fd, line.p, line.len);
	return r < 0 ? fail(e->c, EXIT_RUN, "--joblog '%s': %s", e->o->joblog, errno_text(-r))
		     : EXIT_OK;
}
