/*
 * Linked into programs that AddressSanitizer watches, and into no others: where the search for
 * leaks at a program's end begins.
 *
 * By itself it reads all of every module's data. 4 MB (gcc) or 9 MB (clang) of that are tables of
 * the sanitizer's own runtime which hardly any program ever writes to, and reading them costs more
 * than all else a short program does. So it is told to leave the modules' data alone (use_globals)
 * and given what of them leads to the heap: pages that were ever written to (/proc/PID/pagemap) and
 * have a word that may be such a pointer.
 */
#include <fcntl.h>
#include <link.h>
#include <sanitizer/lsan_interface.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

/* gcc has no <sanitizer/allocator_interface.h>. */
int __sanitizer_get_ownership(const volatile void *p);

#define PAGE 4096
#define HEAP_BITS 44
#define PAGES_AT_ONCE 512
#define GAP_PAGES 64

/* For the linker: `-u leak_roots` takes this file in. */
extern const int leak_roots;
const int leak_roots = 1;

const char *__lsan_default_options(void);
const char *__lsan_default_options(void)
{
	return "use_globals=0";
}

/* A region in the making. Each costs a reading of /proc/self/maps, so it has gaps up to GAP_PAGES.
 */
struct region {
	uintptr_t begin, end; /* 0, 0: none yet */
};

static void region_end(struct region *r)
{
	if (r->end > r->begin)
		__lsan_register_root_region((const void *)r->begin, r->end - r->begin);
	*r = (struct region){ 0 };
}

static void region_page(struct region *r, uintptr_t at, uintptr_t end)
{
	if (r->end == 0 || at - r->end > (uintptr_t)GAP_PAGES * PAGE) {
		region_end(r);
		r->begin = at;
	}
	r->end = at + PAGE < end ? at + PAGE : end;
}

/* Whether a page is in memory or swapped out: /proc/PID/pagemap, one number a page. */
static bool was_touched(uint64_t page)
{
	return page >> 62 != 0;
}

/* The upper bits of a pointer to a small block are `heap`; of a large one only its begin is known.
 */
__attribute__((no_sanitize("address"))) static bool may_lead(const uintptr_t *from, uintptr_t end,
							     uintptr_t heap)
{
	for (; (uintptr_t)from < end; from++)
		if (*from >> HEAP_BITS == heap ||
		    (*from >> HEAP_BITS != 0 && __sanitizer_get_ownership((const void *)*from)))
			return true;
	return false;
}

static void register_page(struct region *r, uintptr_t at, uintptr_t end, uintptr_t heap)
{
	uintptr_t next = at / PAGE * PAGE + PAGE;
	if (may_lead((const uintptr_t *)at, next < end ? next : end, heap))
		region_page(r, at, end);
}

/* All of it where the kernel does not say which pages were touched. */
static void register_data(int pagemap, uintptr_t begin, uintptr_t end, uintptr_t heap)
{
	uint64_t pages[PAGES_AT_ONCE];
	struct region r = { 0 };
	for (uintptr_t at = begin; at < end;) {
		ssize_t n =
			pread(pagemap, pages, sizeof(pages), (off_t)(at / PAGE * sizeof(pages[0])));
		if (n < (ssize_t)sizeof(pages[0])) {
			__lsan_register_root_region((const void *)at, end - at);
			break;
		}
		for (size_t i = 0; i < (size_t)n / sizeof(pages[0]) && at < end; i++) {
			if (was_touched(pages[i]))
				register_page(&r, at, end, heap);
			at = at / PAGE * PAGE + PAGE;
		}
	}
	region_end(&r);
}

struct look {
	int pagemap;
	uintptr_t heap;
};

static int register_module(struct dl_phdr_info *module, size_t size, void *arg)
{
	const struct look *look = arg;
	(void)size;
	for (int i = 0; i < module->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &module->dlpi_phdr[i];
		uintptr_t begin = module->dlpi_addr + p->p_vaddr, mask = sizeof(begin) - 1;
		if (p->p_type == PT_LOAD && (p->p_flags & PF_W))
			register_data(look->pagemap, (begin + mask) & ~mask,
				      (begin + p->p_memsz) & ~mask, look->heap);
	}
	return 0;
}

/* Before the search, which is the last thing that a program does. */
__attribute__((destructor)) static void register_all(void)
{
	void *small = malloc(1);
	struct look look = { open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC),
			     (uintptr_t)small >> HEAP_BITS };
	free(small);
	dl_iterate_phdr(register_module, &look);
	if (look.pagemap >= 0)
		close(look.pagemap);
}
