#include <inttypes.h>
#include <stdlib.h>

#include "common/xalloc.h"
#include "proto/plan_impl.h"
#include "proto/value.h"

/* A file that an op of the message changes; `path` ends in '/', so that a folder is a prefix of all
 * that is in it. */
struct plan_file {
	size_t at; /* of path in plan_files.paths */
	uint32_t len, op;
	uint32_t order;
};

struct plan_files {
	struct buf paths;
	struct plan_file *files;
	uint32_t n;
	struct plan_walk walk;
	bool has_walk;
};

static struct slice file_path(const struct plan_files *f, const struct plan_file *file)
{
	return slice_of(f->paths.p + file->at, file->len);
}

static int file_order(const void *a, const void *b, void *arg)
{
	const struct plan_file *x = a, *y = b;
	const char *paths = ((struct plan_files *)arg)->paths.p;
	int r = memcmp(paths + x->at, paths + y->at, MIN2(x->len, y->len));
	if (r)
		return r;
	if (x->len != y->len)
		return x->len < y->len ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

static int plan_files_clash(const struct plan *p, const struct plan_files *f,
			    const struct plan_file *a, const struct plan_file *b, struct err *e)
{
	char first[PLAN_PATH_MAX], second[PLAN_PATH_MAX], text[VALUE_QUOTE_MAX];
	const struct plan_file *early = a->op < b->op ? a : b, *late = early == a ? b : a;
	struct slice path = file_path(f, late);
	bool same = a->len == b->len;
	path.len -= path.len > 1;
	return err_set(e, E_CONFLICT,
		       "%s.path: '%s' is %s %s of the same message: let one need the other, or put "
		       "them into two messages",
		       plan_op_place(p, late->op, second), value_quote(path, text),
		       same			? "changed by"
		       : late->len > early->len ? "below the file changed by"
						: "a folder of the file changed by",
		       plan_op_place(p, early->op, first));
}

static int plan_files_pair(const struct plan *p, struct plan_files *f, const struct plan_file *a,
			   const struct plan_file *b, struct err *e)
{
	if (!p->ops[a->op].ndeps && !p->ops[b->op].ndeps)
		return plan_files_clash(p, f, a, b, e);
	bool a_first = a->order < b->order;
	if (plan_waits_for(p, &f->walk, a_first ? b->op : a->op, a_first ? a->op : b->op))
		return 0;
	if (f->walk.budget <= 0)
		return err_set(e, E_LIMIT,
			       "too many file ops wait for each other: write them as messages");
	return plan_files_clash(p, f, a, b, e);
}

/* The files whose path begins the current one, outermost first. */
struct plan_above {
	uint32_t file;
	uint32_t first; /* place in the stack of the first op on the same file */
};

/*
 * The ops on one file must form a chain, and stand next to each other in its order: `now` need only
 * wait for the one before. With files above, each pair is looked at.
 */
static int plan_files_against(const struct plan *p, struct plan_files *f,
			      const struct plan_above *stack, uint32_t above,
			      const struct plan_file *now, struct err *e)
{
	uint32_t k = above;
	if (k > 0 && f->files[stack[k - 1].file].len == now->len) {
		if (plan_files_pair(p, f, &f->files[stack[k - 1].file], now, e))
			return 1;
		k = stack[k - 1].first;
	}
	while (k-- > 0)
		if (plan_files_pair(p, f, &f->files[stack[k].file], now, e))
			return 1;
	return 0;
}

static bool plan_file_within(const struct plan_files *f, const struct plan_file *up,
			     const struct plan_file *now)
{
	return up->len <= now->len &&
	       memcmp(f->paths.p + up->at, f->paths.p + now->at, up->len) == 0;
}

/* The files are sorted by path, then order: what is on one file or below it follows it. */
static int plan_files_compare(const struct plan *p, struct plan_files *f, struct err *e)
{
	uint32_t above = 0;
	_cleanup_free_ struct plan_above *stack = calloc(f->n, sizeof(*stack));
	if (!stack)
		return err_set(e, E_MEMORY, "no memory for the paths of %" PRIu32 " file ops",
			       f->n);
	for (uint32_t i = 0; i < f->n; i++) {
		struct plan_file *now = &f->files[i];
		while (above > 0 && !plan_file_within(f, &f->files[stack[above - 1].file], now))
			above--;
		if (plan_files_against(p, f, stack, above, now, e))
			return 1;
		bool same = above > 0 && f->files[stack[above - 1].file].len == now->len;
		stack[above] = (struct plan_above){ i, same ? stack[above - 1].first : above };
		above++;
	}
	return 0;
}

static bool plan_file_kind(const struct plan_op *o)
{
	return o->kind == KIND_WRITE || o->kind == KIND_EDIT;
}

static void plan_files_collect(const struct plan *p, const struct plan_message *m,
			       struct plan_files *f)
{
	buf_clear(&f->paths);
	f->n = 0;
	for (uint32_t i = m->first; i < m->first + m->count; i++) {
		struct batch_op op;
		if (!plan_file_kind(&p->ops[i]))
			continue;
		plan_op_decode(p, i, &op);
		size_t at = f->paths.len;
		batch_op_path(&p->head, &op, &f->paths);
		if (f->paths.p[f->paths.len - 1] != '/')
			buf_addc(&f->paths, '/');
		f->files[f->n++] = (struct plan_file){
			.at = at,
			.len = (uint32_t)(f->paths.len - at),
			.op = i,
			.order = f->has_walk ? f->walk.order[i] : i,
		};
	}
}

static int plan_files_message(const struct plan *p, const struct plan_message *m,
			      struct plan_files *f, struct err *e)
{
	uint32_t n = 0;
	bool deps = false;
	for (uint32_t i = m->first; i < m->first + m->count; i++) {
		n += plan_file_kind(&p->ops[i]);
		deps = deps || p->ops[i].ndeps > 0;
	}
	if (n < 2 || m->m.order != ORDER_PARALLEL)
		return 0;
	if (deps && !f->has_walk) {
		f->has_walk = true;
		if (plan_walk_init(&f->walk, p, e))
			return 1;
	}
	f->files = calloc(n, sizeof(*f->files));
	if (!f->files)
		return err_set(e, E_MEMORY, "no memory for %" PRIu32 " file ops", n);
	plan_files_collect(p, m, f);
	qsort_r(f->files, f->n, sizeof(*f->files), file_order, f);
	int r = plan_files_compare(p, f, e);
	free(f->files);
	f->files = NULL;
	return r;
}

int plan_check_files(const struct plan *p, struct err *e)
{
	struct plan_files f = { .paths = BUF_INIT };
	int r = 0;
	for (uint32_t i = 0; i < p->n_messages && r == 0; i++)
		r = plan_files_message(p, &p->messages[i], &f, e);
	if (f.has_walk)
		plan_walk_done(&f.walk);
	buf_done(&f.paths);
	return r;
}
