/*
 * submit's flags, which add, run and each take as well: one struct, one set of rows, SUBMIT_OPTS.
 */
#ifndef CLIENT_SUBMIT_OPTS_H
#define CLIENT_SUBMIT_OPTS_H

#include "client/verbs.h"

struct submit_options {
	struct reading reading;
	struct strv commands; /* -e */
	struct strv env;      /* -E */
	struct strv after, after_any;
	struct strv notify; /* -N */
	const char *name, *key, *order, *on_failure, *group, *list;
	struct opt_int jobs, timeout, delay, priority;
	bool hold, dry_run, wait, output;
	bool read_stdin, pty; /* run only */
};

extern const char *const opt_orders[], *const opt_failures[];

#define SUBMIT_OPT(name, letter, type, field, ...)                                                 \
	{                                                                                          \
		name, letter, type, offsetof(struct submit_options, field), __VA_ARGS__            \
	}

/* Those that each takes as they are; those in SUBMIT_OPTS have a meaning of their own there. */
#define SUBMIT_SHARED_OPTS                                                                         \
	SUBMIT_OPT("expr", 'e', OPT_STRV, commands, "CMD",                                         \
		   "a bash command; repeat for a parallel message"),                               \
		SUBMIT_OPT("name", 0, OPT_STR, name, "NAME", "call the run so"),                   \
		SUBMIT_OPT("key", 0, OPT_STR, key, "KEY",                                          \
			   "submit once: the same key gives the same run"),                        \
		SUBMIT_OPT("order", 0, OPT_ENUM, order, "ORDER",                                   \
			   "parallel, serial or as-if-serial", opt_orders),                        \
		SUBMIT_OPT("on-failure", 0, OPT_ENUM, on_failure, "WHAT",                          \
			   "stop, continue or kill", opt_failures),                                \
		SUBMIT_OPT("after", 0, OPT_STRV, after, "RUN",                                     \
			   "start when that run has succeeded"),                                   \
		SUBMIT_OPT("after-any", 0, OPT_STRV, after_any, "RUN",                             \
			   "start when that run has ended"),                                       \
		SUBMIT_OPT("hold", 0, OPT_FLAG, hold, NULL,                                        \
			   "start nothing until `batchctl resume`"),                               \
		SUBMIT_OPT("priority", 0, OPT_INT, priority, "N", "higher goes first; default 0",  \
			   NULL, -1000000, 1000000),                                               \
		SUBMIT_OPT("list", 0, OPT_STR, list, "LIST", "todo list its items are in"),        \
		SUBMIT_OPT("wait", 'w', OPT_FLAG, wait, NULL,                                      \
			   "follow to the end, progress on stderr"),                               \
		SUBMIT_OPT("output", 'o', OPT_FLAG, output, NULL,                                  \
			   "with -w: show the ops' output"),                                       \
		READING_OPTS(struct submit_options, reading)

#define SUBMIT_OPTS                                                                                \
	SUBMIT_OPT("jobs", 'j', OPT_INT, jobs, "N", "at most N ops of this run at once", NULL, 1,  \
		   65535),                                                                         \
		SUBMIT_OPT("timeout", 0, OPT_DURATION, timeout, "D",                               \
			   "end the run after that long"),                                         \
		SUBMIT_OPT("delay", 0, OPT_DURATION, delay, "D", "start no sooner than that"),     \
		SUBMIT_OPT("dry-run", 'n', OPT_FLAG, dry_run, NULL,                                \
			   "print the plan, submit nothing"),                                      \
		SUBMIT_OPT("notify", 'N', OPT_STRV, notify, "CMD",                                 \
			   "run CMD when the run has ended, its state in BATCHD_*", NULL, 1),      \
		SUBMIT_OPT("group", 'g', OPT_STR, group, "GROUP", "pool of slots to run in"),      \
		SUBMIT_OPT("env", 'E', OPT_STRV, env, "K=V",                                       \
			   "add to the environment; K alone removes"),                             \
		SUBMIT_SHARED_OPTS

#endif
