/*
 * Preloaded into a program whose allocations are to fail: those of `bytes` and more, from the `nth`
 * on or just that one, as a file (FAULT_MEMORY) says that whoever tests may write to at any time.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct orders {
	_Atomic uint64_t bytes; /* 0: none fail */
	_Atomic uint64_t nth;
	_Atomic uint64_t once;
	_Atomic uint64_t failed; /* so far */
};

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);

static struct orders *orders;

__attribute__((constructor)) static void orders_open(void)
{
	const char *path = getenv("FAULT_MEMORY");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	if (fd < 0)
		return;
	void *p = mmap(NULL, sizeof(*orders), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	orders = p == MAP_FAILED ? NULL : p;
}

static int fails(size_t size)
{
	uint64_t bytes = orders ? orders->bytes : 0;
	if (bytes == 0 || size < bytes || (orders->nth > 1 && --orders->nth >= 1))
		return 0;
	if (orders->once)
		orders->bytes = 0;
	orders->failed++;
	errno = ENOMEM;
	return 1;
}

void *malloc(size_t size)
{
	return fails(size) ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	size_t bytes;
	if (__builtin_mul_overflow(n, size, &bytes) || fails(bytes))
		return NULL;
	return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
	return fails(size) ? NULL : __libc_realloc(p, size);
}
