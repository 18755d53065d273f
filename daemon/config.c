#include "daemon/config.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/fd.h"
#include "common/log.h"
#include "common/text.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "proto/limits.h"

#define CONFIG_FILE_MAX (1u << 20)
#define DAY_MS INT64_C(86400000)

typedef int (*config_set_fn)(struct config *c, size_t offset, struct slice value, struct err *e);

static int64_t *config_field(struct config *c, size_t offset)
{
	return (int64_t *)((char *)c + offset);
}

static int set_number(struct config *c, size_t offset, struct slice v, struct err *e)
{
	if (!parse_int(v, 0, LIMIT_INT, config_field(c, offset)))
		return err_set(e, 0, "must be a whole number, not '%.*s'", SLICE_FMT(v));
	return 0;
}

/* Bytes, with K, M or G as powers of 1024. */
static int set_bytes(struct config *c, size_t offset, struct slice v, struct err *e)
{
	static const char units[] = "KMG";
	int64_t n, factor = 1;
	const char *unit = v.len ? strchr(units, v.p[v.len - 1]) : NULL;
	struct slice digits = v;
	if (unit && *unit) {
		factor = INT64_C(1) << (10 * (unit - units + 1));
		digits.len--;
	}
	if (!parse_int(digits, 0, LIMIT_INT / factor, &n))
		return err_set(e, 0, "must be a size like 16M, not '%.*s'", SLICE_FMT(v));
	*config_field(c, offset) = n * factor;
	return 0;
}

static int set_duration(struct config *c, size_t offset, struct slice v, struct err *e)
{
	if (!duration_parse(v, config_field(c, offset)))
		return err_set(e, 0, "must be a duration like 5s or 14d, not '%.*s'", SLICE_FMT(v));
	return 0;
}

static int set_shell(struct config *c, size_t offset, struct slice v, struct err *e)
{
	(void)offset;
	if (v.len == 0)
		return err_set(e, 0, "must name a shell");
	free(c->shell);
	c->shell = xslicedup(v);
	return 0;
}

static int set_log_level(struct config *c, size_t offset, struct slice v, struct err *e)
{
	static const struct {
		const char *name;
		enum log_level level;
	} levels[] = { { "error", LOG_ERROR },
		       { "warn", LOG_WARN },
		       { "info", LOG_INFO },
		       { "debug", LOG_DEBUG } };
	(void)offset;
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++)
		if (slice_is(v, levels[i].name)) {
			c->log_level = levels[i].level;
			return 0;
		}
	return err_set(e, 0, "must be error, warn, info or debug, not '%.*s'", SLICE_FMT(v));
}

static const struct {
	const char *name;
	config_set_fn set;
	size_t offset;
} settings[] = {
	{ "slots", set_number, offsetof(struct config, slots) },
	{ "output_cap", set_bytes, offsetof(struct config, output_cap) },
	{ "grace", set_duration, offsetof(struct config, grace_ms) },
	{ "drain", set_duration, offsetof(struct config, drain_ms) },
	{ "keep_output", set_duration, offsetof(struct config, keep_output_ms) },
	{ "keep_output_bytes", set_bytes, offsetof(struct config, keep_output_bytes) },
	{ "keep_rows", set_duration, offsetof(struct config, keep_rows_ms) },
	{ "max_frame", set_bytes, offsetof(struct config, max_frame) },
	{ "shell", set_shell, 0 },
	{ "log_level", set_log_level, 0 },
};

static int set_group(struct config *c, struct slice name, struct slice v, struct err *e)
{
	int64_t slots;
	if (name.len == 0 || !parse_int(v, 1, LIMIT_JOBS, &slots))
		return err_set(e, 0, "must be group.NAME = SLOTS, 1 to %d", LIMIT_JOBS);
	c->groups = xrealloc(c->groups, c->n_groups + 1, sizeof(c->groups[0]));
	c->groups[c->n_groups++] = (struct config_group){ xslicedup(name), slots };
	return 0;
}

static struct slice trim(struct slice s)
{
	while (s.len && strchr(" \t\r", s.p[0]))
		s = slice_of(s.p + 1, s.len - 1);
	while (s.len && strchr(" \t\r", s.p[s.len - 1]))
		s.len--;
	return s;
}

static int config_set(struct config *c, struct slice name, struct slice value, struct err *e)
{
	static const char group[] = "group.";
	size_t n = sizeof(group) - 1;
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
		if (slice_is(name, settings[i].name))
			return settings[i].set(c, settings[i].offset, value, e);
	if (name.len > n && memcmp(name.p, group, n) == 0)
		return set_group(c, slice_of(name.p + n, name.len - n), value, e);
	return err_set(e, 0, "unknown setting: see batchd.conf(5)");
}

static int config_line(struct config *c, struct slice line, struct err *e)
{
	line = trim(line);
	if (line.len == 0 || line.p[0] == '#')
		return 0;
	const char *eq = memchr(line.p, '=', line.len);
	if (!eq)
		return err_set(e, 0, "'%.*s': must be name = value", SLICE_FMT(line));
	struct slice name = trim(slice_of(line.p, (size_t)(eq - line.p)));
	struct slice value = trim(slice_of(eq + 1, (size_t)(line.p + line.len - eq - 1)));
	if (config_set(c, name, value, e))
		return err_prefix(e, "%.*s: ", SLICE_FMT(name));
	return 0;
}

void config_init(struct config *c)
{
	*c = (struct config){
		.output_cap = DEFAULT_OUTPUT_CAP,
		.grace_ms = DEFAULT_GRACE_MS,
		.keep_output_ms = 14 * DAY_MS,
		.keep_output_bytes = INT64_C(2) << 30,
		.keep_rows_ms = 90 * DAY_MS,
		.max_frame = LIMIT_FRAME_BYTES,
		.shell = xstrdup("bash"),
		.log_level = LOG_INFO,
	};
}

void config_done(struct config *c)
{
	for (size_t i = 0; i < c->n_groups; i++)
		free(c->groups[i].name);
	free(c->groups);
	free(c->shell);
	*c = (struct config){ 0 };
}

int config_read(struct config *c, const char *path, struct err *e)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	int r = fd_read_file(path, CONFIG_FILE_MAX, &b);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return err_set(e, 0, "cannot read '%s': %s", path, strerror(-r));
	int number = 0;
	for (size_t at = 0; at < b.len;) {
		const char *end = memchr(b.p + at, '\n', b.len - at);
		size_t len = end ? (size_t)(end - b.p) - at : b.len - at;
		number++;
		if (config_line(c, slice_of(b.p + at, len), e))
			return err_prefix(e, "%s:%d: ", path, number);
		at += len + 1;
	}
	if (c->max_frame < 4096 || c->max_frame > LIMIT_FRAME_BYTES)
		return err_set(e, 0, "%s: max_frame: must be between 4096 and %u", path,
			       LIMIT_FRAME_BYTES);
	return 0;
}
