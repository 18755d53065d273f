/*
 * batchctl's verbs: each file verb_NAME.c defines its row `cmd_NAME` and the function it names;
 * verbs.c lists the rows in the order help shows them. main() takes the global options, finds the
 * row, parses the verb's options into a zeroed struct of options_size bytes, and calls run with it;
 * what it returns is the exit status (contract section 4: the EXIT_* below).
 *
 * A verb with `subs` (todo, group, daemon) dispatches on its first operand; the first sub is the
 * default. Subs share the parent's options struct and also accept the parent's options.
 */
#ifndef CLIENT_VERBS_H
#define CLIENT_VERBS_H

#include <stdbool.h>
#include <stddef.h>

#include "client/opts.h"
#include "common/err.h"

enum exit_status {
	EXIT_OK = 0,
	EXIT_RUN = 1,	      /* a run did not succeed; or batchd failed for reasons of its own */
	EXIT_USAGE = 2,	      /* usage, unknown id, or a batch refused */
	EXIT_TIMED_OUT = 124, /* the waiting itself timed out */
	EXIT_NO_DAEMON = 125,
	EXIT_NOT_EXECUTABLE = 126,
	EXIT_NOT_FOUND = 127,
	EXIT_SIGNAL = 128, /* + its number */
};

struct conn;

/* What every verb is given. */
struct ctx {
	const char *socket; /* absolute path */
	const char *dir;    /* -C: where we went first; NULL: nowhere */
	const char *color;  /* "auto", "always", "never" or NULL: auto */
	bool json, quiet, verbose;
	bool color_out, color_err; /* decided: may stdout, stderr be coloured */
	const char *command;	   /* "batchctl todo add", for messages */
	const char *const *argv;   /* operands */
	int argc;
	struct conn *conn; /* ctx_connect; NULL before */
};

struct verb {
	const char *name;
	const char *alias; /* or NULL */
	int (*run)(struct ctx *c, void *options);
	const char *usage; /* operands: "[FILE|-]" */
	const char *help;  /* one line */
	const char
		*more; /* paragraphs and examples for --help, lines ready to print; may be NULL */
	const struct opt *options;
	size_t options_size;
	const struct verb *const *subs; /* NULL-terminated */
	bool stop_at_operand;
	int min_args, max_args; /* operands; max -1: any */
};

extern const struct verb *const verbs[]; /* NULL-terminated */

/* Prints "batchctl VERB: text" on stderr, one line, and returns `status`. */
int fail(const struct ctx *c, int status, const char *fmt, ...) _printf_(3, 4);
/* The same for an err: callers' faults give EXIT_USAGE, ours EXIT_RUN. */
int fail_err(const struct ctx *c, const struct err *e);

/* How batch files are read: submit, check, parse and fmt share these rows. */
struct reading {
	struct strv define; /* NAME=TEXT, NAME=@FILE */
	const char *block;  /* "N[,M]" or "all" */
	bool skip_unknown, allow_template;
};

#define READING_OPTS(type, member)                                                                 \
	{ "define",    0,                                                                          \
	  OPT_STRV,    offsetof(type, member.define),                                              \
	  "NAME=TEXT", "bind a name of the notation; =@FILE takes a file's bytes" },               \
		{ "block",     0,                                                                  \
		  OPT_STR,     offsetof(type, member.block),                                       \
		  "N[,M]|all", "which blocks of a markdown document" },                            \
		{ "skip-unknown", 0,                                                               \
		  OPT_FLAG,	  offsetof(type, member.skip_unknown),                             \
		  NULL,		  "skip lines and names that are no ops; list them" },             \
	{                                                                                          \
		"allow-template", 0, OPT_FLAG, offsetof(type, member.allow_template), NULL,        \
			"leave ${x} in backticks to the shell"                                     \
	}

/* Of parse and fmt: nothing but how to read. One operand: FILE or "-" (default). */
struct parse_options {
	struct reading reading;
};

/* Implemented beside the notation (verb_parse.c); their rows are in verbs.c. */
int verb_parse(struct ctx *c, void *options); /* struct parse_options */
int verb_fmt(struct ctx *c, void *options);   /* struct parse_options */

#endif
