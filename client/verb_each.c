#include <sched.h>
#include <stdlib.h>

#include "client/each.h"
#include "client/submit.h"
#include "common/paths.h"
#include "common/text.h"
#include "proto/limits.h"

#define EACH_OPT(name, letter, type, field, ...)                                                   \
	{                                                                                          \
		name, letter, type, offsetof(struct each_options, field), __VA_ARGS__              \
	}

static const char *const each_trims[] = { "n", "l", "r", "lr", "rl", NULL };

static const struct opt each_opts[] = {
	EACH_OPT("arg-file", 'a', OPT_STRV, files, "FILE", "arguments, one a line; - is stdin"),
	EACH_OPT("null", '0', OPT_FLAG, null, NULL, "they end with a NUL, not a newline"),
	EACH_OPT("delimiter", 'd', OPT_STR, delimiter, "C", "they end with this character"),
	/* -C and -q mean other things in front of the verb. */
	EACH_OPT("colsep", 'C', OPT_STR, colsep, "REGEX",
		 "columns of an argument are {1}, {2}, ..."),
	EACH_OPT("header", 0, OPT_STR, header, "REGEX",
		 ": the first line names the columns: {NAME}; 0: files do"),
	EACH_OPT("trim", 0, OPT_ENUM, trim, "WHERE",
		 "blanks off arguments: n, l, r, lr; lr with --colsep", each_trims),
	EACH_OPT("arg-sep", 0, OPT_STR, arg_sep, "STR", "stands for :::"),
	EACH_OPT("arg-file-sep", 0, OPT_STR, arg_file_sep, "STR", "stands for ::::"),
	EACH_OPT("shuf", 0, OPT_FLAG, shuffle, NULL, "take the arguments in random order"),
	EACH_OPT("link", 0, OPT_FLAG, link, NULL, "take one of each source, not all combinations"),
	EACH_OPT("xapply", 0, OPT_FLAG, link, NULL, "the same"),
	EACH_OPT("max-args", 'n', OPT_INT, max_args, "N", "so many arguments a command", NULL, 0,
		 1000000),
	EACH_OPT("max-replace-args", 'N', OPT_INT, replace_args, "N",
		 "the same; what {} stands in is repeated", NULL, 0, 1000000),
	EACH_OPT("L", 'L', OPT_INT, lines, "N", "so many lines a command; a blank ends none", NULL,
		 0, 1000000),
	EACH_OPT("max-lines", 'l', OPT_INT, max_lines, "N",
		 "so many lines, as with -n; without N: 1", NULL, 0, 1000000, .without = "1"),
	EACH_OPT("m", 'm', OPT_FLAG, spread, NULL,
		 "as many arguments as a command holds, spread over the slots"),
	EACH_OPT("context-replace", 'X', OPT_FLAG, context, NULL,
		 "the same; what {} stands in is repeated"),
	EACH_OPT("xargs", 0, OPT_FLAG, xargs, NULL, "as many as a command holds, not spread"),
	EACH_OPT("max-chars", 's', OPT_INT, max_chars, "N", "of a command, for -m and -X", NULL, 1,
		 LIMIT_STRING_BYTES - 1),
	EACH_OPT("no-run-if-empty", 'r', OPT_FLAG, no_empty, NULL, "leave out blank arguments"),
	EACH_OPT("replace", 'I', OPT_STR, replace, "STR", "stands for {}"),
	EACH_OPT("plus", 0, OPT_FLAG, plus, NULL,
		 "also {..} {...} {/..} {/...} {+.} {+..} {+...} {+/} {##}"),
	EACH_OPT("quote", 'q', OPT_FLAG, quote, NULL, "the command's words are no shell text"),
	EACH_OPT("jobs", 'j', OPT_STR, jobs, "N", "at once: N, N%, +N, -N; 0: all; default: cores"),
	EACH_OPT("max-procs", 'P', OPT_STR, jobs, "N", "the same"),
	EACH_OPT("keep-order", 'k', OPT_FLAG, keep_order, NULL, "show output in the jobs' order"),
	EACH_OPT("ungroup", 'u', OPT_FLAG, ungroup, NULL, "show output as it comes"),
	EACH_OPT("line-buffer", 0, OPT_FLAG, line_buffer, NULL, "show output line by line"),
	EACH_OPT("lb", 0, OPT_FLAG, line_buffer, NULL, "the same"),
	EACH_OPT("tag", 0, OPT_FLAG, tag, NULL, "the arguments and a tab before each line"),
	EACH_OPT("tagstring", 0, OPT_STR, tagstring, "STR", "this before each line"),
	EACH_OPT("halt", 0, OPT_STR, halt, "WHEN,WHAT=N", "end early: now,fail=1 or soon,fail=5%"),
	EACH_OPT("halt-on-error", 0, OPT_STR, halt, "WHEN,WHAT=N", "the same"),
	EACH_OPT("retries", 0, OPT_INT, retries, "N", "try each so often, in all", NULL, 0,
		 LIMIT_RETRIES + 1),
	EACH_OPT("timeout", 0, OPT_DURATION, timeout, "D", "end a job after that long"),
	EACH_OPT("delay", 0, OPT_DURATION, delay, "D", "between two starts"),
	EACH_OPT("nice", 0, OPT_INT, nice, "N", "run jobs at this niceness", NULL, -20, 19),
	EACH_OPT("workdir", 0, OPT_STR, workdir, "DIR", "run each in DIR, made if need be"),
	EACH_OPT("wd", 0, OPT_STR, workdir, "DIR", "the same"),
	EACH_OPT("joblog", 0, OPT_STR, joblog, "FILE", "a line for each job that ended"),
	EACH_OPT("resume", 0, OPT_FLAG, resume, NULL, "leave out commands that the log has"),
	EACH_OPT("resume-failed", 0, OPT_FLAG, resume_failed, NULL,
		 "leave out those that it has as done well"),
	EACH_OPT("results", 0, OPT_STR, results, "DIR", "output into files below DIR"),
	EACH_OPT("bar", 0, OPT_FLAG, bar, NULL, "progress on stderr"),
	EACH_OPT("eta", 0, OPT_FLAG, eta, NULL, "the same"),
	EACH_OPT("progress", 0, OPT_FLAG, progress, NULL, "the same"),
	EACH_OPT("verbose", 't', OPT_FLAG, trace, NULL, "the command on stderr before its output"),
	EACH_OPT("will-cite", 0, OPT_FLAG, ignored, NULL, "nothing: taken for parallel's sake"),
	EACH_OPT("no-notice", 0, OPT_FLAG, ignored, NULL, "the same"),
	EACH_OPT("gnu", 0, OPT_FLAG, ignored, NULL, "the same"),
	EACH_OPT("tmpdir", 0, OPT_STR, unused, "DIR", "the same: output is kept by batchd"),
	EACH_OPT("tempdir", 0, OPT_STR, unused, "DIR", "the same"),
	/* parallel's --group and --env are what happens anyway, and its -E ends the input. */
	EACH_OPT("pool", 'g', OPT_STR, submit.group, "GROUP", "pool of slots to run in"),
	EACH_OPT("group", 0, OPT_STR, pool, "GROUP", "the same, where it is no program's name"),
	EACH_OPT("E", 'E', OPT_STRV, submit.env, "K=V", "add to the environment"),
	EACH_OPT("env", 0, OPT_STRV, passed, "K", "nothing: jobs have it anyway; K=V adds it"),
	EACH_OPT("dry-run", 0, OPT_FLAG, dry_run, NULL, "print the commands, run none"),
	/* -N is parallel's. */
	EACH_OPT("notify", 0, OPT_STRV, submit.notify, "CMD",
		 "run CMD when the run has ended, its state in BATCHD_*", NULL, 1),
	SUBMIT_SHARED_OPTS,
	OPT_END,
};

/* The cores that we may use. */
static int64_t each_cores(void)
{
	cpu_set_t set;
	return sched_getaffinity(0, sizeof(set), &set) == 0 ? MAX2(CPU_COUNT(&set), 1) : 1;
}

/* -j: N, N%, +N, -N; 0 is no limit but the pool's. */
static int each_slots(struct ctx *c, const char *text, int64_t *ret)
{
	int64_t cores = each_cores(), n;
	size_t len = text ? strlen(text) : 0;
	bool sign = len && (*text == '+' || *text == '-');
	bool percent = len && !sign && text[len - 1] == '%';
	*ret = cores;
	if (!text)
		return EXIT_OK;
	if (!parse_int(slice_of(text + sign, len - sign - percent), 0, 1000000, &n))
		return fail(c, EXIT_USAGE, "-j '%s': write N, N%%, +N, -N, or 0 for no limit",
			    text);
	n = percent ? (n * cores + 99) / 100 : n;
	n = !sign ? n : *text == '+' ? cores + n : cores - n;
	if ((sign || percent) && n < 1)
		return fail(c, EXIT_USAGE,
			    "-j '%s' leaves no job to run at once: there %s %lld core%s", text,
			    cores == 1 ? "is" : "are", (long long)cores, PLURAL(cores));
	*ret = MIN2(n, LIMIT_JOBS);
	return EXIT_OK;
}

/* The words of the command: in front of the first `:::`, or -e. */
static int each_command(struct each *e, int n)
{
	const struct each_options *o = e->o;
	const struct strv *given = &o->submit.commands;
	struct each_template *t = &e->command;
	int status = EXIT_OK;
	for (int i = 0; i < n && status == EXIT_OK; i++)
		status = each_template_add(e->c, t, e->c->argv[i], o->replace);
	if (given->n && status == EXIT_OK)
		status = each_template_add(e->c, t, given->v[0], o->replace);
	/* Without a command, or where it begins with one, the arguments are commands themselves. */
	t->quote_args = t->n > 0 && t->parts[0].what < EACH_ARG && !o->quote;
	t->quote_words = t->n > 0 && o->quote;
	t->context = o->context || o->replace_args.set ||
		     (o->lines.set && !o->max_lines.set && !o->spread && !o->xargs);
	if (status == EXIT_OK && !each_template_replaces(t))
		status = each_template_add(e->c, t, "{}", NULL);
	return status;
}

/* All that holds replacement strings. */
static int each_templates(struct each *e, int n)
{
	const struct each_options *o = e->o;
	const char *tag = o->tag ? "{}" : NULL;
	const char *trim = o->trim ? o->trim : o->colsep ? "lr" : "n";
	const struct {
		struct each_template *t;
		const char *text, *replace;
	} named[] = {
		{ &e->tag, o->tagstring ? o->tagstring : tag, o->tagstring ? o->replace : NULL },
		{ &e->results, o->results, o->replace },
		{ &e->workdir, o->workdir, o->replace },
	};
	const struct each_template empty = { .names = &e->input.names,
					     .plus = o->plus,
					     .total = &e->n_jobs,
					     .trim_left = strchr(trim, 'l'),
					     .trim_right = strchr(trim, 'r') };
	e->command = empty;
	int status = each_command(e, n);
	for (size_t i = 0; i < ARRAY_SIZE(named) && status == EXIT_OK; i++) {
		*named[i].t = empty;
		if (named[i].text)
			status = each_template_add(e->c, named[i].t, named[i].text,
						   named[i].replace);
	}
	e->by_name = o->results && each_template_replaces(&e->results);
	return status;
}

/* A command rather than the name of a pool? */
static bool each_is_program(const char *word)
{
	_cleanup_free_ char *program = path_in_path(word);
	return program || word[strcspn(word, "/ \t\n")];
}

/* What parallel's words mean where they are ours, too. */
static int each_check_words(struct ctx *c, struct each_options *o, int n)
{
	const struct strv *given = &o->submit.commands, *env = &o->submit.env;
	if (n && given->n)
		return fail(c, EXIT_USAGE, "give a command or -e, not both");
	if (given->n > 1)
		return fail(c, EXIT_USAGE, "one command only: -e was given %zu times", given->n);
	if (o->pool && each_is_program(o->pool))
		return fail(c, EXIT_USAGE,
			    "--group '%s' could be GNU parallel's --group and the command: "
			    "leave --group out, it is the default, or write -g for the pool",
			    o->pool);
	o->submit.group = o->pool ? o->pool : o->submit.group;
	if (o->max_lines.set) /* which has no 0 */
		o->lines = (struct opt_int){ MAX2(o->max_lines.v, 1), true };
	if (!n && !given->n && o->submit.group)
		return fail(
			c, EXIT_USAGE,
			"-g '%s' is the pool to run in, which leaves no command: GNU parallel's "
			"--group is the default, leave it out; where the arguments are "
			"commands, write {} behind the pool",
			o->submit.group);
	for (size_t i = 0; i < env->n; i++)
		if (!strchr(env->v[i], '='))
			return fail(c, EXIT_USAGE,
				    "-E '%s': write -E NAME=VALUE to add a variable, --env NAME "
				    "for one that jobs have anyway, `env -u NAME CMD` to take one "
				    "away; for GNU parallel's -E, an end of the input, "
				    "`sed '/^%s$/,$d' | batchctl each`",
				    env->v[i], env->v[i]);
	for (size_t i = 0; i < o->passed.n; i++)
		if (strchr(o->passed.v[i], '='))
			strv_add(&o->submit.env, o->passed.v[i]);
	return EXIT_OK;
}

static int each_check(struct ctx *c, const struct each_options *o)
{
	static const char *const tables[] = { ".csv", ".tsv", ".json" };
	const struct reading *r = &o->submit.reading;
	size_t len = o->results ? strlen(o->results) : 0;
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		size_t n = strlen(tables[i]);
		if (len >= n && strcmp(o->results + len - n, tables[i]) == 0)
			return fail(c, EXIT_USAGE,
				    "--results '%s': each writes no tables, only folders: give a "
				    "folder",
				    o->results);
	}
	if (o->results && !*o->results)
		return fail(c, EXIT_USAGE, "--results: which folder?");
	if ((o->arg_sep && !*o->arg_sep) || (o->arg_file_sep && !*o->arg_file_sep))
		return fail(c, EXIT_USAGE,
			    "--arg-sep, --arg-file-sep: give what stands for ::: "
			    "and ::::, not an empty string");
	if (o->workdir && strcmp(o->workdir, "...") == 0)
		return fail(c, EXIT_USAGE,
			    "--workdir ...: each makes no temporary folders: begin "
			    "the command with `cd \"$(mktemp -d)\" &&`");
	if (r->define.n || r->block || r->skip_unknown || r->allow_template)
		note(c, "--define, --block, --skip-unknown and --allow-template are for batch "
			"files: a command is taken as it is");
	return EXIT_OK;
}

static int each_dry_run(struct each *e)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	int status = EXIT_OK;
	for (size_t i = 0; i < e->n_jobs && status == EXIT_OK; i++) {
		if (e->jobs[i].skip)
			continue;
		each_job_command(e, i, &b);
		buf_addc(&b, '\n');
		if (b.len < 1 << 16)
			continue;
		status = ctx_print(e->c, &b);
		buf_clear(&b);
	}
	return status ? status : ctx_print(e->c, &b);
}

static void each_done(struct each *e)
{
	each_input_done(&e->input);
	each_template_done(&e->command);
	each_template_done(&e->tag);
	each_template_done(&e->results);
	each_template_done(&e->workdir);
	free(e->args.v);
	buf_done(&e->daemon);
	free(e->jobs);
}

static int each_prepare(struct each *e, struct each_halt *halt)
{
	struct each_options *o = e->o;
	struct err err = ERR_INIT;
	int n = 0;
	while (n < e->c->argc && !each_is_separator(o, e->c->argv[n]))
		n++;
	int status = each_check(e->c, o);
	if (status == EXIT_OK)
		status = each_check_words(e->c, o, n);
	if (status == EXIT_OK)
		status = each_slots(e->c, o->jobs, &e->slots);
	if (status == EXIT_OK && o->halt && each_halt_parse(o->halt, halt, &err))
		status = fail(e->c, EXIT_USAGE, "%s", err.text);
	/* Wrong ones are told before the input is read, but for those that name its columns. */
	if (status == EXIT_OK && !o->header)
		status = each_templates(e, n);
	if (status == EXIT_OK)
		status = each_input_read(e->c, o, e->c->argv + n, &e->input);
	if (status == EXIT_OK && o->header)
		status = each_templates(e, n);
	return status ? status : each_jobs_make(e);
}

static int verb_each(struct ctx *c, void *options)
{
	static const char *const none[] = { NULL };
	struct each e = { .c = c, .o = options };
	struct each_halt halt = { 0 };
	if (!c->argc)
		c->argv = none;
	int status = each_prepare(&e, &halt);
	if (status == EXIT_OK)
		status = e.o->dry_run ? each_dry_run(&e) : each_run(&e, &halt);
	each_done(&e);
	return status;
}

const struct verb cmd_each = {
	.name = "each",
	.run = verb_each,
	.usage = "[CMD...] [::: ARG...|:::: FILE...]...",
	.help = "run a command for each of many arguments",
	.more = "GNU parallel's grammar, on a run that is kept: {} is the argument, {.} without "
		"its\n"
		"extension, {/} its last part, {//} its folder, {/.} its last part without "
		"extension,\n"
		"{1} {2.} those of the first and second source, {#} the job's number, {%} its "
		"slot.\n"
		"Arguments come from :::, from the files of :::: and -a, else from stdin. Options "
		"end at\n"
		"the command. The exit status is the number of failures up to 100, 101 for more.\n"
		"^C cancels the run.\n\n"
		"  batchctl each -j4 gzip -9 ::: *.log\n"
		"  find . -name '*.wav' -print0 | batchctl each -0 --bar 'lame {} {.}.mp3'\n"
		"  batchctl each --tag --joblog jobs --resume 'curl -sf {1}/{2}' :::: hosts ::: a "
		"b\n"
		"  batchctl each -X --halt now,fail=1 tar rf all.tar ::: *\n",
	.options = each_opts,
	.options_size = sizeof(struct each_options),
	.stop_at_operand = true,
	.max_args = -1,
};
