/*
 * What a batch does that would be better done otherwise: ops side by side that seem to need one
 * another, and batches that are less parallel than they could be. Guesses from the text of
 * commands, so said by batch.check and never in the way of a submit.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"
#include "common/xalloc.h"
#include "proto/command_text.h"
#include "proto/pack.h"
#include "proto/plan_impl.h"
#include "proto/todo_item.h"
#include "proto/value.h"

#define ADVICE_MAX 10
#define ADVICE_OPS 2000 /* ops that are looked at, one by one and in pairs with installers */
#define ADVICE_PAIRS 100000
#define ADVICE_STEPS 500 /* from dependency to dependency, of a pair */
#define ADVICE_ITEMS 200
#define MANY_MESSAGES 5
#define MANY_ITEMS 8

struct advice {
	const struct plan *p;
	struct pk *pk;
	uint32_t told, pairs;
};

static void advise(struct advice *a, struct buf *text)
{
	if (a->told < ADVICE_MAX)
		pk_str(a->pk, buf_slice(text));
	a->told++;
	buf_clear(text);
}

/* --- commands and what they are about --- */

/* What fetches things into a folder, and what is there to use them. */
static const struct {
	const char *const installs[8], *const uses[10];
} tools[] = {
	{ { "npm install", "npm ci", "npm i", "yarn install", "pnpm install", "bun install" },
	  { "npm test", "npm run", "npm start", "npx", "yarn test", "yarn run", "pnpm test",
	    "pnpm run", "bun run", "bun test" } },
	{ { "pip install", "pip3 install", "poetry install", "uv sync", "uv pip install" },
	  { "pytest", "python -m", "python3 -m", "poetry run", "uv run", "mypy", "tox" } },
	{ { "bundle install" }, { "bundle exec", "rake", "rspec" } },
	{ { "composer install" }, { "phpunit", "vendor/bin/phpunit" } },
	{ { "cmake -B build", "meson setup build", "./configure" },
	  { "cmake --build", "ninja -C build", "meson compile", "meson test", "ctest", "make" } },
	{ { "git clone" }, { "git -C", "git checkout" } },
};

static bool command_has(struct slice s, const char *const *words, size_t n)
{
	for (size_t i = 0; i < n && words[i]; i++)
		if (command_find(s, words[i]) != SIZE_MAX)
			return true;
	return false;
}

static bool same_folder(const struct batch_op *a, const struct batch_op *b)
{
	struct slice x = command_cd(a->command), y = command_cd(b->command);
	bool cd = x.p && y.p ? slice_eq(x, y) : x.p == y.p;
	bool cwd = a->cwd.p && b->cwd.p ? slice_eq(a->cwd, b->cwd) : a->cwd.p == b->cwd.p;
	return cd && cwd;
}

/* Does `op` wait for `on`, directly or not? When the budget is over: perhaps, so yes. */
static bool waits_for(const struct plan *p, uint32_t op, uint32_t on, uint32_t *budget)
{
	const struct plan_op *o = &p->ops[op];
	for (uint32_t i = 0; i < o->ndeps; i++) {
		uint32_t dep = p->deps[o->dep + i].op;
		if (dep == on || *budget == 0)
			return true;
		(*budget)--;
		if (p->ops[dep].message == p->ops[on].message && waits_for(p, dep, on, budget))
			return true;
	}
	return false;
}

static bool side_by_side(const struct plan *p, uint32_t a, uint32_t b)
{
	uint32_t budget = ADVICE_STEPS;
	return a != b && p->messages[p->ops[a].message].m.order == ORDER_PARALLEL &&
	       !p->ops[a].exclusive && !p->ops[b].exclusive && !waits_for(p, a, b, &budget) &&
	       !waits_for(p, b, a, &budget);
}

static void add_op(struct buf *b, const struct plan *p, uint32_t op, const struct batch_op *spec)
{
	_cleanup_buf_ struct buf shown = BUF_INIT;
	char place[PLAN_PATH_MAX];
	batch_op_text(spec, &shown);
	buf_addf(b, "%s `", plan_op_place(p, op, place));
	text_one_line(b, buf_slice(&shown), 60);
	buf_addc(b, '`');
}

/* --- pairs of one message --- */

static void advise_install(struct advice *a, uint32_t at, const struct batch_op *installer,
			   size_t tool, uint32_t op, const struct batch_op *user)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	if (!command_has(user->command, tools[tool].uses, ARRAY_SIZE(tools[tool].uses)) ||
	    !same_folder(installer, user))
		return;
	add_op(&text, a->p, op, user);
	buf_adds(&text, " starts beside ");
	add_op(&text, a->p, at, installer);
	buf_adds(&text, ", which it seems to use: give it `needs`, or put it into a later message");
	advise(a, &text);
}

static bool path_below(struct slice path, struct slice folder)
{
	return path.len > folder.len && memcmp(path.p, folder.p, folder.len) == 0 &&
	       path.p[folder.len] == '/';
}

/* What `op` does in a folder that the command beside it makes; NULL: nothing that would matter. */
static const char *folder_use(const struct batch_op *maker, struct slice folder,
			      const struct batch_op *op)
{
	if (op->kind == KIND_WRITE)
		return path_below(op->path, folder) ? "writes" : NULL;
	if (op->kind != KIND_BASH || command_find(op->command, "mkdir") != SIZE_MAX)
		return NULL;
	struct slice cd = command_cd(op->command);
	if (cd.p && (slice_eq(cd, folder) || path_below(cd, folder)))
		return "goes into";
	return same_folder(maker, op) && command_names(op->command, folder) ? "uses" : NULL;
}

static void advise_mkdir(struct advice *a, uint32_t at, const struct batch_op *maker,
			 const struct buf *folders, uint32_t op, const struct batch_op *user)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	const char *use = NULL, *first = folders->p;
	for (const char *f = first; !use && f < first + folders->len; f += strlen(f) + 1)
		use = folder_use(maker, slice_str(f), user);
	if (!use)
		return;
	bool writes = user->kind == KIND_WRITE;
	add_op(&text, a->p, at, maker);
	buf_adds(&text, writes ? " is not needed" : " may come too late: ");
	if (writes)
		buf_adds(&text, strlen(first) + 1 < folders->len ? " for one: " : ": ");
	add_op(&text, a->p, op, user);
	if (writes)
		buf_adds(&text, " makes its folders itself, and before any command of its message");
	else
		buf_addf(&text,
			 " starts beside it and %s that folder: give it `needs`, or put it into a "
			 "later message",
			 use);
	advise(a, &text);
}

static void advise_against(struct advice *a, const struct plan_message *m, uint32_t at,
			   const struct batch_op *op, size_t tool, const struct buf *folders)
{
	for (uint32_t i = m->first; i < m->first + m->count && a->pairs < ADVICE_PAIRS; i++) {
		struct batch_op other;
		a->pairs++;
		if (!side_by_side(a->p, at, i))
			continue;
		plan_op_decode(a->p, i, &other);
		if (folders)
			advise_mkdir(a, at, op, folders, i, &other);
		else if (other.kind == KIND_BASH)
			advise_install(a, at, op, tool, i, &other);
	}
}

static void advise_op(struct advice *a, uint32_t at)
{
	_cleanup_buf_ struct buf folders = BUF_INIT;
	const struct plan_message *m = &a->p->messages[a->p->ops[at].message];
	struct batch_op op;
	if (a->p->ops[at].kind != KIND_BASH || m->count < 2)
		return;
	plan_op_decode(a->p, at, &op);
	command_mkdirs(op.command, &folders);
	if (folders.len > 0)
		advise_against(a, m, at, &op, 0, &folders);
	for (size_t t = 0; t < ARRAY_SIZE(tools); t++)
		if (command_has(op.command, tools[t].installs, ARRAY_SIZE(tools[t].installs)))
			advise_against(a, m, at, &op, t, NULL);
}

/* --- the shape of the whole --- */

/* Does one op run alone there? What comes behind a service runs beside it. */
static bool message_is_lone(const struct plan *p, uint32_t i)
{
	const struct plan_message *m = &p->messages[i];
	return m->count == 1 && !p->ops[m->first].background;
}

/* Runs of messages with one op each. */
static bool advise_lone(struct advice *a)
{
	const struct plan *p = a->p;
	_cleanup_buf_ struct buf text = BUF_INIT;
	bool any = false;
	for (uint32_t i = 0, end; i < p->n_messages; i = end) {
		for (end = i; end < p->n_messages && message_is_lone(p, end); end++)
			;
		if (end - i >= 2) {
			buf_addf(
				&text,
				"messages %" PRIu32 " to %" PRIu32
				" have one op each, so nothing of them runs side by side: put what is "
				"independent into one message, and say with `needs` what is not",
				i + 1, end);
			advise(a, &text);
			any = true;
		}
		end += end == i;
	}
	return any;
}

static void advise_messages(struct advice *a)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	if (advise_lone(a) || a->p->n_messages < MANY_MESSAGES || a->p->n_deps > 0)
		return;
	buf_addf(&text,
		 "%" PRIu32
		 " messages and no `needs`: each waits for all of the one before; an op that "
		 "waits only for some of it can say so with `needs`, in the same message",
		 a->p->n_messages);
	advise(a, &text);
}

/* --- todos --- */

/* Does a later op drive the item, or set it anew? */
static bool item_moves(const struct plan *p, uint32_t from, const struct todo_item *item)
{
	for (uint32_t op = 0; op < MIN2(p->n_ops, (uint32_t)ADVICE_OPS); op++) {
		struct batch_op spec;
		uint32_t n;
		if (!p->ops[op].has_todo && (p->ops[op].kind != KIND_TODOS || op == from))
			continue;
		plan_op_decode(p, op, &spec);
		if (spec.todo.p && item->id.p && slice_eq(spec.todo, item->id))
			return true;
		struct mp at = array_open(spec.todos, &n);
		for (uint32_t i = 0; op > from && spec.todos.p && i < n; i++) {
			struct slice one = mp_skip(&at), id = mp_get_str(one, "id"),
				     content = mp_get_str(one, "content");
			if ((id.p && item->id.p && slice_eq(id, item->id)) ||
			    (content.p && item->content.p && slice_eq(content, item->content)))
				return true;
		}
	}
	return false;
}

/* A list that stays as it is, though there is work beside or after it; and a long one without an
 * order. */
static void advise_todos(struct advice *a, uint32_t op, bool works)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	struct batch_op spec;
	char place[PLAN_PATH_MAX];
	uint32_t n, moves = 0, phases = 0, open = 0;
	plan_op_decode(a->p, op, &spec);
	struct mp at = array_open(spec.todos, &n);
	for (uint32_t i = 0; i < n && i < ADVICE_ITEMS; i++) {
		struct todo_item item;
		struct err e;
		if (todo_item_decode(mp_skip(&at), "", &item, NULL, &e))
			continue;
		bool over = item.status >= 2; /* completed, cancelled */
		open += !over;
		moves += !over && moves == 0 && item_moves(a->p, op, &item);
		phases += item.parent.p || item.blocked_by.p || item.tags.p;
	}
	if (works && open > 0 && moves == 0) {
		buf_addf(
			&text,
			"%s.todos: no op of the batch moves any of its items: `todo: \"ID\"` at the op "
			"that does the work starts and completes it",
			plan_op_place(a->p, op, place));
		advise(a, &text);
	}
	if (n >= MANY_ITEMS && phases == 0) {
		buf_addf(&text,
			 "%s.todos: %" PRIu32
			 " items without phases: `blocked_by` says what comes first, "
			 "`parent` or `tags` what belongs together",
			 plan_op_place(a->p, op, place), n);
		advise(a, &text);
	}
}

void plan_advise(const struct plan *p, struct pk *pk)
{
	struct advice a = { .p = p, .pk = pk };
	uint32_t n = MIN2(p->n_ops, (uint32_t)ADVICE_OPS), works_until = 0;
	for (uint32_t op = 0; op < n; op++)
		if (p->ops[op].kind != KIND_TODOS)
			works_until = p->ops[op].message + 1;
	advise_messages(&a);
	for (uint32_t op = 0; op < n; op++) {
		if (p->ops[op].kind == KIND_TODOS)
			advise_todos(&a, op, p->ops[op].message < works_until);
		else
			advise_op(&a, op);
	}
}
