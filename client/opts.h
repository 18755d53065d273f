/*
 * Command-line options by table. A verb names the options it knows as rows; the parser writes their
 * values into the verb's own options struct (zeroed before) and permutes operands to the end of the
 * line. Help and completion read the same rows.
 *
 * Long options may be written --name VALUE or --name=VALUE, a unique prefix does, or the name
 * without its inner dashes (--dryrun); letters may be bundled (-wo, -j4), a word of digits (-9) is
 * the value of the option that has `digits`. A lone "--" ends the options, a lone "-" is an
 * operand. Strings are borrowed from argv.
 */
#ifndef CLIENT_OPTS_H
#define CLIENT_OPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"

enum opt_type {
	OPT_FLAG,     /* bool, set to true */
	OPT_STR,      /* const char * */
	OPT_INT,      /* struct opt_int, in [min, max] */
	OPT_DURATION, /* struct opt_int, milliseconds */
	OPT_ENUM,     /* const char *, one of `names` */
	OPT_STRV,     /* struct strv, one more each time */
};

struct opt_int {
	int64_t v;
	bool set;
};

/* Borrowed strings in an array of our own. */
struct strv {
	const char **v;
	size_t n;
};

void strv_add(struct strv *s, const char *one);
void strv_done(struct strv *s);

struct opt {
	const char *name; /* long name without dashes; NULL ends the table */
	char letter;	  /* 0: none */
	enum opt_type type;
	uint32_t offset; /* in the verb's options struct */
	const char *arg; /* what its value is called, NULL for flags */
	const char *help;
	const char *const *names; /* OPT_ENUM, NULL-terminated */
	int64_t min, max;	  /* OPT_INT; both 0: any. OPT_STRV: min 1: no blank ones */
	bool digits;		  /* a word -9 gives it the value 9, as of kill and tail */
	const char *without;	  /* OPT_INT: its value where no digits follow; NULL: they must */
};

#define OPT_END                                                                                    \
	{                                                                                          \
		.name = NULL                                                                       \
	}

/* Options of one owner: where their rows are and where their values go. */
struct opt_group {
	const struct opt *rows;
	void *values;
};

#define OPT_GROUPS_MAX 4

struct opts {
	struct opt_group groups[OPT_GROUPS_MAX];
	int n_groups;
	bool stop_at_operand; /* everything after the first operand is operands: `run ls -l` */
	const char *command;  /* "batchctl submit", for messages */
};

/*
 * Takes options off argv[at..argc) until the first operand (returns its index; argc if none, or the
 * index after "--" with *ret_ended set). -1 with e filled when an option is wrong.
 */
int opts_take(const struct opts *o, int argc, char **argv, int at, bool *ret_ended, struct err *e);
/*
 * The whole rest of the line: options into their groups, operands into `operands`. 0, or 1 with e
 * filled.
 */
int opts_parse(const struct opts *o, int argc, char **argv, int at, struct strv *operands,
	       struct err *e) _must_check_;
/* Appends the help lines of a table. */
void opts_help(struct buf *b, const struct opt *rows);
/* Frees what rows of type OPT_STRV have gathered. */
void opts_done(const struct opt *rows, void *values);

#endif
