/* Any bytes as batchd.conf: refused with the line's number, or settings that lie within their
 * bounds. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"
#include "daemon/config.h"
#include "proto/limits.h"
#include "tests/fuzz/fuzz.h"

static void check_config(const struct config *c)
{
	HOLDS(c->slots >= 0 && c->output_cap >= 0 && c->grace_ms >= 0 && c->drain_ms >= 0);
	HOLDS(c->keep_output_ms >= 0 && c->keep_output_bytes >= 0 && c->keep_rows_ms >= 0);
	HOLDS(c->max_frame >= 4096 && c->max_frame <= LIMIT_FRAME_BYTES);
	HOLDS(c->shell[0] != '\0');
	HOLDS(c->log_level >= LOG_ERROR && c->log_level <= LOG_DEBUG);
	for (size_t i = 0; i < c->n_groups; i++)
		HOLDS(c->groups[i].name[0] != '\0' && c->groups[i].slots >= 1 &&
		      c->groups[i].slots <= LIMIT_JOBS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	char path[64];
	struct config c;
	struct err e = ERR_INIT;
	if (fd < 0)
		fd = memfd_create("fuzz", MFD_CLOEXEC);
	HOLDS(ftruncate(fd, 0) == 0 && fd_pwrite_all(fd, data, size, 0) == 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	config_init(&c);
	if (config_read(&c, path, true, &e) == 0)
		check_config(&c);
	else
		HOLDS(strncmp(e.text, path, strlen(path)) == 0);
	config_done(&c);
	return 0;
}
