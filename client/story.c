#include "client/story.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/selectors.h"
#include "client/story_shape.h"
#include "common/fd.h"
#include "common/text.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "proto/limits.h"
#include "proto/mp.h"
#include "proto/pack.h"

static int story_call(struct story *s, const char *method, int64_t offset, uint32_t max,
		      int64_t output, struct buf *reply)
{
	_cleanup_buf_ struct buf params = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	pk_map(&pk);
	pk_kint(&pk, "run", s->run);
	pk_kint(&pk, "offset", offset);
	pk_kint(&pk, "limit", (int64_t)max - offset + 1);
	if (output >= 0)
		pk_kint(&pk, "output", output);
	pk_end(&pk);
	return ctx_call(s->c, method, &params, reply);
}

static void story_take_ops(struct story *s, struct slice ops)
{
	struct mp m = mp_of(ops);
	struct mp_value list = mp_next(&m);
	uint32_t n = list.type == MP_ARRAY ? list.count : 0;
	s->ops = xrealloc(s->ops, s->n + n + 1, sizeof(*s->ops));
	for (uint32_t i = 0; i < n; i++) {
		struct slice op = mp_skip(&m);
		struct story_op *o = &s->ops[s->n++];
		*o = (struct story_op){ .op = op };
		o->index = (uint32_t)mp_get_int(op, "index", 0);
		o->message = (uint32_t)mp_get_int(op, "message", 0);
		o->started = mp_get_int(op, "started", 0);
		o->ended = mp_get_int(op, "ended", 0);
	}
}

/* What is not there any more, or was never told, is no dependency. */
static void story_take_deps(struct story *s, uint32_t op, struct slice list)
{
	struct mp m = mp_of(list);
	struct mp_value v = mp_next(&m);
	for (uint32_t n = v.type == MP_ARRAY ? v.count : 0; n > 0; n--) {
		int64_t on = mp_next(&m).i;
		if (on < 1 || on > s->n)
			continue;
		if (s->n_deps == s->cap_deps) {
			s->cap_deps = s->cap_deps ? 2 * s->cap_deps : 256;
			s->deps = xrealloc(s->deps, s->cap_deps, sizeof(*s->deps));
		}
		s->deps[s->n_deps++] = (uint32_t)on - 1;
		s->ops[op].ndeps++;
	}
}

static void story_take_plan(struct story *s, struct slice ops)
{
	struct mp m = mp_of(ops);
	struct mp_value list = mp_next(&m);
	for (uint32_t n = list.type == MP_ARRAY ? list.count : 0; n > 0; n--) {
		struct slice one = mp_skip(&m);
		int64_t index = mp_get_int(one, "index", 0);
		if (index < 1 || index > s->n)
			continue;
		s->ops[index - 1].dep = s->n_deps;
		s->ops[index - 1].service = mp_get_bool(one, "background");
		story_take_deps(s, (uint32_t)index - 1, mp_find(one, "needs"));
		story_take_deps(s, (uint32_t)index - 1, mp_find(one, "after_any"));
	}
}

static int story_load_ops(struct story *s, uint32_t max, int64_t output)
{
	for (int64_t next = 1; next >= 1 && next <= max;) {
		s->pages = xrealloc(s->pages, s->n_pages + 1, sizeof(*s->pages));
		s->pages[s->n_pages] = (struct buf)BUF_INIT;
		struct buf *page = &s->pages[s->n_pages++];
		int status = story_call(s, "run.get", next, max, output, page);
		if (status)
			return status;
		if (!s->head.p)
			s->head = buf_slice(page);
		story_take_ops(s, mp_find(buf_slice(page), "ops"));
		next = mp_get_int(buf_slice(page), "next", 0);
	}
	s->total = (uint32_t)mp_get_int(s->head, "ops_total", s->n);
	return EXIT_OK;
}

static int story_load_plan(struct story *s)
{
	for (int64_t next = 1; next >= 1 && next <= s->n;) {
		_cleanup_buf_ struct buf reply = BUF_INIT;
		int status = story_call(s, "run.plan", next, s->n, -1, &reply);
		if (status)
			return status;
		story_take_plan(s, mp_find(buf_slice(&reply), "ops"));
		next = mp_get_int(buf_slice(&reply), "next", 0);
	}
	return EXIT_OK;
}

int story_load(struct ctx *c, int64_t run, uint32_t max, int64_t output, struct story *ret)
{
	*ret = (struct story){ .c = c, .run = run, .now = time_wall_ms() };
	int status = story_load_ops(ret, max, output);
	if (status == EXIT_OK)
		status = story_load_plan(ret);
	if (status == EXIT_OK)
		story_shape(ret);
	return status;
}

void story_done(struct story *s)
{
	for (uint32_t i = 0; i < s->n_pages; i++)
		buf_done(&s->pages[i]);
	free(s->pages);
	free(s->ops);
	free(s->deps);
	free(s->path);
	*s = (struct story){ 0 };
}

int story_select(struct ctx *c, bool everywhere, int64_t *ret_run)
{
	_cleanup_(selection_done) struct selection sel = SELECTION_INIT;
	int status = selection_of_operands(c, everywhere, false, &sel);
	if (status == EXIT_OK && sel.n != 1)
		return fail(c, EXIT_USAGE, "one run at a time: %zu were named", sel.n);
	if (status == EXIT_OK)
		*ret_run = sel.v[0].run;
	return status;
}

/* Into a file beside it that takes its place; what is no regular file (/dev/null, a pipe, a link)
 * keeps its place. 0, or -errno. */
static int story_put(const char *file, const char *part, const struct buf *text)
{
	struct stat st;
	bool aside = lstat(file, &st) < 0 || S_ISREG(st.st_mode);
	int fd = aside ? open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)
		       : open(file, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int error = fd_write_all(fd, text->p, text->len) < 0 ? errno : 0;
	if (close(fd) < 0 && !error)
		error = errno;
	if (!error && aside && rename(part, file) < 0)
		error = errno;
	if (error && aside)
		unlink(part);
	return -error;
}

int story_write(struct ctx *c, const char *file, const struct buf *text)
{
	if (!file || strcmp(file, "-") == 0)
		return ctx_print(c, text);
	_cleanup_free_ char *part = xasprintf("%s.part-%d", file, (int)getpid());
	int error = -story_put(file, part, text);
	if (error)
		return fail(c, EXIT_USAGE, "-o: cannot write '%s': %s", file, errno_text(error));
	return EXIT_OK;
}
