#include "daemon/spawner/table.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/timeutil.h"

#define TABLE_BUCKETS (2 * SW_CAPACITY)
#define TABLE_BYTES (sizeof(struct table_file))

static struct table_file *file;
static int file_fd = -1;
static char boot_id[40];
static uint32_t capacity = SW_CAPACITY, used, end;
/* Chains of slots by token, and of free slots below `end`; slot + 1, 0 ends a chain. */
static uint32_t buckets[TABLE_BUCKETS], chain[SW_CAPACITY], free_slots;

static uint32_t *table_bucket(uint64_t token)
{
	uint64_t h = token * UINT64_C(0x9e3779b97f4a7c15);
	return &buckets[h >> 49 & (TABLE_BUCKETS - 1)];
}

static void table_link(uint32_t slot)
{
	uint32_t *head = table_bucket(file->records[slot].token);
	chain[slot] = *head;
	*head = slot + 1;
	used++;
}

/* Builds the index over what the file holds. */
static void table_index(void)
{
	memset(buckets, 0, sizeof(buckets));
	used = end = free_slots = 0;
	for (uint32_t i = 0; i < SW_CAPACITY; i++)
		if (file->records[i].state != SW_FREE)
			end = i + 1;
	for (uint32_t i = end; i-- > 0;) {
		if (file->records[i].state != SW_FREE) {
			table_link(i);
			continue;
		}
		chain[i] = free_slots;
		free_slots = i + 1;
	}
}

static int table_read_boot_id(void)
{
	_cleanup_close_ int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t n = read(fd, boot_id, sizeof(boot_id) - 1);
	if (n < 0)
		return -errno;
	boot_id[strcspn(boot_id, "\n")] = '\0';
	return 0;
}

int table_open(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	int r = table_take(fd);
	if (r == 0)
		(void)TAKE_FD(fd);
	return r;
}

int table_take(int fd)
{
	int r = table_read_boot_id();
	if (r < 0)
		return r;
	r = posix_fallocate(fd, 0, TABLE_BYTES);
	if (r != 0)
		return -r;
	file = mmap(NULL, TABLE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (file == MAP_FAILED)
		return -errno;
	file_fd = fd;
	if (file->magic != TABLE_MAGIC || file->layout != TABLE_LAYOUT ||
	    file->capacity != SW_CAPACITY || memcmp(file->boot_id, boot_id, sizeof(boot_id)) != 0)
		table_reset(0);
	else
		table_index();
	return 0;
}

/* Who finds it before it is whole finds no table in it. */
static int table_copy(int fd)
{
	int r = posix_fallocate(fd, 0, TABLE_BYTES);
	if (r != 0)
		return -r;
	struct table_file *to = mmap(NULL, TABLE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (to == MAP_FAILED)
		return -errno;
	memcpy(&to->layout, &file->layout, TABLE_BYTES - offsetof(struct table_file, layout));
	__atomic_store_n(&to->magic, TABLE_MAGIC, __ATOMIC_RELEASE);
	munmap(file, TABLE_BYTES);
	file = to;
	return 0;
}

int table_move(const char *path)
{
	_cleanup_close_ int fd =
		open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	int r = table_copy(fd);
	if (r < 0) {
		unlink(path);
		return r;
	}
	close(file_fd);
	file_fd = TAKE_FD(fd);
	return 0;
}

void table_reset(uint64_t store_id)
{
	file->magic = 0;
	for (uint32_t i = 0; i < SW_CAPACITY; i++)
		if (file->records[i].state != SW_FREE)
			file->records[i].state = SW_FREE;
	file->layout = TABLE_LAYOUT;
	file->capacity = SW_CAPACITY;
	file->store_id = store_id;
	if (getrandom(&file->table_id, sizeof(file->table_id), 0) != sizeof(file->table_id))
		file->table_id = (uint64_t)time_mono_ns();
	memcpy(file->boot_id, boot_id, sizeof(boot_id));
	__atomic_store_n(&file->magic, TABLE_MAGIC, __ATOMIC_RELEASE);
	table_index();
}

void table_close(void)
{
	if (used == 0 && ftruncate(file_fd, TABLE_HEAD_BYTES) < 0)
		return; /* it stays as large as it is */
}

int table_fd(void)
{
	return file_fd;
}

uint64_t table_store_id(void)
{
	return file->store_id;
}

uint64_t table_id(void)
{
	return file->table_id;
}

const char *table_boot_id(void)
{
	return boot_id;
}

void table_set_capacity(uint32_t limit)
{
	capacity = MIN2(limit, SW_CAPACITY);
}

uint32_t table_capacity(void)
{
	return capacity;
}

uint32_t table_used(void)
{
	return used;
}

uint32_t table_end(void)
{
	return end;
}

struct record *table_at(uint32_t slot)
{
	return &file->records[slot];
}

uint32_t table_find(uint64_t token)
{
	for (uint32_t i = *table_bucket(token); i != 0; i = chain[i - 1])
		if (file->records[i - 1].token == token)
			return i - 1;
	return TABLE_NONE;
}

uint32_t table_add(uint64_t token)
{
	uint32_t slot;
	if (used >= capacity)
		return TABLE_NONE;
	if (free_slots != 0) {
		slot = free_slots - 1;
		free_slots = chain[slot];
	} else {
		slot = end++;
	}
	file->records[slot] = (struct record){ .token = token };
	table_link(slot);
	return slot;
}

void table_remove(uint32_t slot)
{
	struct record *r = &file->records[slot];
	table_set_state(r, SW_FREE);
	uint32_t *at = table_bucket(r->token);
	while (*at != slot + 1)
		at = &chain[*at - 1];
	*at = chain[slot];
	chain[slot] = free_slots;
	free_slots = slot + 1;
	used--;
}

void table_set_state(struct record *r, enum sw_state state)
{
	__atomic_store_n(&r->state, (uint32_t)state, __ATOMIC_RELEASE);
}

void table_set_shell(int32_t pid, int64_t started_boot_ns)
{
	file->shell_boot_ns = started_boot_ns;
	file->shell = pid;
}

int32_t table_shell(int64_t *ret_started_boot_ns)
{
	*ret_started_boot_ns = file->shell_boot_ns;
	return file->shell;
}

uint64_t table_offset(const void *in_record)
{
	return (uint64_t)((const char *)in_record - (const char *)file);
}
