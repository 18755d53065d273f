#include "daemon/exec/exec_spawner_pipes.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"

/* The read end, or -errno. */
static int pipe_at_its_end(void)
{
	int p[2];
	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	close(p[1]);
	return p[0];
}

/* As many as the attempt was started with. 0, or -errno with none. */
static int pipes_get(struct output *output, uint64_t token, unsigned n, int ret_fds[3])
{
	int fds[3];
	int r = output_dup(output, token, fds);
	for (unsigned i = 0; i < n && r >= 0; i++)
		if (fds[i] < 0)
			r = fds[i] = pipe_at_its_end();
	if (r < 0) {
		for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
			cleanup_closep(&fds[i]);
		return r;
	}
	memcpy(ret_fds, fds, sizeof(fds));
	return 0;
}

void spawner_pipes_give(struct spawner_link *l, struct output *output, const struct sw_report *r)
{
	struct sw_pipes f = { .head = { sizeof(f), SW_PIPES, SW_VERSION, r->head.token },
			      .n_fds = r->flags & SW_START_PTY ? 1 : 2 };
	int fds[3];
	if (!spawner_link_can(l, SW_CAN_KEEP))
		return;
	int e = pipes_get(output, r->head.token, f.n_fds, fds);
	if (e < 0) {
		log_warn("the new spawner cannot be given the pipes of an op: %s", strerror(-e));
		return;
	}
	memcpy(spawner_link_add(l, sizeof(f), fds, f.n_fds, f.n_fds), &f, sizeof(f));
	if (fds[2] >= 0 && !spawner_stage_give(l, r->head.token, fds[2]))
		output_stage_kept(output, r->head.token, false);
}

bool spawner_stage_give(struct spawner_link *l, uint64_t token, int fd)
{
	struct sw_head f = { sizeof(f), SW_STAGE, SW_VERSION, token };
	if (!spawner_link_is_up(l) || !spawner_link_can(l, SW_CAN_STAGE)) {
		close(fd);
		return false;
	}
	memcpy(spawner_link_add(l, sizeof(f), &fd, 1, 1), &f, sizeof(f));
	return true;
}
