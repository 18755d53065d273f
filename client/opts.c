#include "client/opts.h"

#include <string.h>

#include "client/habits.h"
#include "common/text.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "proto/suggest.h"

void strv_add(struct strv *s, const char *one)
{
	s->v = xrealloc(s->v, s->n + 2, sizeof(*s->v));
	s->v[s->n++] = one;
	s->v[s->n] = NULL;
}

void strv_done(struct strv *s)
{
	free(s->v);
	*s = (struct strv){ NULL, 0 };
}

/* A row that was found, and the struct its value goes to. */
struct opt_hit {
	const struct opt *row;
	void *value;
};

static struct opt_hit opts_by_letter(const struct opts *o, char letter)
{
	for (int g = 0; g < o->n_groups; g++)
		for (const struct opt *r = o->groups[g].rows; r && r->name; r++)
			if (r->letter == letter)
				return (struct opt_hit){ r,
							 (char *)o->groups[g].values + r->offset };
	return (struct opt_hit){ NULL, NULL };
}

/* The same but for dashes: --dryrun is --dry-run, as with GNU parallel. */
static bool opts_same(const char *name, const char *typed, size_t len)
{
	for (size_t i = 0; i < len; name++) {
		if (*name == '-')
			continue;
		if (*name != typed[i++])
			return false;
	}
	return !*name;
}

static struct opt_hit opts_without_dashes(const struct opts *o, const char *name, size_t len)
{
	for (int g = 0; g < o->n_groups; g++)
		for (const struct opt *r = o->groups[g].rows; r && r->name; r++)
			if (strchr(r->name, '-') && opts_same(r->name, name, len))
				return (struct opt_hit){ r,
							 (char *)o->groups[g].values + r->offset };
	return (struct opt_hit){ NULL, NULL };
}

/* The option called name[0..len), or the only one that begins so. *ret_many: several do. */
static struct opt_hit opts_by_name(const struct opts *o, const char *name, size_t len,
				   bool *ret_many)
{
	struct opt_hit hit = { NULL, NULL };
	*ret_many = false;
	for (int g = 0; g < o->n_groups; g++)
		for (const struct opt *r = o->groups[g].rows; r && r->name; r++) {
			if (strncmp(r->name, name, len) != 0)
				continue;
			void *value = (char *)o->groups[g].values + r->offset;
			if (r->name[len] == '\0') {
				*ret_many = false;
				return (struct opt_hit){ r, value };
			}
			*ret_many = hit.row != NULL;
			hit = (struct opt_hit){ r, value };
		}
	return hit.row ? hit : opts_without_dashes(o, name, len);
}

static int opts_unknown(const struct opts *o, const char *name, size_t len, struct err *e)
{
	struct suggest near = SUGGEST_INIT(slice_of(name, len));
	_cleanup_buf_ struct buf word = BUF_INIT, typed = BUF_INIT;
	text_one_line(&word, slice_of(name, len), 60);
	buf_addf(&typed, "--%s", buf_str(&word));
	const char *here = habit_here(o->command, buf_str(&typed));
	if (here)
		return err_set(e, 0, "unknown option '%s': here it is %s", buf_str(&typed), here);
	for (int g = 0; g < o->n_groups; g++)
		for (const struct opt *r = o->groups[g].rows; r && r->name; r++)
			suggest_offer(&near, r->name);
	if (near.best)
		return err_set(e, 0, "unknown option '--%s': did you mean '--%s'?", buf_str(&word),
			       near.best);
	return err_set(e, 0, "unknown option '--%s': see '%s --help'", buf_str(&word), o->command);
}

static int opts_int(const struct opt *r, const char *text, struct opt_int *into, struct err *e)
{
	bool any = r->min == 0 && r->max == 0;
	if (r->type == OPT_DURATION) {
		if (!duration_parse(slice_str(text), &into->v))
			return err_set(e, 0, "--%s: '%s' is no duration: write 90s, 10m or 1h30m",
				       r->name, text);
	} else if (!parse_int(slice_str(text), any ? INT64_MIN : r->min, any ? INT64_MAX : r->max,
			      &into->v)) {
		if (any)
			return err_set(e, 0, "--%s: '%s' is not a whole number", r->name, text);
		return err_set(e, 0, "--%s: '%s' is not a whole number from %lld to %lld", r->name,
			       text, (long long)r->min, (long long)r->max);
	}
	into->set = true;
	return 0;
}

static int opts_enum(const struct opt *r, const char *text, const char **into, struct err *e)
{
	_cleanup_buf_ struct buf all = BUF_INIT;
	for (const char *const *n = r->names; *n; n++) {
		if (strcmp(*n, text) == 0) {
			*into = *n;
			return 0;
		}
		buf_addf(&all, "%s%s", n == r->names ? "" : ", ", *n);
	}
	return err_set(e, 0, "--%s: '%s' is none of %s", r->name, text, buf_str(&all));
}

static int opts_strv(const struct opt *r, const char *text, struct strv *into, struct err *e)
{
	if (r->min && text[strspn(text, " \t\n")] == '\0')
		return err_set(e, 0, "option '--%s' needs a value that is not blank: --%s %s",
			       r->name, r->name, r->arg);
	strv_add(into, text);
	return 0;
}

static int opts_store(struct opt_hit hit, const char *text, struct err *e)
{
	switch (hit.row->type) {
	case OPT_FLAG:
		*(bool *)hit.value = true;
		return 0;
	case OPT_STR:
		*(const char **)hit.value = text;
		return 0;
	case OPT_INT:
	case OPT_DURATION:
		return opts_int(hit.row, text, hit.value, e);
	case OPT_ENUM:
		return opts_enum(hit.row, text, hit.value, e);
	case OPT_STRV:
		return opts_strv(hit.row, text, hit.value, e);
	}
	return 0;
}

/* Can it do without the value that would begin here? */
static bool opts_without(const struct opt *r, const char *at)
{
	return r->without && !(at && *at >= '0' && *at <= '9');
}

/* "--name", "--name=value" or "--name value": how many words it took, or -1. */
static int opts_long(const struct opts *o, int argc, char **argv, int at, struct err *e)
{
	const char *name = argv[at] + 2;
	size_t len = strcspn(name, "=");
	bool many;
	struct opt_hit hit = opts_by_name(o, name, len, &many);
	if (!hit.row)
		return opts_unknown(o, name, len, e), -1;
	if (many)
		return err_set(e, 0, "option '%s' is short for several: write it out", argv[at]),
		       -1;
	bool joined = name[len] == '=';
	if (hit.row->type == OPT_FLAG && joined)
		return err_set(e, 0, "option '--%s' takes no value", hit.row->name), -1;
	if (hit.row->type == OPT_FLAG || joined)
		return opts_store(hit, name + len + 1, e) ? -1 : 1;
	if (opts_without(hit.row, at + 1 < argc ? argv[at + 1] : NULL))
		return opts_store(hit, hit.row->without, e) ? -1 : 1;
	if (at + 1 >= argc)
		return err_set(e, 0, "option '--%s' needs a value: --%s %s", hit.row->name,
			       hit.row->name, hit.row->arg),
		       -1;
	return opts_store(hit, argv[at + 1], e) ? -1 : 2;
}

/* "-9": the option that such a word stands for, if any. */
static struct opt_hit opts_by_digits(const struct opts *o, const char *word)
{
	for (int g = 0; g < o->n_groups && parse_all_digits(slice_str(word)); g++)
		for (const struct opt *r = o->groups[g].rows; r && r->name; r++)
			if (r->digits)
				return (struct opt_hit){ r,
							 (char *)o->groups[g].values + r->offset };
	return (struct opt_hit){ NULL, NULL };
}

/* Of a letter, with the word it is in where that holds more. */
static int opts_unknown_letter(const struct opts *o, int argc, char **argv, int at, char letter,
			       struct err *e)
{
	const char *here = habit_here(o->command, (char[]){ '-', letter, 0 });
	_cleanup_buf_ struct buf shown = BUF_INIT;
	bool dashes = false;
	if (here)
		return err_set(e, 0, "unknown option '-%c': here it is %s", letter, here);
	for (int i = at + 1; i < argc; i++)
		dashes = dashes || strcmp(argv[i], "--") == 0;
	if (argv[at][1] && argv[at][2]) {
		buf_adds(&shown, " in '");
		text_one_line(&shown, slice_str(argv[at]), 60);
		buf_addc(&shown, '\'');
	}
	return err_set(e, 0, "unknown option '-%c'%s: see '%s --help'%s",
		       letter > 32 && letter < 127 ? letter : '?', buf_str(&shown), o->command,
		       o->stop_at_operand && !dashes ? "; put '--' before the command" : "");
}

/* "-abc", "-j4" or "-j 4": how many words it took, or -1. */
static int opts_letters(const struct opts *o, int argc, char **argv, int at, struct err *e)
{
	struct opt_hit digits = opts_by_digits(o, argv[at] + 1);
	if (digits.row)
		return opts_store(digits, argv[at] + 1, e) ? -1 : 1;
	for (const char *p = argv[at] + 1; *p; p++) {
		struct opt_hit hit = opts_by_letter(o, *p);
		if (!hit.row)
			return opts_unknown_letter(o, argc, argv, at, *p, e), -1;
		const char *value = p[1] ? p + 1 : at + 1 < argc ? argv[at + 1] : NULL;
		bool alone = opts_without(hit.row, value);
		if (hit.row->type == OPT_FLAG || alone) {
			if (opts_store(hit, alone ? hit.row->without : NULL, e))
				return -1;
			continue;
		}
		if (p[1])
			return opts_store(hit, p + 1, e) ? -1 : 1;
		if (at + 1 >= argc)
			return err_set(e, 0, "option '-%c' needs a value: -%c %s", *p, *p,
				       hit.row->arg),
			       -1;
		return opts_store(hit, argv[at + 1], e) ? -1 : 2;
	}
	return 1;
}

static bool opts_is_option(const char *word)
{
	return word[0] == '-' && word[1] != '\0';
}

int opts_take(const struct opts *o, int argc, char **argv, int at, bool *ret_ended, struct err *e)
{
	*ret_ended = false;
	while (at < argc && opts_is_option(argv[at])) {
		if (strcmp(argv[at], "--") == 0) {
			*ret_ended = true;
			return at + 1;
		}
		int n = argv[at][1] == '-' ? opts_long(o, argc, argv, at, e)
					   : opts_letters(o, argc, argv, at, e);
		if (n < 0)
			return -1;
		at += n;
	}
	return at;
}

int opts_parse(const struct opts *o, int argc, char **argv, int at, struct strv *operands,
	       struct err *e)
{
	bool ended = false;
	while (at < argc) {
		if (!ended)
			at = opts_take(o, argc, argv, at, &ended, e);
		if (at < 0)
			return 1;
		if (at < argc)
			strv_add(operands, argv[at++]);
		ended = ended || o->stop_at_operand;
	}
	return 0;
}

void opts_help(struct buf *b, const struct opt *rows)
{
	for (const struct opt *r = rows; r && r->name; r++) {
		char left[64];
		snprintf(left, sizeof(left), "  %c%c%s--%s%s%s", r->letter ? '-' : ' ',
			 r->letter ? r->letter : ' ', r->letter ? ", " : "  ", r->name,
			 r->arg ? " " : "", r->arg ? r->arg : "");
		if (strlen(left) > 27)
			buf_addf(b, "%s\n%28s%s\n", left, "", r->help);
		else
			buf_addf(b, "%-28s%s\n", left, r->help);
	}
}

void opts_done(const struct opt *rows, void *values)
{
	for (const struct opt *r = rows; r && r->name; r++)
		if (r->type == OPT_STRV)
			strv_done((struct strv *)((char *)values + r->offset));
}
