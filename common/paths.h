/*
 * Where things are: lexical path arithmetic, the socket and state folders of contract section 4,
 * projects, and Unix sockets whose path may be longer than sun_path. No function here keeps a
 * relative path.
 */
#ifndef COMMON_PATHS_H
#define COMMON_PATHS_H

#include <stdbool.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/slice.h"

/*
 * Appends `path` made absolute against `base` (absolute) and lexically normal: no "." or "..", no
 * doubled or trailing "/". Symbolic links are not looked at.
 */
void path_normal(struct buf *b, struct slice base, struct slice path);
/* Makes every missing folder of an absolute path, mode 0777 less umask for parents and `mode` for
 * the last, each durable; 0 or -errno. */
int path_mkdirs(const char *path, unsigned mode);

/* The project of a folder: nearest parent that holds .batchd, .git, .jj or .hg; NULL where there is
 * none. Malloced. */
char *path_project(const char *cwd);
/* The todo list of a folder: its project's path, "default" where it has none. What a list's name
 * cannot hold (control characters, a path that is not UTF-8) is \xNN in it. Malloced. */
char *path_todo_list(const char *cwd);

/* $BATCHD_SOCKET, else $XDG_RUNTIME_DIR/batchd/socket, else /tmp/batchd-UID/socket. Malloced. */
char *path_default_socket(void);
/* $XDG_STATE_HOME/batchd, else $HOME/.local/state/batchd. Malloced; NULL with e filled when there
 * is no home. */
char *path_default_state(struct err *e);
/* $XDG_CONFIG_HOME/batchd/batchd.conf, else $HOME/.config/...; NULL when there is no home. */
char *path_default_config(void);
/*
 * Where a program of ours is: in one of the places (NULL-terminated, relative to the folder of the
 * program `beside`, NULL: our own), at `installed` (NULL: unknown), or by the last part of the
 * first place's name in PATH. Absolute and malloced; NULL: nowhere.
 */
char *path_find_program(const char *beside, const char *const *places, const char *installed);
/* The program of that name in the absolute folders of PATH: malloced; NULL: there is none. */
char *path_in_path(const char *name);
/* batchd-spawner's, beside batchd. */
extern const char *const path_spawner_places[];
/*
 * Makes the folder that holds `socket` if it is missing (0700), and refuses one that is another's
 * or open to others in any way. 0, or 1 with e.
 */
int path_check_private(const char *socket, struct err *e);

/* Connected stream or seqpacket socket (SOCK_STREAM, SOCK_SEQPACKET), non-blocking if flags say so;
 * or -errno. */
int unix_connect(const char *path, int type);
/* The same for at most `ms` (negative: for ever), where more wait there than the listener takes:
 * then -ETIMEDOUT. */
int unix_connect_within(const char *path, int type, int64_t ms);
/* An inotify fd that becomes readable when something is put into the socket's folder, or -errno. */
int unix_watch(const char *path);
/* The same for what is taken from there or put in another's place, and for the folder itself. */
int unix_watch_gone(const char *path);
/* The absolute path a socket is bound to, malloced; NULL: it has none. */
char *unix_bound_path(int fd);
/* Is somebody's open socket bound there? Told without connecting, which would wake a service that
 * is started by connections. */
bool unix_is_bound(const char *path);
/*
 * Listening socket bound beside `path` and renamed over it, mode 0600, so nobody ever meets a bound
 * but deaf or open socket. Or -errno; -ENOTSOCK: what is there is no socket, and stays.
 */
int unix_listen(const char *path, int type, int backlog);

#endif
