#include "client/plan_folders.h"

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

/* Does an op before it write below the folder, or speak of it in a command? Then it may make it. */
static bool folder_is_made(const struct plan *p, uint32_t before, struct slice folder)
{
	const char *slash = memrchr(folder.p, '/', folder.len);
	struct slice name =
		slash ? slice_of(slash + 1, (size_t)(folder.p + folder.len - slash - 1)) : folder;
	for (uint32_t i = 0; i < before; i++) {
		_cleanup_buf_ struct buf path = BUF_INIT;
		struct batch_op op;
		plan_op_decode(p, i, &op);
		if (op.kind == KIND_BASH && memmem(op.command.p, op.command.len, name.p, name.len))
			return true;
		if (op.kind == KIND_EXEC && memmem(op.argv.p, op.argv.len, name.p, name.len))
			return true;
		if (op.kind != KIND_WRITE)
			continue;
		batch_op_path(&p->head, &op, &path);
		if (path.len > folder.len && path.p[folder.len] == '/' &&
		    memcmp(path.p, folder.p, folder.len) == 0)
			return true;
	}
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
static bool folder_is_missing(const struct plan *p, uint32_t op, const struct buf *path)
{
	_cleanup_buf_ struct buf at = BUF_INIT;
	buf_addslice(&at, buf_slice(path));
	while (at.len > 1 && !folder_is_there(buf_str(&at))) {
		const char *slash = memrchr(at.p, '/', at.len);
		if (folder_is_made(p, op, buf_slice(&at)))
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

static void folders_of(const struct plan *p, struct pk *pk)
{
	_cleanup_buf_ struct buf last = BUF_INIT;
	uint32_t told = 0;
	for (uint32_t i = 0; i < MIN2(p->n_ops, (uint32_t)FOLDERS_OPS) && told < FOLDERS_MAX; i++) {
		_cleanup_buf_ struct buf path = BUF_INIT;
		const char *what = "to run it in";
		struct batch_op op;
		plan_op_decode(p, i, &op);
		if (op.kind != KIND_BASH && op.kind != KIND_EXEC)
			continue;
		batch_op_cwd(&p->head, &op, &path);
		bool missing = folder_is_missing(p, i, &path);
		if (!missing && folder_entered(&op, &path)) {
			what = "to go to";
			missing = folder_is_missing(p, i, &path);
		}
		if (!missing || slice_eq(buf_slice(&path), buf_slice(&last)))
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
