/*
 * The daemon put together: store, engine, executors and rpc around one libevent base, and the turn
 * that drives them. main.c parses options and daemonises; here is what runs.
 */
#ifndef DAEMON_LOOP_H
#define DAEMON_LOOP_H

#include <stdbool.h>

#include "common/err.h"
#include "daemon/config.h"

struct batchd;

struct batchd_options {
	const char *socket;	    /* absolute; clients connect there */
	const char *spawner_socket; /* absolute */
	const char *state_dir;	    /* absolute */
	const char *config;	    /* absolute; NULL: there is no place for one */
	bool config_must_exist;
	const char *spawner_program; /* absolute, or a name for PATH */
	const char *batchctl;	     /* absolute, or NULL: nowhere */
	int listen_fd;		     /* by socket activation, else -1 */
	bool systemd; /* activated by it: the spawner is a service of its own, and a batchd that was
			 started by hand makes room */
};

/* batchd_open: another batchd holds the state folder (ret_holder: its pid or 0). */
#define BATCHD_RUNNING 2

/* Opens the store, finds or starts the spawner, recovers, listens. 0, BATCHD_RUNNING, or 1 with e.
 * Takes what config holds, unless it fails. */
int batchd_open(const struct batchd_options *options, struct config *config, struct batchd **ret,
		struct err *e) _must_check_;
/* Runs until told to stop: 0, or 1 when it cannot go on. Ops are left to the spawner. */
int batchd_run(struct batchd *b) _must_check_;
struct batchd *batchd_close(struct batchd *b);

#endif
