/*
 * Environments: the file of a run ("NAME=VALUE\0" strings) is read once into memory of its own and
 * kept until it is dropped or pushed out by others (it is then read again when asked for); the
 * environment of an op is that with a few strings laid over it.
 */
#ifndef DAEMON_SPAWNER_ENV_H
#define DAEMON_SPAWNER_ENV_H

#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/slice.h"

#define ENV_STRINGS_MAX 65536u

/*
 * The environment `id` from `path` with `extra` ("NAME=VALUE\0", or "NAME\0" to remove) laid over
 * it; an empty path is an empty base. *ret is NULL-terminated and valid until the next call. 0, or
 * -errno: the file cannot be read, or -E2BIG.
 */
int env_make(uint64_t id, struct slice path, struct slice extra, char ***ret) _must_check_;
void env_drop(uint64_t id);
void env_drop_all(void);
/* Value of the name in a vector, or NULL. */
const char *env_value(char *const *env, const char *name);

#endif
