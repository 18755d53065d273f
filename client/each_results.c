#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/each.h"
#include "common/fd.h"
#include "common/text.h"

#define NAME_BYTES 255 /* of one folder's name (NAME_MAX) */

/* An argument as the name of a folder. */
static void results_name(struct buf *b, struct slice s)
{
	size_t end = b->len + NAME_BYTES;
	for (size_t i = 0; i < s.len && b->len < end; i++) {
		switch (s.p[i]) {
		case '/':
			buf_adds(b, "\\_");
			break;
		case '\\':
			buf_adds(b, "\\\\");
			break;
		case '\t':
			buf_adds(b, "\\t");
			break;
		case '\0':
			buf_adds(b, "\\0");
			break;
		default:
			buf_addc(b, s.p[i]);
		}
	}
	b->len = MIN2(b->len, end);
}

/* The number of an argument, or what --header calls it. */
static void results_column(const struct each *e, size_t i, struct buf *b)
{
	const struct each_args *names = &e->input.names;
	if (i < names->n && names->v[i].len)
		results_name(b, names->v[i]);
	else
		buf_addf(b, "%zu", i + 1);
}

/* DIR/1/FIRST/2/SECOND: the number of each argument, and the argument. */
static void results_folder(struct each *e, size_t job, struct buf *b)
{
	const struct each_args *a = each_job_args(e, job);
	size_t columns = e->jobs[job].n ? a->n / e->jobs[job].n : a->n;
	buf_adds(b, e->o->results);
	for (size_t i = 0; i < a->n; i++) {
		buf_addc(b, '/');
		results_column(e, columns ? i % columns : i, b);
		buf_addc(b, '/');
		results_name(b, a->v[i]);
	}
	buf_addc(b, '/');
}

void each_results_path(struct each *e, size_t job, const char *which, struct buf *b)
{
	if (!e->by_name)
		results_folder(e, job, b);
	else
		each_job_expand(e, job, &e->results, b);
	if (b->len && b->p[b->len - 1] == '/')
		buf_adds(b, which);
	else if (strcmp(which, "stdout") != 0)
		buf_addf(b, ".%s", strcmp(which, "seq") == 0 ? "seq" : "err");
}

/* Makes the folders above `path`. */
static int results_folders(struct buf *path)
{
	for (size_t i = 1; i < path->len; i++) {
		if (path->p[i] != '/')
			continue;
		path->p[i] = '\0';
		int r = mkdir(buf_str(path), 0777) < 0 && errno != EEXIST ? -errno : 0;
		path->p[i] = '/';
		if (r)
			return r;
	}
	return 0;
}

static int results_file(struct each *e, size_t job, const char *which)
{
	_cleanup_buf_ struct buf path = BUF_INIT;
	each_results_path(e, job, which, &path);
	int r = results_folders(&path);
	int fd = r ? r : open(buf_str(&path), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd >= 0)
		return fd;
	return fail(e->c, -1, "--results '%s': %s", buf_str(&path), errno_text(r ? -r : errno));
}

int each_results_open(struct each *e, size_t job, int ret_fds[2])
{
	_cleanup_buf_ struct buf seq = BUF_INIT;
	_cleanup_close_ int fd = results_file(e, job, "seq");
	ret_fds[0] = fd < 0 ? -1 : results_file(e, job, "stdout");
	ret_fds[1] = ret_fds[0] < 0 ? -1 : results_file(e, job, "stderr");
	buf_addf(&seq, "%zu", job + 1);
	if (ret_fds[1] < 0)
		return EXIT_RUN;
	int r = fd_write_all(fd, seq.p, seq.len);
	return r < 0 ? fail(e->c, EXIT_RUN, "--results: %s", errno_text(-r)) : EXIT_OK;
}
