/* What load.c needs of struct store; inside daemon/store only. */
#ifndef DAEMON_STORE_STORE_IMPL_H
#define DAEMON_STORE_STORE_IMPL_H

struct store;

/* Of the database. */
const char *store_path(const struct store *s);

#endif
