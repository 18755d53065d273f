#include "client/plan_folders.h"

#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include "common/text.h"
#include "proto/batch.h"
#include "proto/command_text.h"
#include "proto/limits.h"
#include "proto/mp.h"
#include "proto/pack.h"

#define FOLDERS_OPS 2000
#define FOLDERS_MAX 10

static bool folder_is_there(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Is it done before the op, perhaps? Of what stands behind it in its message that are file ops, and
 * what it may wait for. */
static bool op_may_precede(const struct plan *p, uint32_t i, uint32_t op)
{
	const struct plan_message *m = &p->messages[p->ops[op].message];
	if (i <= op)
		return i < op;
	return i < m->first + m->count && m->m.order == ORDER_PARALLEL &&
	       (p->ops[op].ndeps > 0 || p->ops[i].kind == KIND_WRITE);
}

/* Does op i write below the folder, or speak of its name in a command? */
static bool op_may_make(const struct plan *p, uint32_t i, struct slice folder, struct slice name)
{
	_cleanup_buf_ struct buf path = BUF_INIT;
	struct batch_op op;
	plan_op_decode(p, i, &op);
	if (op.kind == KIND_BASH)
		return memmem(op.command.p, op.command.len, name.p, name.len);
	if (op.kind == KIND_EXEC)
		return memmem(op.argv.p, op.argv.len, name.p, name.len);
	if (op.kind != KIND_WRITE)
		return false;
	batch_op_path(&p->head, &op, &path);
	return path.len > folder.len && path.p[folder.len] == '/' &&
	       memcmp(path.p, folder.p, folder.len) == 0;
}

/* Is the folder made by what comes before the op, or before it is needed in its command (`own`)? */
static bool folder_is_made(const struct plan *p, uint32_t op, struct slice own, struct slice folder)
{
	const struct plan_message *m = &p->messages[p->ops[op].message];
	const char *slash = memrchr(folder.p, '/', folder.len);
	struct slice name =
		slash ? slice_of(slash + 1, (size_t)(folder.p + folder.len - slash - 1)) : folder;
	if (own.len && memmem(own.p, own.len, name.p, name.len))
		return true;
	for (uint32_t i = 0; i < m->first + m->count; i++)
		if (op_may_precede(p, i, op) && op_may_make(p, i, folder, name))
			return true;
	return false;
}

static void folder_warn(const struct plan *p, uint32_t op, struct slice folder, const char *what,
			struct pk *pk)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	uint32_t message = p->ops[op].message;
	buf_addf(&text, "messages[%u].ops[%u]: there is no folder '", message,
		 op - p->messages[message].first);
	text_one_line(&text, folder, LIMIT_NAME_BYTES);
	buf_addf(&text, "' %s, and nothing before it seems to make it", what);
	pk_str(pk, buf_slice(&text));
}

/* What is made may bring along what is below it, as a clone does. */
static bool folder_is_missing(const struct plan *p, uint32_t op, struct slice own,
			      const struct buf *path)
{
	_cleanup_buf_ struct buf at = BUF_INIT;
	buf_addslice(&at, buf_slice(path));
	while (at.len > 1 && !folder_is_there(buf_str(&at))) {
		const char *slash = memrchr(at.p, '/', at.len);
		if (folder_is_made(p, op, own, buf_slice(&at)))
			return false;
		at.len = slash ? (size_t)(slash - at.p) : 0;
	}
	return at.len < path->len;
}

/* Appends where a command goes to first, from cwd; false: nowhere, or only the shell knows. */
static bool folder_entered(const struct batch_op *op, struct buf *cwd)
{
	struct slice cd = op->kind == KIND_BASH ? command_cd(op->command) : SLICE_NONE;
	if (cd.len == 0 || strchr("-~$\\", cd.p[0]) || memchr(cd.p, '$', cd.len) ||
	    memchr(cd.p, '*', cd.len) || memchr(cd.p, '?', cd.len) || memchr(cd.p, '[', cd.len))
		return false;
	if (cd.p[0] == '/')
		buf_clear(cwd);
	else
		buf_addc(cwd, '/');
	while (cd.len > 2 && memcmp(cd.p, "./", 2) == 0)
		cd = slice_of(cd.p + 2, cd.len - 2);
	while (cd.len > 1 && cd.p[cd.len - 1] == '/')
		cd.len--;
	buf_addslice(cwd, cd);
	return true;
}

/* Programs that make folders whose names their command does not say. */
static bool text_may_make_any(struct slice text)
{
	static const char *const words[] = {
		"tar",	 "unzip", "git", "svn",	  "rsync",  "cp",     "mv",	"ln",	   "make",
		"cmake", "ninja", "sh",	 "bash",  "source", ".",      "python", "python3", "node",
		"ruby",	 "perl",  "run", "build", "docker", "podman", "sudo",	"xargs",   "find",
	};
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (command_find(text, words[i]) != SIZE_MAX)
			return true;
	return memmem(text.p, text.len, "./", 2) ||
	       (memmem(text.p, text.len, "mkdir", 5) &&
		(memchr(text.p, '$', text.len) || memchr(text.p, '{', text.len)));
}

/* Does such a one come before, in an op or in the command itself? */
static bool folder_may_come(const struct plan *p, uint32_t op, struct slice own)
{
	const struct plan_message *m = &p->messages[p->ops[op].message];
	if (text_may_make_any(own))
		return true;
	for (uint32_t i = 0; i < m->first + m->count; i++) {
		struct batch_op o;
		if (!op_may_precede(p, i, op))
			continue;
		plan_op_decode(p, i, &o);
		if (o.kind == KIND_EXEC || (o.kind == KIND_BASH && text_may_make_any(o.command)))
			return true;
	}
	return false;
}

/* Fills the folder of `name`, which a redirection is to; false: not to be known, or none. */
static bool redirect_folder(struct slice name, const struct buf *cwd, bool moved, struct buf *ret)
{
	const char *slash = memrchr(name.p, '/', name.len);
	bool absolute = name.p[0] == '/';
	if (!slash || slash == name.p || (moved && !absolute) ||
	    (name.len > 5 && memcmp(name.p, "/dev/", 5) == 0))
		return false;
	while (name.len > 2 && memcmp(name.p, "./", 2) == 0)
		name = slice_of(name.p + 2, name.len - 2);
	if (name.p > slash)
		return false;
	if (!absolute) {
		buf_addslice(ret, buf_slice(cwd));
		buf_addc(ret, '/');
	}
	buf_add(ret, name.p, (size_t)(slash - name.p));
	return true;
}

static bool shell_is_posix(struct slice shell)
{
	return !shell.p || (shell.len >= 2 && memcmp(shell.p + shell.len - 2, "sh", 2) == 0);
}

/* Finds a missing folder that the command writes into by a redirection from *cwd, where it is at
 * first or has gone to at once (`entered`); *cwd is that folder then. */
static bool redirect_is_missing(const struct plan *p, uint32_t i, const struct batch_op *op,
				bool entered, struct buf *cwd)
{
	struct slice command = op->command, name;
	size_t skip = entered ? strlen("cd ") : 0, at = 0;
	if (op->kind != KIND_BASH || !shell_is_posix(op->shell))
		return false;
	struct slice rest = slice_of(command.p + skip, command.len - skip);
	bool moved =
		command_find(rest, "cd") != SIZE_MAX || command_find(rest, "pushd") != SIZE_MAX;
	while ((name = command_redirect(command, &at)).p) {
		_cleanup_buf_ struct buf folder = BUF_INIT;
		struct slice own = slice_of(command.p, at);
		if (!redirect_folder(name, cwd, moved, &folder) ||
		    !folder_is_missing(p, i, own, &folder) || folder_may_come(p, i, own))
			continue;
		buf_clear(cwd);
		buf_addslice(cwd, buf_slice(&folder));
		return true;
	}
	return false;
}

static const char *folder_missing(const struct plan *p, uint32_t i, const struct batch_op *op,
				  struct buf *path)
{
	batch_op_cwd(&p->head, op, path);
	if (folder_is_missing(p, i, SLICE_NONE, path))
		return "to run it in";
	bool entered = folder_entered(op, path);
	if (entered && folder_is_missing(p, i, SLICE_NONE, path))
		return "to go to";
	return redirect_is_missing(p, i, op, entered, path) ? "to write into" : NULL;
}

static void folders_of(const struct plan *p, struct pk *pk)
{
	_cleanup_buf_ struct buf last = BUF_INIT;
	uint32_t told = 0;
	for (uint32_t i = 0; i < MIN2(p->n_ops, (uint32_t)FOLDERS_OPS) && told < FOLDERS_MAX; i++) {
		_cleanup_buf_ struct buf path = BUF_INIT;
		struct batch_op op;
		plan_op_decode(p, i, &op);
		if (op.kind != KIND_BASH && op.kind != KIND_EXEC)
			continue;
		const char *what = folder_missing(p, i, &op, &path);
		if (!what || slice_eq(buf_slice(&path), buf_slice(&last)))
			continue;
		folder_warn(p, i, buf_slice(&path), what, pk);
		buf_clear(&last);
		buf_addslice(&last, buf_slice(&path));
		told++;
	}
}

static void folders_add(struct slice warnings, const struct plan *p, struct pk *pk)
{
	struct mp m = mp_of(warnings);
	struct mp_value list = mp_next(&m);
	pk_array(pk);
	for (uint32_t n = list.type == MP_ARRAY ? list.count : 0; n > 0; n--)
		pk_raw(pk, mp_skip(&m));
	folders_of(p, pk);
	pk_end(pk);
}

void plan_folders(struct slice batch, struct slice reply, struct buf *ret)
{
	struct pk pk = PK_INIT(ret);
	struct err e = ERR_INIT;
	struct mp m = mp_of(reply);
	struct plan *p;
	if (plan_make(batch, &p, &e)) {
		buf_addslice(ret, reply);
		return;
	}
	pk_map(&pk);
	for (uint32_t pairs = mp_next(&m).count; pairs > 0; pairs--) {
		struct slice key = mp_next(&m).bytes, value = mp_skip(&m);
		pk_keyslice(&pk, key);
		if (slice_is(key, "warnings"))
			folders_add(value, p, &pk);
		else
			pk_raw(&pk, value);
	}
	pk_end(&pk);
	plan_free(p);
}
