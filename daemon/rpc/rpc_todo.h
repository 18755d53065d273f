/*
 * Which list a caller means.
 */
#ifndef DAEMON_RPC_RPC_TODO_H
#define DAEMON_RPC_RPC_TODO_H

#include <stdbool.h>

#include "common/slice.h"

struct rpc_call;

/* False: what is stored cannot be read now, and that has been answered (E_STORAGE). */
bool rpc_todos_ready(struct rpc_call *call);
/* The list of a folder: its project's path, else "default". Malloced. */
char *rpc_todo_list_of_cwd(struct slice cwd);
/* `list`, else that of `cwd`, else that of rpc.hello's cwd; malloced. NULL: it has been answered
 * why not (E_PARAMS, E_STORAGE). */
char *rpc_todo_list_name(struct rpc_call *call, struct slice list, struct slice cwd);

#endif
