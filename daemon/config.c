#include "daemon/config.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/fd.h"
#include "common/log.h"
#include "common/text.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "proto/field.h"
#include "proto/limits.h"
#include "proto/suggest.h"

#define CONFIG_FILE_MAX (1u << 20)
#define DAY_MS INT64_C(86400000)
#define GROUP "group."

static const struct {
	const char *name;
	enum log_level level;
} levels[] = {
	{ "error", LOG_ERROR }, { "warn", LOG_WARN }, { "info", LOG_INFO }, { "debug", LOG_DEBUG }
};

/* --- the types of settings: from text, and to text --- */

struct setting {
	const char *name;
	int (*set)(const struct setting *s, struct config *c, struct slice v, struct err *e);
	void (*show)(const struct setting *s, const struct config *c, struct buf *b);
	size_t offset;
	int64_t min, max;
};

static int64_t *field(const struct setting *s, struct config *c)
{
	return (int64_t *)((char *)c + s->offset);
}

static int64_t value(const struct setting *s, const struct config *c)
{
	return *(const int64_t *)((const char *)c + s->offset);
}

static int set_number(const struct setting *s, struct config *c, struct slice v, struct err *e)
{
	if (!parse_int(v, s->min, s->max, field(s, c)))
		return err_set(e, 0,
			       "must be a whole number from %" PRId64 " to %" PRId64 ", not '%.*s'",
			       s->min, s->max, SLICE_FMT(v));
	return 0;
}

static void show_number(const struct setting *s, const struct config *c, struct buf *b)
{
	if (value(s, c))
		buf_addf(b, "%" PRId64, value(s, c));
}

/* Bytes, with K, M or G as powers of 1024. */
static const char units[] = "KMG";

static int set_bytes(const struct setting *s, struct config *c, struct slice v, struct err *e)
{
	int64_t n, factor = 1;
	const char *unit = v.len ? strchr(units, v.p[v.len - 1]) : NULL;
	struct slice digits = v;
	if (unit && *unit) {
		factor = INT64_C(1) << (10 * (unit - units + 1));
		digits.len--;
	}
	if (!parse_int(digits, 0, LIMIT_INT / factor, &n))
		return err_set(e, 0, "must be a size like 16M, not '%.*s'", SLICE_FMT(v));
	n *= factor;
	if (n < s->min || n > s->max)
		return err_set(e, 0, "must be between %" PRId64 " and %" PRId64 ", not '%.*s'",
			       s->min, s->max, SLICE_FMT(v));
	*field(s, c) = n;
	return 0;
}

static void show_bytes(const struct setting *s, const struct config *c, struct buf *b)
{
	int64_t n = value(s, c);
	int unit = -1;
	while (n > 0 && n % 1024 == 0 && unit < 2) {
		n /= 1024;
		unit++;
	}
	buf_addf(b, "%" PRId64, n);
	if (unit >= 0)
		buf_addc(b, units[unit]);
}

static int set_duration(const struct setting *s, struct config *c, struct slice v, struct err *e)
{
	if (!duration_parse(v, field(s, c)))
		return err_set(e, 0, "must be a duration like 5s or 14d, not '%.*s'", SLICE_FMT(v));
	return 0;
}

static void show_duration(const struct setting *s, const struct config *c, struct buf *b)
{
	int64_t ms = value(s, c);
	if (ms && ms % DAY_MS == 0)
		buf_addf(b, "%" PRId64 "d", ms / DAY_MS);
	else
		duration_print(b, ms);
}

static int set_shell(const struct setting *s _unused_, struct config *c, struct slice v,
		     struct err *e)
{
	if (v.len == 0)
		return err_set(e, 0, "must name a shell");
	free(c->shell);
	c->shell = xslicedup(v);
	return 0;
}

static void show_shell(const struct setting *s _unused_, const struct config *c, struct buf *b)
{
	buf_adds(b, c->shell);
}

/* Nothing: as if it were not said. */
static int set_on_end(const struct setting *s _unused_, struct config *c, struct slice v,
		      struct err *e _unused_)
{
	free(c->on_end);
	c->on_end = v.len ? xslicedup(v) : NULL;
	return 0;
}

static void show_on_end(const struct setting *s _unused_, const struct config *c, struct buf *b)
{
	buf_adds(b, c->on_end ? c->on_end : "");
}

static int set_log_level(const struct setting *s _unused_, struct config *c, struct slice v,
			 struct err *e)
{
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++)
		if (slice_is(v, levels[i].name)) {
			c->log_level = levels[i].level;
			return 0;
		}
	return err_set(e, 0, "must be error, warn, info or debug, not '%.*s'", SLICE_FMT(v));
}

static void show_log_level(const struct setting *s _unused_, const struct config *c, struct buf *b)
{
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++)
		if ((int)levels[i].level == c->log_level)
			buf_adds(b, levels[i].name);
}

/* --- the table --- */

#define AT(f) offsetof(struct config, f)
#define NUMBER(f, low, high) set_number, show_number, AT(f), low, high
#define BYTES(f, low, high) set_bytes, show_bytes, AT(f), low, high
#define DURATION(f) set_duration, show_duration, AT(f), 0, 0

static const struct setting settings[] = {
	{ "slots", NUMBER(slots, 1, LIMIT_JOBS) },
	{ "output_cap", BYTES(output_cap, 0, LIMIT_INT) },
	{ "grace", DURATION(grace_ms) },
	{ "drain", DURATION(drain_ms) },
	{ "keep_output", DURATION(keep_output_ms) },
	{ "keep_output_bytes", BYTES(keep_output_bytes, 0, LIMIT_INT) },
	{ "keep_rows", DURATION(keep_rows_ms) },
	{ "max_frame", BYTES(max_frame, 4096, LIMIT_FRAME_BYTES) },
	{ "shell", set_shell, show_shell, 0, 0, 0 },
	{ "run.on_end", set_on_end, show_on_end, 0, 0, 0 },
	{ "log_level", set_log_level, show_log_level, 0, 0, 0 },
};

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
		free((char *)(uintptr_t)c->groups[i].name);
	free(c->groups);
	free(c->shell);
	free(c->on_end);
	*c = (struct config){ 0 };
}

/* --- reading --- */

/* In which line each setting and group was given; 0: not. */
struct reading {
	struct config *c;
	int line;
	int lines[ARRAY_SIZE(settings)];
	int *group_lines;
};

static int said_before(int *line, const struct reading *r, struct err *e)
{
	if (*line)
		return err_set(e, 0, "given before, in line %d", *line);
	*line = r->line;
	return 0;
}

static int group_name(struct slice name, struct err *e)
{
	if (name.len == 0 || name.len > LIMIT_NAME_BYTES || !utf8_valid(name))
		return err_set(e, 0, "must be group.NAME = SLOTS, with a name of 1 to %d bytes",
			       LIMIT_NAME_BYTES);
	if (slice_is(name, "default"))
		return err_set(e, 0, "the default pool's size is `slots`");
	return field_label_check(name, e) ? err_prefix(e, "the pool's name") : 0;
}

static int set_group(struct reading *r, struct slice name, struct slice v, struct err *e)
{
	struct config *c = r->c;
	int64_t slots;
	if (group_name(name, e))
		return 1;
	if (!parse_int(v, 1, LIMIT_JOBS, &slots))
		return err_set(e, 0, "must be group.NAME = SLOTS, 1 to %d, not '%.*s'", LIMIT_JOBS,
			       SLICE_FMT(v));
	for (size_t i = 0; i < c->n_groups; i++)
		if (slice_is(name, c->groups[i].name))
			return said_before(&r->group_lines[i], r, e);
	c->groups = xrealloc(c->groups, c->n_groups + 1, sizeof(c->groups[0]));
	r->group_lines = xrealloc(r->group_lines, c->n_groups + 1, sizeof(r->group_lines[0]));
	r->group_lines[c->n_groups] = r->line;
	c->groups[c->n_groups++] = (struct config_group){ xslicedup(name), slots };
	return 0;
}

static int unknown(struct slice name, struct err *e)
{
	char text[SUGGEST_TEXT_MAX];
	struct suggest s = SUGGEST_INIT(name);
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
		suggest_offer(&s, settings[i].name);
	if (name.len > 5 && memcmp(name.p, GROUP, 5) == 0)
		s.best = GROUP "NAME";
	return err_set(e, 0, "unknown setting%s: see batchd.conf(5)", suggest_text(&s, text));
}

static int config_set(struct reading *r, struct slice name, struct slice v, struct err *e)
{
	size_t n = sizeof(GROUP) - 1;
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
		if (slice_is(name, settings[i].name))
			return said_before(&r->lines[i], r, e) ||
			       settings[i].set(&settings[i], r->c, v, e);
	if (name.len >= n && memcmp(name.p, GROUP, n) == 0)
		return set_group(r, slice_of(name.p + n, name.len - n), v, e);
	return unknown(name, e);
}

static struct slice trim(struct slice s)
{
	while (s.len && strchr(" \t\r", s.p[0]))
		s = slice_of(s.p + 1, s.len - 1);
	while (s.len && strchr(" \t\r", s.p[s.len - 1]))
		s.len--;
	return s;
}

static int config_line(struct reading *r, struct slice line, struct err *e)
{
	if (line.len && memchr(line.p, '\0', line.len))
		return err_set(e, 0, "is no text: it holds a zero byte");
	line = trim(line);
	if (line.len == 0 || line.p[0] == '#')
		return 0;
	const char *eq = memchr(line.p, '=', line.len);
	if (!eq)
		return err_set(e, 0, "'%.*s': must be name = value", SLICE_FMT(line));
	struct slice name = trim(slice_of(line.p, (size_t)(eq - line.p)));
	struct slice v = trim(slice_of(eq + 1, (size_t)(line.p + line.len - eq - 1)));
	if (config_set(r, name, v, e))
		return err_prefix(e, "%.*s: ", SLICE_FMT(name));
	return 0;
}

static int config_text(struct config *c, struct slice text, const char *path, struct err *e)
{
	struct reading r = { .c = c };
	int bad = 0;
	for (size_t at = 0; at < text.len && !bad;) {
		const char *end = memchr(text.p + at, '\n', text.len - at);
		size_t len = end ? (size_t)(end - text.p) - at : text.len - at;
		r.line++;
		bad = config_line(&r, slice_of(text.p + at, len), e);
		at += len + 1;
	}
	free(r.group_lines);
	return bad ? err_prefix(e, "%s:%d: ", path, r.line) : 0;
}

int config_read(struct config *c, const char *path, bool must_exist, struct err *e)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	int r = fd_read_file(path, CONFIG_FILE_MAX, &b);
	if (r == -ENOENT && !must_exist)
		return 0;
	if (r < 0)
		return err_set(e, 0, "cannot read '%s': %s", path, errno_text(-r));
	return config_text(c, buf_slice(&b), path, e);
}

/* --- what a reload changed --- */

static void diff_add(struct config_diff *d, char *name, const struct buf *before,
		     const struct buf *after)
{
	d->texts = xrealloc(d->texts, (d->n + 1) * 3, sizeof(d->texts[0]));
	char **t = &d->texts[d->n++ * 3];
	t[0] = name;
	t[1] = xslicedup(buf_slice(before));
	t[2] = xslicedup(buf_slice(after));
}

static int64_t group_slots(const struct config *c, const char *name)
{
	for (size_t i = 0; i < c->n_groups; i++)
		if (strcmp(c->groups[i].name, name) == 0)
			return c->groups[i].slots;
	return 0;
}

static void diff_group(const struct config *a, const struct config *b, const char *name,
		       struct config_diff *ret)
{
	_cleanup_buf_ struct buf before = BUF_INIT, after = BUF_INIT;
	int64_t x = group_slots(a, name), y = group_slots(b, name);
	if (x == y)
		return;
	if (x)
		buf_addf(&before, "%" PRId64, x);
	if (y)
		buf_addf(&after, "%" PRId64, y);
	diff_add(ret, xasprintf(GROUP "%s", name), &before, &after);
}

void config_diff(const struct config *before, const struct config *after, struct config_diff *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		_cleanup_buf_ struct buf a = BUF_INIT, b = BUF_INIT;
		settings[i].show(&settings[i], before, &a);
		settings[i].show(&settings[i], after, &b);
		if (!slice_eq(buf_slice(&a), buf_slice(&b)))
			diff_add(ret, xstrdup(settings[i].name), &a, &b);
	}
	for (size_t i = 0; i < before->n_groups; i++)
		diff_group(before, after, before->groups[i].name, ret);
	for (size_t i = 0; i < after->n_groups; i++)
		if (!group_slots(before, after->groups[i].name))
			diff_group(before, after, after->groups[i].name, ret);
}

void config_diff_done(struct config_diff *d)
{
	for (size_t i = 0; i < d->n * 3; i++)
		free(d->texts[i]);
	free(d->texts);
	*d = (struct config_diff)CONFIG_DIFF_INIT;
}
