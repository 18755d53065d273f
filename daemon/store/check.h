/*
 * A look at a state folder that nobody uses, for `batchd --check-state`: would a batchd start with
 * it? Reads only.
 */
#ifndef DAEMON_STORE_CHECK_H
#define DAEMON_STORE_CHECK_H

#include <stdint.h>

#include "common/err.h"

/* 0: yes, also where there is nothing yet. STORE_LOCKED: in use, so not looked into. 1 with e:
 * what store_open would refuse, or a database that is damaged. *ret_id with 0: store_id(); 0: there
 * is no database. */
int store_check(const char *state_dir, uint64_t *ret_id, struct err *e) _must_check_;

#endif
