/*
 * Which paths lie on file systems that may hang: network and user-space ones. Judged by mount point
 * from /proc/self/mountinfo and never by touching the path, since statfs(2) on a dead server hangs
 * as well. Read again only when the kernel says it changed. A symbolic link into such a file system
 * is not seen.
 */
#ifndef DAEMON_SPAWNER_MOUNTS_H
#define DAEMON_SPAWNER_MOUNTS_H

#include <stdbool.h>

/* To be watched for EPOLLPRI: then call mounts_changed. -errno: no mountinfo, every path counts as
 * remote. */
int mounts_open(void);
void mounts_changed(void);
/* Absolute path. */
bool mounts_is_remote(const char *path);
/* Any folder of a colon-separated list. */
bool mounts_any_remote(const char *search_path);

#endif
