/* todo import, todo export: between a list and a file that others read and write. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/json.h"
#include "client/pages.h"
#include "client/todo_cli.h"
#include "client/todo_format.h"
#include "common/fd.h"
#include "common/text.h"
#include "common/xalloc.h"
#include "proto/limits.h"
#include "proto/mp.h"

static bool is_stdio(const struct ctx *c)
{
	return c->argc == 0 || strcmp(c->argv[0], "-") == 0;
}

/* --format, else the file's name; TODO_FORMAT_MAX: neither says. */
static enum todo_format port_format(const struct ctx *c, const struct todo_options *o)
{
	for (int f = 0; o->format && todo_format_names[f]; f++)
		if (strcmp(todo_format_names[f], o->format) == 0)
			return (enum todo_format)f;
	return is_stdio(c) ? TODO_FORMAT_MAX : todo_format_of_name(c->argv[0]);
}

static int port_no_format(struct ctx *c, const char *name)
{
	return fail(c, EXIT_USAGE,
		    "cannot tell the format of '%s': add --format json, ndjson, markdown or "
		    "todo.txt",
		    name);
}

/* ---- export ---- */

static int export_items(struct ctx *c, const struct todo_options *o, struct pages *pages)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	for (int64_t next = 0; next >= 0;) {
		struct pk pk = PK_INIT(&params);
		buf_clear(&params);
		todo_params_begin(&pk, o);
		if (o->status)
			pk_kstr(&pk, "status", slice_str(o->status));
		if (next)
			pk_kint(&pk, "offset", next);
		int status = todo_call(c, "todo.list", &pk, &params, &reply);
		if (status)
			return status;
		next = pages_add(pages, buf_slice(&reply), "todos");
	}
	pages_end(pages, buf_slice(&reply), "todos");
	return EXIT_OK;
}

/* Beside the file and then in its place, so that it is never half a list. */
static int export_write(struct ctx *c, const char *path, const struct buf *text)
{
	_cleanup_free_ char *temporary = xasprintf("%s.batchctl-%d", path, (int)getpid());
	struct stat st;
	bool special = stat(path, &st) == 0 && !S_ISREG(st.st_mode);
	int flags = O_WRONLY | O_CLOEXEC | (special ? 0 : O_CREAT | O_EXCL);
	_cleanup_close_ int fd = open(special ? path : temporary, flags, 0666);
	int r = fd < 0 ? -errno : fd_write_all(fd, text->p, text->len);
	if (r == 0 && !special && (fsync(fd) < 0 || rename(temporary, path) < 0))
		r = -errno;
	if (r < 0 && fd >= 0 && !special)
		unlink(temporary);
	return r < 0 ? fail(c, EXIT_RUN, "cannot write '%s': %s", path, strerror(-r)) : EXIT_OK;
}

int verb_todo_export(struct ctx *c, void *options)
{
	_cleanup_pages_ struct pages pages = PAGES_INIT;
	_cleanup_json_ json_t *all = NULL;
	_cleanup_buf_ struct buf text = BUF_INIT;
	struct err e = ERR_INIT;
	enum todo_format f = port_format(c, options);
	if (f == TODO_FORMAT_MAX && !is_stdio(c))
		return port_no_format(c, c->argv[0]);
	int status = export_items(c, options, &pages);
	if (status)
		return status;
	if (json_from_mp(mp_find(buf_slice(&pages.all), "todos"), &all, &e))
		return fail(c, EXIT_RUN, "what batchd sent is no list: %s", e.text);
	todo_format_write(f == TODO_FORMAT_MAX ? TODO_JSON : f, all, &text);
	if (is_stdio(c))
		return ctx_print(c, &text);
	status = export_write(c, c->argv[0], &text);
	if (status == EXIT_OK)
		note(c, "%zu item%s in '%s'", json_array_size(all), PLURAL(json_array_size(all)),
		     c->argv[0]);
	return status;
}

/* ---- import ---- */

static int import_read(struct ctx *c, const struct todo_options *o, json_t **ret)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	struct err e = ERR_INIT;
	const char *name = is_stdio(c) ? "stdin" : c->argv[0];
	int r = is_stdio(c) ? fd_read_all(STDIN_FILENO, LIMIT_FRAME_BYTES, &text)
			    : fd_read_file(name, LIMIT_FRAME_BYTES, &text);
	if (r < 0)
		return fail(c, EXIT_USAGE, "cannot read '%s': %s", name, strerror(-r));
	if (!utf8_valid(buf_slice(&text)))
		return fail(c, EXIT_USAGE, "'%s' is not UTF-8", name);
	enum todo_format f = port_format(c, o);
	if (f == TODO_FORMAT_MAX)
		f = todo_format_of_content(buf_slice(&text));
	if (f == TODO_FORMAT_MAX)
		return port_no_format(c, name);
	return todo_format_read(f, buf_slice(&text), name, ret, &e)
		       ? fail(c, EXIT_USAGE, "%s", e.text)
		       : EXIT_OK;
}

int verb_todo_import(struct ctx *c, void *options)
{
	const struct todo_options *o = options;
	_cleanup_buf_ struct buf todos = BUF_INIT, params = BUF_INIT, reply = BUF_INIT,
				 line = BUF_INIT;
	_cleanup_json_ json_t *items = NULL;
	struct err e = ERR_INIT;
	struct pk pk = PK_INIT(&params);
	int status = import_read(c, o, &items);
	if (status)
		return status;
	if (json_to_mp(items, &todos, &e))
		return fail(c, EXIT_USAGE, "%s", e.text);
	todo_params_begin(&pk, o);
	pk_kraw(&pk, "todos", buf_slice(&todos));
	pk_kstr(&pk, "mode", slice_str(o->mode ? o->mode : "merge"));
	if (o->source)
		pk_ktext(&pk, "source", slice_str(o->source));
	if (o->base_rev.set)
		pk_kint(&pk, "base_rev", o->base_rev.v);
	status = todo_call(c, "todo.write", &pk, &params, &reply);
	if (status)
		return status;
	ctx_warnings(c, buf_slice(&reply));
	size_t n = json_array_size(items);
	buf_addf(&line, "imported %zu item%s: revision %" PRId64 "\n", n, PLURAL(n),
		 mp_get_int(buf_slice(&reply), "rev", 0));
	status = c->json ? ctx_print_json(c, buf_slice(&reply)) : ctx_print(c, &line);
	return ctx_print_changed(c, status, "it was done all the same:", &line);
}
