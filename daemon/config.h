/*
 * batchd.conf: `name = value` lines, # comments. Every setting is a row of the table in config.c;
 * unknown names, bad values and what is said twice are errors with their line number. Source:
 * contract section 4. What the settings mean, and when a changed one takes effect, is in
 * client/man/batchd.conf.5.scd.
 */
#ifndef DAEMON_CONFIG_H
#define DAEMON_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"

struct config_group {
	const char *name; /* owned */
	int64_t slots;
};

struct config {
	int64_t slots;	    /* of the default pool; 0: not said */
	int64_t output_cap; /* bytes an op, 0: none */
	int64_t grace_ms;   /* TERM to KILL */
	int64_t drain_ms;   /* how long `daemon stop --drain` waits, 0: for ever */
	int64_t keep_output_ms, keep_output_bytes, keep_rows_ms; /* 0: for ever, no bound */
	int64_t max_frame;					 /* bytes */
	char *shell;						 /* for bash ops without `shell` */
	char *on_end;  /* bash command for each run that has ended; NULL: none */
	int log_level; /* enum log_level */
	struct config_group *groups;
	size_t n_groups;
};

void config_init(struct config *c); /* the defaults */
void config_done(struct config *c);
/* Reads path over the defaults that c holds; 0, or 1 with e ("PATH:LINE: ..."). A missing file is
 * fine unless it must be there. */
int config_read(struct config *c, const char *path, bool must_exist, struct err *e) _must_check_;

/* Settings that differ: name, before and after of each as strings a file could hold; "" where a
 * file would say nothing. */
struct config_diff {
	char **texts; /* three a setting */
	size_t n;     /* settings */
};
#define CONFIG_DIFF_INIT                                                                           \
	{                                                                                          \
		.texts = NULL                                                                      \
	}
void config_diff(const struct config *before, const struct config *after, struct config_diff *ret);
void config_diff_done(struct config_diff *d);

#endif
