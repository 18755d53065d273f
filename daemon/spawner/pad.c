#include "daemon/spawner/pad.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/timeutil.h"
#include "daemon/spawner/keep.h"

#define PADS 8
/* Whole pages of any machine. Guard, stack and pad lie in this order: an overrun of the stack ends
 * the child instead of writing over our memory. */
#define PAD_PART_BYTES (64u << 10)
#define PAD_BYTES (3 * PAD_PART_BYTES)
#define PAD_STRINGS 512
#define PAD_TEXT_BYTES (32u << 10)
/* A start is told that long after at the latest (report.c has the same). */
#define PAD_LOOK_MS 5
#define PAD_LOOK_MAX_MS 1000

struct pad {
	pid_t tid;  /* 0: the child has let go of our memory */
	bool taken; /* and what became of it is not told */
	uint32_t slot;
	struct child_error error;
	struct child_spec spec;
	struct sw_stage stages[SW_STAGES_MAX];
	unsigned n_strings;
	size_t n_bytes;
	char *strings[PAD_STRINGS];
	char texts[PAD_TEXT_BYTES];
};
static_assert(sizeof(struct pad) <= PAD_PART_BYTES, "a pad is one part");

static char *memory;
static unsigned n_taken;
static int64_t begun_ms, look_ms; /* last start, next look */

static struct pad *pad_at(unsigned i)
{
	return (struct pad *)(memory + i * PAD_BYTES + 2 * PAD_PART_BYTES);
}

int pad_init(void)
{
	memory = mmap(NULL, PADS * PAD_BYTES, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return -errno;
	for (unsigned i = 0; i < PADS; i++)
		if (mprotect(memory + i * PAD_BYTES, PAD_PART_BYTES, PROT_NONE) < 0)
			return -errno;
	return 0;
}

/* --- a copy of all that a child is started with --- */

/* NULL: no room. */
static char *pad_text(struct pad *p, const char *text)
{
	size_t len = strlen(text) + 1;
	char *copy = p->texts + p->n_bytes;
	if (len > sizeof(p->texts) - p->n_bytes)
		return NULL;
	p->n_bytes += len;
	return memcpy(copy, text, len);
}

/* With the place in front that child.h asks for. NULL: no room. */
static char **pad_vector(struct pad *p, char *const *from)
{
	unsigned first = ++p->n_strings;
	for (; p->n_strings < PAD_STRINGS; from++) {
		char *copy = *from ? pad_text(p, *from) : NULL;
		p->strings[p->n_strings++] = copy;
		if (!*from)
			return p->strings + first;
		if (!copy)
			return NULL;
	}
	return NULL;
}

static bool pad_copy(struct pad *p, const struct child_spec *spec)
{
	p->n_strings = 0;
	p->n_bytes = 0;
	p->spec = *spec;
	memcpy(p->stages, spec->stages, spec->n_stages * sizeof(p->stages[0]));
	p->spec.stages = p->stages;
	return (p->spec.cwd = pad_text(p, spec->cwd)) &&
	       (p->spec.stdin_path = pad_text(p, spec->stdin_fd < 0 ? spec->stdin_path : "")) &&
	       (p->spec.argv = pad_vector(p, spec->argv)) &&
	       (p->spec.env = pad_vector(p, spec->env));
}

/* --- the start --- */

static int pad_main(void *arg)
{
	struct pad *p = arg;
	p->error = child_run(&p->spec);
	_exit(127);
}

static struct pad *pad_free(void)
{
	for (unsigned i = 0; i < PADS; i++)
		if (!pad_at(i)->taken)
			return pad_at(i);
	return NULL;
}

int pad_start(const struct child_spec *spec, uint32_t slot, int32_t *pid)
{
	struct pad *p = PAD_ABLE && child_shares_memory() ? pad_free() : NULL;
	if (!p || !pad_copy(p, spec))
		return PAD_NONE;
	p->slot = slot;
	p->error = (struct child_error){ 0 };
	p->tid = 1;
	/* The stack grows down from where the pad begins. */
	if (clone(pad_main, p, CLONE_VM | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD, p,
		  pid, NULL, &p->tid) < 0)
		return -errno;
	p->taken = true;
	begun_ms = time_mono_ms();
	if (n_taken++ == 0 || look_ms > begun_ms + PAD_LOOK_MS)
		look_ms = begun_ms + PAD_LOOK_MS;
	return PAD_STARTED;
}

/* --- what became of it --- */

/* Still in our memory? */
static bool pad_is_busy(const struct pad *p)
{
	return __atomic_load_n(&p->tid, __ATOMIC_ACQUIRE) != 0;
}

static void pad_tell(struct pad *p)
{
	p->taken = false;
	n_taken--;
	keep_begun(p->slot, p->error);
}

void pad_look(void)
{
	for (unsigned i = 0; i < PADS && n_taken > 0; i++)
		if (pad_at(i)->taken && !pad_is_busy(pad_at(i)))
			pad_tell(pad_at(i));
	if (n_taken == 0)
		return;
	int64_t now = time_mono_ms();
	if (now >= look_ms)
		look_ms = now + MIN2(MAX2(now - begun_ms, PAD_LOOK_MS), PAD_LOOK_MAX_MS);
}

bool pad_any(void)
{
	return n_taken > 0;
}

int64_t pad_deadline_ms(void)
{
	return n_taken > 0 ? look_ms : 0;
}
