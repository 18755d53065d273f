/*
 * System calls past the C library: what they return is the kernel's, -errno where they failed, and
 * errno stays as it is. For a child that borrows our memory while we go on (pad.h): errno is one of
 * the things it borrows.
 */
#ifndef DAEMON_SPAWNER_RAWCALL_H
#define DAEMON_SPAWNER_RAWCALL_H

#include <errno.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__) && defined(__LP64__)
#define RAWCALL_LEAVES_ERRNO true
static inline int rawcall_of(long nr, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long r;
	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return (int)r;
}
#elif defined(__aarch64__)
#define RAWCALL_LEAVES_ERRNO true
static inline int rawcall_of(long nr, long a, long b, long c, long d)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return (int)x0;
}
#else
#define RAWCALL_LEAVES_ERRNO false
static inline int rawcall_of(long nr, long a, long b, long c, long d)
{
	long r = syscall(nr, a, b, c, d);
	return r < 0 ? -errno : (int)r;
}
#endif

/* Up to four arguments, pointers or numbers. */
#define rawcall(nr, ...) RAWCALL_FOUR(nr, __VA_ARGS__, 0, 0, 0, 0)
#define RAWCALL_FOUR(nr, a, b, c, d, ...)                                                          \
	rawcall_of((nr), (long)(a), (long)(b), (long)(c), (long)(d))

#endif
