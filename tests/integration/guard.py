#!/usr/bin/python3
"""
Runs a test and leaves no process and no folder of it behind, however it ends: guard.py PROGRAM [ARG...]

What a test starts has sessions of its own, and would outlive a test program that is killed (meson's timeout, ^C, a crash). So two
processes stand over it: the one that was started in its place, and below that a keeper in a process group of its own, which a kill
of the group does not reach. Both are subreapers, so that all the test ever started descends from them. When the test has ended, or
either of the two, the one that is left ends what there is, by pid, and removes the folder that the test had for its TMPDIR. The exit
status is the test's.
"""
import contextlib
import ctypes
import os
import resource
import shutil
import signal
import sys
import tempfile
import time

GUARDED = 'BATCHD_TEST_GUARDED'     # in the environment of what runs so

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
END_SECONDS = 10    # for processes that were killed to be gone
TMP_LENGTH_MAX = 28     # of TMPDIR: a socket's path, some folders below it, holds 107 bytes


def prctl(option, value):
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def become_subreaper():
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def proc_stat(pid):
    """(state, ppid, start time) of a process, or None."""
    try:
        with open('/proc/%d/stat' % pid, 'rb') as f:
            fields = f.read().rpartition(b')')[2].split()
        return fields[0].decode(), int(fields[1]), int(fields[19])
    except (FileNotFoundError, ProcessLookupError):
        return None


def descendants(root):
    """All descendants of a process, children before their children."""
    parent = {}
    for name in os.listdir('/proc'):
        if name.isdigit():
            st = proc_stat(int(name))
            if st:
                parent.setdefault(st[1], []).append(int(name))
    found, queue = [], [root]
    while queue:
        kids = parent.get(queue.pop(0), [])
        found += kids
        queue += kids
    return found


def reap_all():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def end_all():
    """KILL to all our descendants until there are none; what forked meanwhile comes with the next round."""
    deadline = time.monotonic() + END_SECONDS
    while True:
        reap_all()
        left = descendants(os.getpid())
        if not left or time.monotonic() > deadline:
            return
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
        time.sleep(0.005)


def make_folder():
    """TMPDIR of the test, in the one we have. A test that is somebody else for a while passes through it."""
    base = os.environ.get('TMPDIR', '/tmp')
    folder = tempfile.mkdtemp(prefix='bt-', dir=base if len(base) <= TMP_LENGTH_MAX else '/tmp')
    os.chmod(folder, 0o711)
    return folder


def remove_folder(folder):
    for path, names, _ in os.walk(folder):      # a test may have closed some
        for name in names:
            if not os.path.islink(os.path.join(path, name)):
                with contextlib.suppress(OSError):
                    os.chmod(os.path.join(path, name), 0o700)
    shutil.rmtree(folder, ignore_errors=True)


def wait_for(child):
    """Reaps whatever ends until that child has; its wait status."""
    while True:
        pid, status = os.wait()
        if pid == child:
            return status


def end_as(status):
    """Ends us as that wait status tells."""
    if os.WIFSIGNALED(status):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if os.WTERMSIG(status) != signal.SIGKILL:
            signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status))


def run_test(argv, group):
    os.setpgid(0, group)
    for s in (signal.SIGPIPE, signal.SIGXFSZ):      # Python ignores them
        signal.signal(s, signal.SIG_DFL)
    try:
        os.execvp(argv[0], argv)
    except OSError as e:
        print('guard.py: cannot run %s: %s' % (argv[0], e), file=sys.stderr, flush=True)
        os._exit(127)


def keep(argv, group, starter, folder):
    """The keeper. TERM, which also comes when the starter is gone, ends it and all."""
    def end(status):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        end_all()
        remove_folder(folder)
        end_as(status)

    def told_to_end(*_):    # whatever we are at, also when the test has just ended
        end(signal.SIGTERM)
    os.setpgid(0, 0)
    become_subreaper()
    signal.signal(signal.SIGTERM, told_to_end)
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != starter:
        told_to_end()
    test = os.fork()
    if test == 0:
        run_test(argv, group)
    end(wait_for(test))


def main(argv):
    if not argv:
        sys.exit('guard.py: name a program')
    os.environ[GUARDED] = '1'
    folder = os.environ['TMPDIR'] = make_folder()
    become_subreaper()
    group, starter = os.getpgrp(), os.getpid()
    keeper = os.fork()
    if keeper == 0:
        keep(argv, group, starter, folder)
    for s in (signal.SIGINT, signal.SIGQUIT):       # of a terminal: the test gets them too, and decides
        signal.signal(s, signal.SIG_IGN)
    for s in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(s, lambda *_: os.kill(keeper, signal.SIGTERM))
    status = wait_for(keeper)
    end_all()
    remove_folder(folder)
    end_as(status)


if __name__ == '__main__':
    main(sys.argv[1:])
