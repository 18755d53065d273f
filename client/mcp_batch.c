/* From the arguments of batch_run and batch_submit to a batch as batch.submit takes it. */
#include <fnmatch.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/batchfile.h"
#include "client/json.h"
#include "client/mcp.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "proto/errors.h"

extern char **environ;

bool mcp_env_is_secret(const char *name, size_t len)
{
	static const char *const patterns[] = { "*_TOKEN", "*_KEY", "*SECRET*", "SSH_*" };
	_cleanup_free_ char *text = xslicedup(slice_of(name, len));
	for (size_t i = 0; i < ARRAY_SIZE(patterns); i++)
		if (fnmatch(patterns[i], text, 0) == 0)
			return true;
	return false;
}

static bool mcp_is_named(const struct mcp *m, const json_t *pass, const char *name, size_t len)
{
	json_t *one;
	size_t i;
	for (size_t k = 0; k < m->pass_env->n; k++)
		if (strlen(m->pass_env->v[k]) == len && memcmp(m->pass_env->v[k], name, len) == 0)
			return true;
	json_array_foreach(pass, i, one)
	{
		const char *s = json_string_value(one);
		if (s && strlen(s) == len && memcmp(s, name, len) == 0)
			return true;
	}
	return false;
}

/* The first of two of one name counts, as getenv(3) has it. */
static json_t *mcp_environment(const struct mcp *m, const json_t *pass)
{
	json_t *env = json_object();
	for (char **e = environ; *e; e++) {
		size_t len = strcspn(*e, "=");
		if (len == 0 || (*e)[len] != '=' || json_object_getn(env, *e, len))
			continue;
		if (mcp_env_is_secret(*e, len) && !mcp_is_named(m, pass, *e, len))
			continue;
		json_object_setn_new(env, *e, len, json_bytes(slice_str(*e + len + 1)));
	}
	return env;
}

/* A model that thinks in milliseconds is told at once rather than after two days. */
static int mcp_check_duration(const json_t *of, const char *key, const char *path, struct err *e)
{
	const json_t *v = json_object_get(of, key);
	double n = json_is_number(v) ? json_number_value(v) : 0;
	_cleanup_buf_ struct buf as_ms = BUF_INIT, as_s = BUF_INIT;
	if (n < 1000 || n > 1e11)
		return 0;
	duration_print(&as_ms, (int64_t)n);
	duration_human(&as_s, (int64_t)(n * 1000));
	return err_set(e, E_PARAMS, "%s%s: %.15g: write \"%s\" or \"%.0fs\"", path, key, n,
		       buf_str(&as_ms), n);
}

static int mcp_check_op(json_t *op, size_t message, size_t i, struct err *e)
{
	char path[80];
	const char *kind = json_string_value(json_object_get(op, "kind"));
	snprintf(path, sizeof(path), "messages[%zu].ops[%zu].", message, i);
	if (mcp_check_duration(op, "timeout", path, e) ||
	    mcp_check_duration(op, "retry_delay", path, e))
		return 1;
	bool runs = kind && (strcmp(kind, "bash") == 0 || strcmp(kind, "exec") == 0);
	if (runs && !json_object_get(op, "timeout") &&
	    !json_is_true(json_object_get(op, "background")))
		json_object_set_new(op, "timeout", json_string(MCP_OP_TIMEOUT));
	return 0;
}

/* Proves durations, and gives each command its limit. */
static int mcp_limits(json_t *batch, struct err *e)
{
	json_t *message, *op;
	size_t i, k;
	char path[40];
	if (mcp_check_duration(batch, "timeout", "", e) ||
	    mcp_check_duration(batch, "delay", "", e))
		return 1;
	json_array_foreach(json_object_get(batch, "messages"), i, message)
	{
		snprintf(path, sizeof(path), "messages[%zu].", i);
		if (mcp_check_duration(message, "timeout", path, e))
			return 1;
		json_array_foreach(json_object_get(message, "ops"), k,
				   op) if (mcp_check_op(op, i, k, e)) return 1;
	}
	return 0;
}

static void mcp_default(json_t *batch, const char *key, json_t *value)
{
	json_t *has = json_object_get(batch, key);
	if (!has || json_is_null(has))
		json_object_set_new(batch, key, value);
	else
		json_decref(value);
}

static void mcp_surroundings(struct mcp *m, json_t *batch, const json_t *args)
{
	char text[80];
	const json_t *cwd = json_object_get(args, "cwd");
	const char *list = getenv("BATCHD_LIST");
	mode_t mask = umask(022);
	umask(mask);
	if (json_is_string(cwd))
		json_object_set(batch, "cwd", (json_t *)cwd);
	mcp_default(batch, "cwd", json_bytes(slice_str(m->base)));
	mcp_default(batch, "env_base", mcp_environment(m, json_object_get(args, "pass_env")));
	snprintf(text, sizeof(text), "%03o", (unsigned)mask);
	mcp_default(batch, "umask", json_string(text));
	if (list && *list)
		mcp_default(batch, "list", json_bytes(slice_str(list)));
	/* Sent again after a crash of batchd's it is the same run. */
	snprintf(text, sizeof(text), "mcp-%lld-%d-%lld", (long long)m->begun, (int)getpid(),
		 (long long)++m->keys);
	mcp_default(batch, "key", json_string(text));
}

static int mcp_check_args(const json_t *args, struct err *e)
{
	static const char *const known[] = { "notation", "batch",    "define",
					     "cwd",	 "pass_env", "wait" };
	const char *key;
	json_t *value;
	json_object_foreach((json_t *)args, key, value)
	{
		bool is_known = false;
		for (size_t i = 0; i < ARRAY_SIZE(known); i++)
			is_known |= strcmp(key, known[i]) == 0;
		if (!is_known)
			return err_set(e, E_PARAMS,
				       "'%s' is no argument: the keys of a batch stand in `batch`, "
				       "or in the notation in a first line Batch { %s: ... }",
				       key, key);
	}
	return 0;
}

/* The text of the batch file that the arguments are: a batch may come as text, and JSON in
 * `notation`, since it is told apart by content. */
static int mcp_batch_text(const json_t *args, struct buf *text, struct err *e)
{
	const json_t *batch = json_object_get(args, "batch"),
		     *notation = json_object_get(args, "notation");
	if (json_is_null(batch))
		batch = NULL;
	if (json_is_null(notation))
		notation = NULL;
	if (!batch == !notation)
		return err_set(e, E_PARAMS,
			       "give `batch` (JSON) or `notation` (text): one of them");
	const json_t *given = batch ? batch : notation;
	if (json_is_string(given))
		buf_add(text, json_string_value(given), json_string_length(given));
	else if (json_is_object(given) || json_is_array(given))
		json_print(given, JSON_LINE, text);
	else
		return err_set(e, E_PARAMS, "`batch` is an object, `notation` is text");
	return 0;
}

json_t *mcp_batch(struct mcp *m, const json_t *args, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	struct reading how = { 0 };
	json_t *batch = NULL, *value;
	const char *key;
	_cleanup_json_ json_t *words = json_array();
	if (mcp_check_args(args, e) || mcp_batch_text(args, &text, e))
		return NULL;
	json_object_foreach(json_object_get(args, "define"), key, value)
	{
		const char *is = json_string_value(value);
		json_t *word = json_sprintf("%s=%s", key, is ? is : "");
		if (!is || is[0] == '@') {
			json_decref(word);
			strv_done(&how.define);
			err_set(e, E_PARAMS, "define.%s: give text%s", key,
				is ? "; what begins with @ is said in the notation: const NAME = "
				     "\"...\""
				   : "");
			return NULL;
		}
		json_array_append_new(words, word);
		strv_add(&how.define, json_string_value(word));
	}
	int r = batchfile_parse(json_object_get(args, "batch") ? "batch" : "notation",
				buf_slice(&text), &how, &batch, e);
	strv_done(&how.define);
	if (r || mcp_limits(batch, e)) {
		json_decref(batch);
		return NULL;
	}
	mcp_surroundings(m, batch, args);
	return batch;
}
