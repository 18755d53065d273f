#include "daemon/spawner/env.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define ENV_CACHED 256
#define ENV_FILE_BYTES (64u << 20)

struct env {
	uint64_t id;
	uint64_t used; /* the turn of its last use */
	char *p;       /* mapped, len + 1 bytes, a NUL at the end */
	size_t len;
};

static struct env cache[ENV_CACHED];
static unsigned n_cached;
static uint64_t turn;
static char *vector[ENV_STRINGS_MAX + 1];
static struct slice extras[ENV_STRINGS_MAX];

static void env_unmap(struct env *e)
{
	if (e->p)
		munmap(e->p, e->len + 1);
	*e = cache[--n_cached];
	cache[n_cached] = (struct env){ 0 };
}

void env_drop(uint64_t id)
{
	for (unsigned i = 0; i < n_cached; i++)
		if (cache[i].id == id) {
			env_unmap(&cache[i]);
			return;
		}
}

void env_drop_all(void)
{
	while (n_cached > 0)
		env_unmap(&cache[0]);
}

static int env_read(const char *path, struct env *e)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (st.st_size > ENV_FILE_BYTES)
		return -E2BIG;
	size_t len = (size_t)st.st_size;
	char *p = mmap(NULL, len + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	for (size_t have = 0; have < len;) {
		ssize_t n = pread(fd, p + have, len - have, (off_t)have);
		if (n <= 0) {
			int r = n < 0 ? -errno : -EIO;
			munmap(p, len + 1);
			return r;
		}
		have += (size_t)n;
	}
	e->p = p;
	e->len = len;
	return 0;
}

static struct env *env_cached(uint64_t id)
{
	for (unsigned i = 0; i < n_cached; i++)
		if (cache[i].id == id)
			return &cache[i];
	return NULL;
}

static int env_load(uint64_t id, const char *path, struct env **ret)
{
	struct env *e = env_cached(id), loaded = { .id = id };
	if (!e) {
		int r = env_read(path, &loaded);
		if (r < 0)
			return r;
		if (n_cached == ENV_CACHED) {
			unsigned oldest = 0;
			for (unsigned i = 1; i < ENV_CACHED; i++)
				if (cache[i].used < cache[oldest].used)
					oldest = i;
			env_unmap(&cache[oldest]);
		}
		e = &cache[n_cached++];
		*e = loaded;
	}
	e->used = ++turn;
	*ret = e;
	return 0;
}

static size_t env_name_len(const char *s)
{
	return strcspn(s, "=");
}

/* Is the name set or removed by one of the extras from `from` on? */
static bool env_overlaid(const char *s, unsigned from, unsigned n)
{
	for (unsigned i = from; i < n; i++)
		if (s[0] == extras[i].p[0] && strncmp(s, extras[i].p, extras[i].len) == 0 &&
		    (s[extras[i].len] == '=' || s[extras[i].len] == '\0'))
			return true;
	return false;
}

int env_make(uint64_t id, struct slice path, struct slice extra, char ***ret)
{
	struct env none = { 0 }, *base = &none;
	unsigned n = 0, n_extras = 0;
	if (path.len > 1) {
		int r = env_load(id, path.p, &base);
		if (r < 0)
			return r;
	}
	for (size_t at = 0; at < extra.len; at += strlen(extra.p + at) + 1) {
		if (n_extras == ENV_STRINGS_MAX)
			return -E2BIG;
		extras[n_extras++] = slice_of(extra.p + at, env_name_len(extra.p + at));
	}
	for (size_t at = 0; at < base->len; at += strlen(base->p + at) + 1) {
		if (n == ENV_STRINGS_MAX)
			return -E2BIG;
		if (!env_overlaid(base->p + at, 0, n_extras))
			vector[n++] = base->p + at;
	}
	for (unsigned i = 0; i < n_extras; i++) {
		if (extras[i].p[extras[i].len] != '=' || env_overlaid(extras[i].p, i + 1, n_extras))
			continue;
		if (n == ENV_STRINGS_MAX)
			return -E2BIG;
		vector[n++] = (char *)extras[i].p;
	}
	vector[n] = NULL;
	*ret = vector;
	return 0;
}

const char *env_value(char *const *env, const char *name)
{
	size_t len = strlen(name);
	for (; *env; env++)
		if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
			return *env + len + 1;
	return NULL;
}
