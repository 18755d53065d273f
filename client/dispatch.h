/*
 * From argv to a verb's function: global options, the verb's row, its options and operands, help.
 */
#ifndef CLIENT_DISPATCH_H
#define CLIENT_DISPATCH_H

#include "client/verbs.h"
#include "common/buf.h"

/* All of batchctl; the exit status. */
int client_main(int argc, char **argv);
/* The socket as an absolute path, the default where none is named; malloced. */
char *client_socket(const char *named);
/* The row of that name or alias, NULL for none. */
const struct verb *verb_find(const struct verb *const *table, const char *name);
/* Appends the overview, or the help of one verb; `of`: "batchctl", or "batchctl todo". */
void help_overview(struct buf *b);
void help_verb(struct buf *b, const char *of, const struct verb *v, const struct verb *parent);

extern const struct opt global_opts[];

#endif
