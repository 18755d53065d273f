/*
 * batchd.conf: `name = value` lines, # comments. Every setting is a row of the table in config.c;
 * unknown names and bad values are errors with their line number. Source: contract section 4.
 */
#ifndef DAEMON_CONFIG_H
#define DAEMON_CONFIG_H

#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"

struct config_group {
	char *name;
	int64_t slots;
};

struct config {
	int64_t slots;	    /* of the default pool; 0: max(8, cores + 2) */
	int64_t output_cap; /* bytes an op, 0: none */
	int64_t grace_ms;   /* TERM to KILL */
	int64_t drain_ms;   /* how long `daemon stop --drain` waits, 0: for ever */
	int64_t keep_output_ms, keep_output_bytes, keep_rows_ms;
	int64_t max_frame; /* bytes */
	char *shell;	   /* for bash ops without `shell` */
	int log_level;	   /* enum log_level */
	struct config_group *groups;
	size_t n_groups;
};

void config_init(struct config *c); /* the defaults */
void config_done(struct config *c);
/* Reads path over what c holds; a missing file is fine. Errors: "PATH:LINE: ...". */
int config_read(struct config *c, const char *path, struct err *e) _must_check_;

#endif
