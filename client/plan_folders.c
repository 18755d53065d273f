#include "client/plan_folders.h"

#include <string.h>
#include <sys/stat.h>

#include "common/text.h"
#include "proto/batch.h"
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

static void folder_warn(const struct plan *p, uint32_t op, struct slice folder, struct pk *pk)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	uint32_t message = p->ops[op].message;
	buf_addf(&text, "messages[%u].ops[%u]: there is no folder '", message,
		 op - p->messages[message].first);
	text_one_line(&text, folder, LIMIT_NAME_BYTES);
	buf_adds(&text, "' to run it in, and nothing before it seems to make it");
	pk_str(pk, buf_slice(&text));
}

static void folders_of(const struct plan *p, struct pk *pk)
{
	_cleanup_buf_ struct buf last = BUF_INIT;
	uint32_t told = 0;
	for (uint32_t i = 0; i < MIN2(p->n_ops, (uint32_t)FOLDERS_OPS) && told < FOLDERS_MAX; i++) {
		_cleanup_buf_ struct buf cwd = BUF_INIT;
		struct batch_op op;
		plan_op_decode(p, i, &op);
		if (op.kind != KIND_BASH && op.kind != KIND_EXEC)
			continue;
		batch_op_cwd(&p->head, &op, &cwd);
		bool again = slice_eq(buf_slice(&cwd), buf_slice(&last));
		if (again || folder_is_there(buf_str(&cwd)) ||
		    folder_is_made(p, i, buf_slice(&cwd)))
			continue;
		folder_warn(p, i, buf_slice(&cwd), pk);
		buf_clear(&last);
		buf_addslice(&last, buf_slice(&cwd));
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
