"""
The world of a chaos run: a box with its state on a small disk of its own where one can be mounted, the daemon and who ends it, and the
records of what was asked for, answered and done to it, which chaos_check.py holds the outcome against.
"""
import collections
import ctypes
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time

import chaos_batches
from harness import BATCHD, SLOW, Box, Closed, Rpc, RpcError, alive, become_subreaper, descendants, proc_stat, process_name, until

HERE = os.path.dirname(os.path.abspath(__file__))
DISK_MB = 192
ONE_MOMENT_MS = 500 * SLOW
TOLERANCE_MS = 50
VIOLATIONS_MAX = 40
COPIES_MAX = 4
CONFIG = 'slots = %d\ngroup.a = %d\ngroup.b = 3\ngrace = 300ms\nlog_level = info\n'


def now_ms():
    return time.time_ns() // 1000000


def own_mounts():
    """A mount namespace for this process, with a user namespace where that takes one. Whether there is one."""
    libc, uid, gid = ctypes.CDLL(None, use_errno=True), os.getuid(), os.getgid()
    if libc.unshare(0x00020000) != 0:                   # CLONE_NEWNS
        if libc.unshare(0x10000000 | 0x00020000) != 0:  # CLONE_NEWUSER
            return False
        for name, text in (('setgroups', 'deny'), ('uid_map', '0 %d 1' % uid), ('gid_map', '0 %d 1' % gid)):
            with open('/proc/self/' + name, 'w') as f:
                f.write(text)
    return subprocess.run(['mount', '--make-rprivate', '/'], capture_output=True).returncode == 0


class Cancel:
    """A cancel or signal that was asked for; `answered` when it was, and what the answer said."""

    def __init__(self, op=None, now=False, signal=None):
        self.op, self.now, self.signal, self.answered, self.state = op, now, signal, None, None


class World:
    def __init__(self, seed, keep=None):
        self.keep = keep
        become_subreaper()
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))      # what crashes leaves one in the box
        self.seed, self.begun, self.stretch = seed, time.monotonic(), 0
        self.disk = own_mounts()
        self.box = Box()
        for d in ('effects', 'files'):
            os.mkdir(self.box.path(d))
        self.box.put('fixture', chaos_batches.FIXTURE)
        os.makedirs(self.box.state, 0o700)
        if self.disk:
            self.disk = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=%dM,mode=700' % DISK_MB, 'tmpfs', self.box.state],
                                       capture_output=True).returncode == 0
        self.lock = threading.RLock()
        self.diary = open(os.path.join(self.box.dir, 'chaos.log'), 'w')
        self.count, self.violations, self.over = collections.Counter(), [], False
        self.asked = {}                                     # tag: Asked, of this stretch
        self.run_of, self.tag_of = {}, {}                   # tag: its answered run, and back; restarts in tag_of only
        self.cancels = collections.defaultdict(list)        # run: [Cancel]
        self.kills = {'batchd': [], 'spawner': []}          # times in ms
        self.stops = []                                     # of batchd, by its leave
        self.presses = []                                   # [from, to] in ms
        self.todo_writes = []                               # (list, rev, item)
        self.seen = {}                                      # (run, op or None): an end that somebody was told
        self.settled = []                                   # runs that were checked and are not forgotten
        self.process, self.pid, self.ending = None, None, False
        self.watchers, self.stopped, self.deaf = {}, set(), []
        self.notes = []                                     # lines for the report
        self.config(8, 2)

    # --- the diary

    def note(self, *words):
        with self.lock:
            self.diary.write('%9.3f %s %s\n' % (time.monotonic() - self.begun, time.strftime('%H:%M:%S'), ' '.join(map(str, words))))
            self.diary.flush()

    def violation(self, text, *about):
        """`about`: words that lines of the logs hold which tell more of it."""
        with self.lock:
            self.note('VIOLATION', text)
            self.count['violations'] += 1
            if len(self.violations) < VIOLATIONS_MAX:
                self.violations.append('seed %s, %.1f s: %s%s' % (self.seed, time.monotonic() - self.begun, text, self.evidence(about)))
                print(self.violations[-1], file=sys.stderr, flush=True)

    def evidence(self, about):
        lines = []
        for path in (self.diary.name, self.box.log, os.path.join(self.box.state, 'batchd.log')):
            with open(path, errors='replace') if os.path.exists(path) else open(os.devnull) as f:
                lines += [line for line in f if any(re.search(r'\b%s\b' % re.escape(word), line) for word in about) and 'VIOLATION' not in line][-4:]
        return ''.join('\n    ' + line.rstrip()[:300] for line in lines)

    # --- the daemon

    def config(self, slots, a):
        folder = os.path.join(self.box.dir, 'home', '.config', 'batchd')
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, 'new'), 'w') as f:
            f.write(CONFIG % (slots, a))
        os.rename(f.name, os.path.join(folder, 'batchd.conf'))

    def answers(self):
        try:
            with Rpc(self.box.socket, timeout=10 * SLOW) as r:
                self.pid = r.call('daemon.status', {}, timeout=10 * SLOW)['pid']
            return True
        except (OSError, Closed):
            return False

    def start(self):
        os.makedirs(os.path.dirname(self.box.socket), 0o700, exist_ok=True)
        with open(self.box.log, 'ab') as log:
            self.process = subprocess.Popen([BATCHD, '--foreground', '--socket', self.box.socket, '--state-dir', self.box.state],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.box.env(), cwd=self.box.dir)

    def serve(self):
        """Until a batchd answers: one of ours, or one that a client started meanwhile."""
        deadline = time.monotonic() + 30 * SLOW
        while not self.answers():
            if self.process is None or self.process.poll() is not None:
                if self.process is not None and self.process.returncode not in (0, -signal.SIGKILL):
                    if not self.pressed(now_ms() - 2000):
                        self.violation('batchd did not start, or ended by itself: status %d' % self.process.returncode, 'error')
                    self.relieve()
                self.start()
            if time.monotonic() > deadline:
                self.violation('no batchd came to answer in 30 s', 'error')
                raise SystemExit('no batchd')
            time.sleep(0.02)
        self.ending = False

    def find(self, name):
        return [p for p in descendants(os.getpid()) if process_name(p) == name and alive(p)]

    def kill(self, name):
        """kill -9 of one of that name; `batchd` or `batchd-spawner`."""
        pids = self.find(name)
        kind = name.replace('batchd-', '')
        self.kills[kind].append(now_ms())
        self.ending = self.ending or kind == 'batchd'
        for pid in pids[:1]:
            self.note('kill -9', name, pid)
            self.count['kills of ' + kind] += 1
            os.kill(pid, signal.SIGKILL)
            until(lambda: not alive(pid), 'the end of %s %d' % (name, pid), 30 * SLOW)
        self.kills[kind].append(now_ms())

    def stop(self):
        self.ending = True
        self.stops.append(now_ms())
        try:
            with Rpc(self.box.socket) as r:
                r.call('daemon.stop')
            until(lambda: not alive(self.pid), 'the end of batchd', 15 * SLOW)
            self.count['graceful stops'] += 1
        except (OSError, Closed, RpcError):
            pass
        except AssertionError:
            self.violation('batchd %d was told to stop and did not in 15 s' % self.pid)
        self.stops.append(now_ms())

    def tick(self):
        """Nobody ends by itself; what comes to us as the next of kin is reaped."""
        if self.process and self.process.poll() is not None and not self.ending and self.process.pid == self.pid:
            self.violation('batchd %d ended by itself: status %d' % (self.pid, self.process.returncode), 'error')
        ours = {p.pid for p in (*self.watchers, self.process) if p}
        for pid in descendants(os.getpid()):
            st = proc_stat(pid)
            if st and st[0] == 'Z' and st[1] == os.getpid() and pid not in ours:
                alive(pid)

    # --- the disk

    def press(self, leave):
        """Fills the disk but for some bytes."""
        if not self.disk:
            return
        if not self.presses or self.presses[-1][1]:
            self.presses.append([now_ms(), None])
        with open(os.path.join(self.box.state, 'filler'), 'ab') as f:
            for _ in range(10):     # others take room and give it meanwhile
                free = shutil.disk_usage(self.box.state).free
                try:
                    if free <= leave:
                        break
                    os.posix_fallocate(f.fileno(), 0, os.fstat(f.fileno()).st_size + free - leave)
                except OSError:
                    pass

    def relieve(self):
        if self.disk and self.presses and not self.presses[-1][1]:
            os.unlink(os.path.join(self.box.state, 'filler'))
            self.presses[-1][1] = now_ms()

    def pressed(self, since, to=None):
        """Whether the disk was full at a time since then; what waited for room is tried again within a second or two."""
        return any((p[1] or now_ms()) + 2500 >= since and p[0] <= (to or now_ms()) for p in self.presses)

    def killed(self, kind, since, to):
        return any(since - 300 <= t <= to + 300 for t in self.kills[kind])

    def pipes_lost(self, since, to):
        """Both were killed in one moment: the next of either had no time to get the pipes from the other."""
        return any(since - 300 <= s <= to + 300 and abs(s - b) <= ONE_MOMENT_MS for s in self.kills['spawner'] for b in self.kills['batchd'])

    def keep_copy(self):
        """Everything as it is at a check point where a promise was broken, for whoever looks into it."""
        to = self.keep and os.path.join(self.keep, str(self.stretch))
        if to and not os.path.exists(to) and (not os.path.exists(self.keep) or len(os.listdir(self.keep)) < COPIES_MAX):
            shutil.copytree(self.box.dir, to, ignore=lambda d, names: [n for n in names if not os.path.isdir(os.path.join(d, n)) and
                                                                       not os.path.isfile(os.path.join(d, n))])

    # --- what was answered

    def acked(self, run, tag):
        with self.lock:
            if self.run_of.setdefault(tag, run) != run:
                self.violation('the key %s was answered with run %d and with run %d' % (tag, self.run_of[tag], run), tag)
            if self.tag_of.setdefault(run, tag) != tag:
                self.violation('run %d was answered for %s and for %s' % (run, self.tag_of[run], tag), tag)

    def saw(self, run, op, end):
        """Somebody was told that a run or an op has ended so."""
        with self.lock:
            if self.seen.setdefault((run, op), end) != end:
                self.violation('run %d op %s was %r and is %r' % (run, op, self.seen[(run, op)], end), 'run %d' % run)

    # --- watchers

    def watch(self, what, output):
        log = os.path.join(self.box.dir, 'watch-%d' % self.count['watchers'])
        self.count['watchers'] += 1
        p = subprocess.Popen([sys.executable, os.path.join(HERE, 'chaos_watch.py'), self.box.socket, log, what, output],
                             stdin=subprocess.DEVNULL, env=dict(os.environ, PYTHONDONTWRITEBYTECODE='1'))
        self.watchers[p] = open_when_there(log)

    def done(self):
        self.over = True
        for p in self.watchers:
            p.kill()
            p.wait()
        for r in self.deaf:
            r.close()
        self.relieve()
        if self.process and self.process.poll() is None and self.process.pid != self.pid:
            self.process.wait(5)
        self.box.stop_quietly()
        if self.disk:
            subprocess.run(['umount', '-l', self.box.state], capture_output=True)
        try:
            self.box.done()
        except AssertionError as e:
            self.violation('at the end: %s' % e)


def open_when_there(path):
    with open(path, 'a'):
        return open(path)
