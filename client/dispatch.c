#include "client/dispatch.h"

#include <errno.h>
#include <limits.h>
#include <locale.h>
#include <langinfo.h>
#include <signal.h>
#include <unistd.h>

#include "client/ctx.h"
#include "client/habits.h"
#include "client/json.h"
#include "client/term.h"
#include "common/paths.h"
#include "common/text.h"
#include "common/xalloc.h"
#include "proto/suggest.h"

struct globals {
	const char *socket, *color;
	struct strv dirs;
	bool json, quiet, verbose, version, help;
};

static const char *const opt_colors[] = { "auto", "always", "never", NULL };

#define GLOBAL(name, letter, type, field, ...)                                                     \
	{                                                                                          \
		name, letter, type, offsetof(struct globals, field), __VA_ARGS__                   \
	}

const struct opt global_opts[] = {
	GLOBAL("socket", 0, OPT_STR, socket, "PATH", "batchd's socket; else $BATCHD_SOCKET"),
	GLOBAL("directory", 'C', OPT_STRV, dirs, "DIR", "go there first, before all else"),
	GLOBAL("json", 0, OPT_FLAG, json, NULL, "print JSON"),
	GLOBAL("color", 0, OPT_ENUM, color, "WHEN", "auto, always or never", opt_colors),
	GLOBAL("quiet", 'q', OPT_FLAG, quiet, NULL, "say nothing but errors on stderr"),
	GLOBAL("verbose", 'v', OPT_FLAG, verbose, NULL, "say more"),
	GLOBAL("version", 0, OPT_FLAG, version, NULL, "print the version"),
	GLOBAL("help", 'h', OPT_FLAG, help, NULL, "print this help"),
	OPT_END,
};

/* What main() has found on the line so far. */
struct line {
	int argc;
	char **argv;
	int at;
	bool ended; /* "--" was seen */
	struct globals globals;
	struct ctx ctx;
	struct buf command; /* "batchctl todo add" */
	const struct verb *verb, *parent;
	void *values;		       /* the verb's options */
	const struct opt *shared_rows; /* rows whose values need freeing besides the verb's own */
	struct strv operands;
};

const struct verb *verb_find(const struct verb *const *table, const char *name)
{
	for (; *table; table++)
		if (strcmp((*table)->name, name) == 0 ||
		    ((*table)->alias && strcmp((*table)->alias, name) == 0))
			return *table;
	return NULL;
}

/* Appends how a program is run, where the first word is one. */
static void line_program(struct line *l, const char *word, struct buf *b)
{
	_cleanup_free_ char *first = xslicedup(slice_of(word, strcspn(word, " \t")));
	_cleanup_free_ char *program = path_in_path(first);
	if (!program || strcmp(buf_str(&l->command), "batchctl") != 0)
		return;
	buf_adds(b, "the program is `batchctl run -- ");
	if (word[strlen(first)])
		buf_addc(b, '\'');
	text_one_line(b, slice_str(word), 60);
	buf_adds(b, word[strlen(first)] ? "'`" : "`");
}

static int line_unknown(struct line *l, const struct verb *const *table, const char *word)
{
	struct suggest near = SUGGEST_INIT(slice_str(word));
	_cleanup_buf_ struct buf shown = BUF_INIT, program = BUF_INIT;
	const char *here = habit_here(buf_str(&l->command), word);
	text_one_line(&shown, slice_str(word), 60);
	if (here)
		return fail(&l->ctx, EXIT_USAGE, "unknown verb '%s': here it is %s",
			    buf_str(&shown), here);
	for (; *table; table++) {
		suggest_offer(&near, (*table)->name);
		if ((*table)->alias)
			suggest_offer(&near, (*table)->alias);
	}
	line_program(l, word, &program);
	if (near.best)
		return fail(&l->ctx, EXIT_USAGE, "unknown verb '%s': did you mean '%s'?%s%s",
			    buf_str(&shown), near.best, program.len ? " Or " : "",
			    buf_str(&program));
	if (program.len)
		return fail(&l->ctx, EXIT_USAGE, "unknown verb '%s': %s", buf_str(&shown),
			    buf_str(&program));
	if (strcmp(buf_str(&l->command), "batchctl todo") == 0)
		return fail(&l->ctx, EXIT_USAGE,
			    "unknown verb '%s': see `%s --help`; an item is added by `%s add TEXT`",
			    buf_str(&shown), buf_str(&l->command), buf_str(&l->command));
	return fail(&l->ctx, EXIT_USAGE, "unknown verb '%s': see `%s --help`", buf_str(&shown),
		    buf_str(&l->command));
}

static void line_enter(struct line *l, const struct verb *v)
{
	l->parent = l->verb;
	l->verb = v;
	buf_addf(&l->command, " %s", v->name);
	l->ctx.command = buf_str(&l->command);
}

/* Options before the verb, the verb, and where it has subs the options before the sub and the sub.
 * EXIT_OK, or a failure. */
static int line_find_verb(struct line *l, const struct verb *dflt)
{
	struct err e = ERR_INIT;
	struct opts o = { .groups = { { global_opts, &l->globals } },
			  .n_groups = 1,
			  .command = buf_str(&l->command) };
	l->at = opts_take(&o, l->argc, l->argv, l->at, &l->ended, &e);
	if (l->at < 0)
		return fail(&l->ctx, EXIT_USAGE, "%s", e.text);
	if (l->at >= l->argc) {
		l->verb = dflt;
		return EXIT_OK;
	}
	const struct verb *v = verb_find(verbs, l->argv[l->at]);
	if (!v)
		return line_unknown(l, verbs, l->argv[l->at]);
	l->at++;
	line_enter(l, v);
	return EXIT_OK;
}

static int line_find_sub(struct line *l)
{
	struct err e = ERR_INIT;
	const struct verb *parent = l->verb;
	struct opts o = { .groups = { { parent->options, l->values },
				      { global_opts, &l->globals } },
			  .n_groups = 2,
			  .command = buf_str(&l->command) };
	l->at = opts_take(&o, l->argc, l->argv, l->at, &l->ended, &e);
	if (l->at < 0)
		return fail(&l->ctx, EXIT_USAGE, "%s", e.text);
	if (l->at >= l->argc && l->globals.help)
		return EXIT_OK;
	const struct verb *sub =
		l->at >= l->argc ? parent->subs[0] : verb_find(parent->subs, l->argv[l->at]);
	if (!sub)
		return line_unknown(l, parent->subs, l->argv[l->at]);
	l->at += l->at < l->argc;
	line_enter(l, sub);
	return EXIT_OK;
}

static int line_parse(struct line *l)
{
	struct err e = ERR_INIT;
	struct opts o = { .stop_at_operand = l->verb->stop_at_operand,
			  .command = buf_str(&l->command) };
	o.groups[o.n_groups++] = (struct opt_group){ l->verb->options, l->values };
	if (l->parent)
		o.groups[o.n_groups++] = (struct opt_group){ l->parent->options, l->values };
	o.groups[o.n_groups++] = (struct opt_group){ global_opts, &l->globals };
	if (l->ended) {
		while (l->at < l->argc)
			strv_add(&l->operands, l->argv[l->at++]);
		return EXIT_OK;
	}
	if (opts_parse(&o, l->argc, l->argv, l->at, &l->operands, &e))
		return fail(&l->ctx, EXIT_USAGE, "%s", e.text);
	return EXIT_OK;
}

static int line_check_operands(const struct line *l)
{
	const struct verb *v = l->verb;
	const char *blank = v->usage ? " " : "", *usage = v->usage ? v->usage : "";
	int n = (int)l->operands.n;
	if (n < v->min_args)
		return fail(&l->ctx, EXIT_USAGE, "%s missing: usage: %s%s%s",
			    n ? "an operand is" : "operands are", l->ctx.command, blank, usage);
	if (v->max_args >= 0 && n > v->max_args) {
		_cleanup_buf_ struct buf shown = BUF_INIT;
		text_one_line(&shown, slice_str(l->operands.v[v->max_args]), 60);
		return fail(&l->ctx, EXIT_USAGE, "'%s' is one operand too many: usage: %s%s%s",
			    buf_str(&shown), l->ctx.command, blank, usage);
	}
	return EXIT_OK;
}

char *client_socket(const char *named)
{
	struct buf b = BUF_INIT;
	char cwd[PATH_MAX];
	if (!named)
		return path_default_socket();
	path_normal(&b, slice_str(getcwd(cwd, sizeof(cwd)) ? cwd : "/"), slice_str(named));
	return buf_steal(&b);
}

/* -C, as git has it: each from where the one before went, an empty one goes nowhere. */
static int line_enter_dirs(struct line *l)
{
	for (size_t i = 0; i < l->globals.dirs.n; i++) {
		const char *dir = l->globals.dirs.v[i];
		if (*dir && chdir(dir) < 0)
			return fail(&l->ctx, EXIT_USAGE, "-C: cannot go to '%s': %s", dir,
				    errno_text(errno));
		l->ctx.dir = dir;
	}
	return EXIT_OK;
}

static void line_fill_ctx(struct line *l)
{
	struct ctx *c = &l->ctx;
	c->socket = client_socket(l->globals.socket);
	c->color = l->globals.color;
	c->json = l->globals.json;
	c->quiet = l->globals.quiet;
	c->verbose = l->globals.verbose;
	c->argv = l->operands.v;
	c->argc = (int)l->operands.n;
	term_decide_colors(c);
}

static int line_help(struct line *l)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	if (l->globals.version) {
		buf_adds(&b, "batchctl " BATCHD_VERSION "\n");
	} else if (!l->verb) {
		help_overview(&b);
	} else {
		_cleanup_free_ char *of =
			l->parent ? xasprintf("batchctl %s", l->parent->name) : xstrdup("batchctl");
		help_verb(&b, of, l->verb, l->parent);
	}
	return ctx_print(&l->ctx, &b);
}

static int line_run(struct line *l)
{
	static const struct verb *dflt;
	dflt = verb_find(verbs, "status");
	int status = line_find_verb(l, dflt);
	if (status)
		return status;
	bool bare = l->verb == dflt && l->at >= l->argc;
	if (bare && (l->globals.help || l->globals.version) &&
	    strcmp(l->ctx.command, "batchctl") == 0) {
		l->verb = NULL;
		return line_help(l);
	}
	l->values = xcalloc(1, MAX2(l->verb->options_size, (size_t)1));
	if (l->verb->subs && (status = line_find_sub(l)) != EXIT_OK)
		return status;
	status = line_parse(l);
	if (status == EXIT_OK && (l->globals.help || l->globals.version))
		return line_help(l);
	if (status == EXIT_OK)
		status = line_check_operands(l);
	if (status == EXIT_OK)
		status = line_enter_dirs(l);
	if (status)
		return status;
	line_fill_ctx(l);
	return l->verb->run(&l->ctx, l->values);
}

static void line_done(struct line *l)
{
	ctx_disconnect(&l->ctx);
	if (l->verb && l->values)
		opts_done(l->verb->options, l->values);
	if (l->parent && l->values)
		opts_done(l->parent->options, l->values);
	strv_done(&l->globals.dirs);
	free(l->values);
	free((char *)l->ctx.socket);
	strv_done(&l->operands);
	buf_done(&l->command);
}

int client_main(int argc, char **argv)
{
	struct line l = { .argc = argc, .argv = argv, .at = 1, .command = BUF_INIT };
	setlocale(LC_CTYPE, "");
	if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
		setlocale(LC_CTYPE, "C.UTF-8");
	signal(SIGPIPE, SIG_IGN);
	/* A value that jansson has no memory for is left out without a word: of a batch, an op. */
	json_set_alloc_funcs(xmalloc, free);
	buf_adds(&l.command, "batchctl");
	l.ctx.command = buf_str(&l.command);
	int status = line_run(&l);
	line_done(&l);
	return status;
}
