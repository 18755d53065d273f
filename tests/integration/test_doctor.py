"""`batchctl doctor`: each thing that can be wrong, made wrong, and what it says about it. It never starts a daemon."""
import contextlib
import fcntl
import os
import resource
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import unittest

from faults import Inject, no_inject
from harness import BATCHCTL, BATCHD, NO_LEAKS, SPAWNER, Case, expand, rows, until


def folder(t, path, mode=0o700):
    os.makedirs(path, exist_ok=True)
    os.chmod(path, mode)
    return path


def unit(t, enabled, active, failed=''):
    """A user manager of systemd, as far as doctor asks it."""
    folder(t, t.box.runtime + '/systemd')
    open(t.box.runtime + '/systemd/private', 'w').close()
    folder(t, t.box.dir + '/home/.config/systemd/user')
    open(t.box.dir + '/home/.config/systemd/user/batchd.socket', 'w').close()
    t.box.put('bin/systemctl', '#!/bin/sh\ncase "$2 $3" in "is-enabled batchd.socket") echo %s;; "is-active batchd.socket") echo %s;; '
              '"is-active %s") echo failed;; *) echo inactive;; esac\n' % (enabled, active, failed or 'nothing'), 0o755)
    t.env['PATH'] = t.box.path('bin') + ':' + t.box.env()['PATH']


def config(t, text):
    folder(t, t.box.dir + '/home/.config/batchd')
    with open(t.box.dir + '/home/.config/batchd/batchd.conf', 'w') as f:
        f.write(text)


def started(t):
    t.ctl('daemon', 'start', check=0)
    return t.ctl('--json', 'daemon', 'status', check=0).json['pid']


def stopped_state(t):
    started(t)
    t.ctl('daemon', 'stop', check=0)
    until(lambda: not t.box.spawner_pid(), 'the end of its spawner')


def newer_schema(t):
    stopped_state(t)
    db = sqlite3.connect(t.box.state + '/batchd.db')
    db.execute('PRAGMA user_version = 999')
    db.commit()
    db.close()


def damaged(t):
    stopped_state(t)
    path = t.box.state + '/batchd.db'
    with open(path, 'r+b') as f:
        f.seek(4096)
        f.write(b'\xff' * (os.path.getsize(path) - 4096))


def without(thing):
    """A database that lacks a table or an index of its own."""
    def arrange(t):
        stopped_state(t)
        with contextlib.closing(sqlite3.connect(t.box.state + '/batchd.db')) as db, db:
            db.execute('DROP ' + thing)
    return arrange


def somebody_elses_database(t):
    folder(t, t.box.state)
    db = sqlite3.connect(t.box.state + '/batchd.db')
    db.execute('CREATE TABLE theirs(x)')
    db.commit()
    db.close()


def closed_home(t):
    if os.geteuid() == 0:
        t.skipTest('root may write everywhere')
    closed = t.box.path('closed')
    os.mkdir(closed, 0o555)
    t.env.update(XDG_STATE_HOME=closed + '/a/b')


def left_socket(t):
    folder(t, os.path.dirname(t.box.socket))
    s = socket.socket(socket.AF_UNIX)
    s.bind(t.box.socket)
    os.chmod(t.box.socket, 0o600)
    s.close()


def strangers_socket(t):
    folder(t, os.path.dirname(t.box.socket))
    s = socket.socket(socket.AF_UNIX)
    s.bind(t.box.socket)
    os.chmod(t.box.socket, 0o600)
    s.listen()
    t.addCleanup(s.close)


def replaced_program(t):
    """batchd of a folder of its own, removed while it runs."""
    folder(t, t.box.path('old'))
    shutil.copy(BATCHD, t.box.path('old/batchd'))
    shutil.copy(SPAWNER, t.box.path('old/batchd-spawner'))
    subprocess.run([t.box.path('old/batchd')], env=t.box.env(BATCHD_SOCKET=t.box.socket), check=True, stdout=subprocess.DEVNULL)
    os.unlink(t.box.path('old/batchd'))


def two_daemons_worth_of_sockets(t):
    started(t)
    t.env['BATCHD_SOCKET'] = folder(t, t.box.dir + '/other') + '/socket'


def orphaned_spawner(t):
    t.ctl('submit', '-e', 'touch began; exec sleep 60', check=0)
    until(lambda: t.box.exists('began'), 'the op')
    t.ctl('daemon', 'stop', check=0)


def locked_database(t):
    """Results that cannot be stored, for as long as the test goes."""
    started(t)
    os.mkfifo(t.box.path('gate'))
    t.ctl('submit', '-e', 'touch began; read x < gate', check=0)
    until(lambda: t.box.exists('began'), 'the op')
    db = sqlite3.connect(t.box.state + '/batchd.db', isolation_level=None)
    t.addCleanup(db.close)
    db.execute('BEGIN IMMEDIATE')
    with open(t.box.path('gate'), 'w') as f:
        f.write('\n')
    until(lambda: t.ctl('--json', 'daemon', 'status', check=0).json['troubles'], 'a word about it')


def troubled(t, word):
    """Until daemon.status names it."""
    until(lambda: [w for w in t.ctl('--json', 'daemon', 'status', check=0).json['troubles'] if word in w], 'a word about it')


def unwritable_output(t):
    os.mkfifo(t.box.path('gate'))
    t.ctl('submit', '-e', 'touch began; read x < gate; echo some', check=0)
    until(lambda: t.box.exists('began'), 'the op')
    os.rename(t.box.state + '/runs', t.box.state + '/runs.away')
    open(t.box.state + '/runs', 'w').close()
    with open(t.box.path('gate'), 'w') as f:
        f.write('\n')
    troubled(t, 'cannot write output')


def no_processes(t):
    if no_inject():
        t.skipTest(no_inject())
    started(t)
    fault = Inject(t.box.spawner_pid(), *['%s:error=EAGAIN' % f for f in ('clone', 'clone3', 'vfork', 'fork')])
    t.addCleanup(fault.stop)
    t.ctl('submit', '-e', 'true', check=0)
    troubled(t, 'cannot be started now')


def no_spawner(t):
    replaced_program(t)
    os.unlink(t.box.path('old/batchd-spawner'))
    t.box.put('old/batchd-spawner', '#!/bin/sh\necho no luck >&2\nexit 1\n', 0o755)
    os.kill(t.box.spawner_pid(), signal.SIGKILL)
    troubled(t, 'cannot be reached or started')


def crowd(t):
    """More clients than it has descriptors for: they take all it had room for."""
    pid = started(t)
    subprocess.run(['prlimit', '--pid=%d' % pid, '--nofile=48:48'], check=True)
    for _ in range(300):
        s = socket.socket(socket.AF_UNIX)
        t.addCleanup(s.close)
        s.connect(t.box.socket)


def another_programs_lock(t):
    stopped_state(t)
    f = open(t.box.state + '/lock', 'r+')
    t.addCleanup(f.close)
    fcntl.flock(f, fcntl.LOCK_EX)


def instead(name, make):
    """Something else in the place of a file of the state folder."""
    def arrange(t):
        stopped_state(t)
        path = t.box.state + '/' + name
        if os.path.lexists(path):
            os.rename(path, path + '.away')
        make(path)
    return arrange


def foreign(name):
    def arrange(t):
        if os.getuid() != 0:
            t.skipTest('only root can give a file away')
        t.ctl('run', 'echo some', check=0)
        stopped_state(t)
        os.chown(t.box.state + '/' + name, 12345, 12345)
    return arrange


def a_file(path):
    open(path, 'w').close()


def a_link(path):
    os.symlink('/dev/null', path)


def without_database(t, spoil):
    t.ctl('run', 'echo some', check=0)
    stopped_state(t)
    spoil(t.box.state + '/batchd.db')


def hanging_daemon(t):
    pid = started(t)
    os.kill(pid, signal.SIGSTOP)
    t.addCleanup(os.kill, pid, signal.SIGCONT)


def logged_error(t):
    stopped_state(t)
    with open(t.box.state + '/batchd.log', 'a') as f:
        f.write('2026-01-01 00:00:00.000 batchd: error: the roof is on fire\n')


def future(t):
    stopped_state(t)
    os.utime(t.box.state + '/batchd.log', (4e9, 4e9))


def failing(*what, path=None):
    """The disk of the state folder, as doctor meets it."""
    def fails(t):
        if no_inject():
            t.skipTest(no_inject())
        stopped_state(t)
        where = ['-P', os.path.join(t.box.state, path)] if path else []
        t.under = ['strace', '-qq', '-o', '/dev/null', *where, *[w for call in what for w in ('-e', 'inject=' + call)]]
    return fails


def short_of_memory(name):
    """A limit of the address space that leaves almost nothing."""
    def short(t):
        started(t)
        pid = t.ctl('--json', 'daemon', 'status', check=0).json[name]
        with open('/proc/%d/status' % pid) as f:
            used = [int(line.split()[1]) << 10 for line in f if line.startswith('VmSize:')][0]
        resource.prlimit(pid, resource.RLIMIT_AS, (used + (8 << 20), resource.prlimit(pid, resource.RLIMIT_AS)[1]))
    return short


@expand
class Doctor(Case):
    daemon = False

    def setUp(self):
        super().setUp()
        self.env = {}
        self.under = []     # another program

    def ctl(self, *args, **keys):
        program, *before = [*self.under, BATCHCTL]
        return self.box.ctl(*before, *args, program=program, bare=True, env=self.env, **keys)

    def findings(self, status):
        got = self.ctl('--json', 'doctor', check=status).json
        self.assertEqual(got['ok'], status == 0)
        for f in got['checks']:
            self.assertEqual(set(f), {'check', 'state', 'text', 'mend'})
            self.assertIn(f['state'], ('ok', 'note', 'problem'))
            self.assertNotIn('\n', f['text'])
            if f['state'] == 'problem':
                self.assertTrue(f['mend'], f)
        return got['checks']

    @rows(
        ('nothing is wrong and nothing runs', lambda t: None, 0, 'daemon', 'ok', 'none runs', None),
        ('nothing is wrong and one runs', started, 0, 'daemon', 'ok', 'runs (pid', None),
        ('the lock is held by a daemon at another socket', two_daemons_worth_of_sockets, 1, 'daemon', 'problem', 'serves',
         'BATCHD_SOCKET='),
        ('a daemon that does not answer', hanging_daemon, 1, 'daemon', 'problem', 'does not answer', 'kill -9'),
        ('a daemon that cannot store results', locked_database, 1, 'daemon', 'problem', 'another program holds it', 'goes on by itself'),
        ('a daemon that cannot write output', unwritable_output, 1, 'daemon', 'problem', 'cannot write output of run 1',
         'goes on by itself'),
        ('a daemon that cannot start processes', no_processes, 1, 'daemon', 'problem', 'raise the limit of processes', 'goes on by itself'),
        ('a daemon without a spawner', no_spawner, 1, 'daemon', 'problem', 'cannot be reached or started', 'goes on by itself'),
        ('a disk that takes nothing', failing('fsync:error=EIO', 'fdatasync:error=EIO'), 1, 'disk', 'problem',
         'cannot be written: Input/output error', "see the system's log"),
        ('a disk whose quota is used up', failing('pwrite64:error=EDQUOT'), 1, 'disk', 'problem', 'cannot be written: Disk quota exceeded', 'make room'),
        ('a disk that cannot be read', failing('pread64:error=EIO', path='batchd.db'), 1, 'disk', 'problem', "batchd.db' cannot be read: Input/output error", 'dmesg'),
        ('memory is told', lambda t: None, 0, 'memory', lambda s: s in ('ok', 'note'), 'the machine: ', None),
        ('a daemon without memory', short_of_memory('pid'), 1, 'memory', 'problem', 'batchd, by its limit: ', 'ulimit -v'),
        ('a spawner without memory', short_of_memory('spawner_pid'), 1, 'memory', 'problem', 'batchd-spawner, by its limit: ',
         'ulimit -v'),
        ('a daemon with too many clients', crowd, 1, 'daemon', 'problem', 'does not answer', 'more clients than'),
        ('a state folder that another program has locked', another_programs_lock, 1, 'daemon', 'problem',
         'does not serve', 'fuser'),
        ('a state folder that cannot be made', closed_home, 1, 'state', 'problem', 'cannot make', 'set XDG_STATE_HOME'),
        ("a lock of somebody else", foreign('lock'), 1, 'state', 'problem', 'belongs to uid 12345', 'chown'),
        ("a database of somebody else", foreign('batchd.db'), 1, 'state', 'problem', 'belongs to uid 12345', 'chown'),
        ("a folder of runs of somebody else", foreign('runs'), 1, 'state', 'problem', 'belongs to uid 12345', 'chown'),
        ("output of somebody else", foreign('runs/1.log'), 1, 'state', 'problem', 'belongs to uid 12345', 'chown'),
        ('a link in the place of the lock', instead('lock', a_link), 1, 'state', 'problem', 'is no regular file', 'move it away'),
        ('a folder in the place of the lock', instead('lock', os.mkdir), 1, 'state', 'problem', 'is no regular file', 'move it away'),
        ('a folder in the place of the database', instead('batchd.db', os.mkdir), 1, 'state', 'problem', 'is no regular file', 'move it away'),
        ('a file in the place of the folder of runs', instead('runs', a_file), 1, 'state', 'problem', 'is no folder', 'move it away'),
        ('a link in the place of an output', instead('runs/1.log', a_link), 1, 'state', 'problem', 'is no regular file', 'move it away'),
        ('a daemon whose program was replaced', replaced_program, 0, 'daemon', 'note', 'replaced', 'daemon stop'),
        ('a socket folder that is open to others', lambda t: folder(t, os.path.dirname(t.box.socket), 0o755), 1, 'socket', 'problem',
         'open to others (mode 0755)', 'chmod 700'),
        ('a file where the socket folder should be', lambda t: open(os.path.dirname(t.box.socket), 'w').close(), 1, 'socket',
         'problem', 'is not a folder', 'remove it'),
        ('a file where the socket should be', lambda t: open(folder(t, os.path.dirname(t.box.socket)) + '/socket', 'w').close(), 1,
         'socket', 'problem', 'is no socket', 'move it away'),
        ('a socket that was left over', left_socket, 0, 'socket', 'ok', 'left over', None),
        ('a socket at which another program listens', strangers_socket, 1, 'socket', 'problem', 'no batchd listens at', 'ss -xlp'),
        ('no XDG_RUNTIME_DIR', lambda t: t.env.update(XDG_RUNTIME_DIR=''), 0, 'socket', 'note', 'XDG_RUNTIME_DIR is not set', ''),
        ('a spawner with ops and no daemon', orphaned_spawner, 0, 'spawner', 'note', 'keeps 1 process,', 'daemon start'),
        ('no systemd', lambda t: None, 0, 'systemd', 'ok', 'no user manager', None),
        ('units that are enabled and active', lambda t: unit(t, 'enabled', 'active'), 0, 'systemd', 'ok', 'enabled and active', None),
        ('units that are not enabled', lambda t: unit(t, 'disabled', 'inactive'), 0, 'systemd', 'note', 'disabled and inactive',
         'systemctl --user enable --now batchd.socket'),
        ('a unit that has failed', lambda t: unit(t, 'enabled', 'active', 'batchd.service'), 1, 'systemd', 'problem',
         'batchd.service has failed', 'journalctl --user -u batchd.service'),
        ('no configuration', lambda t: None, 0, 'config', 'ok', 'defaults hold', None),
        ('a configuration in order', lambda t: config(t, 'slots = 3\n'), 0, 'config', 'ok', 'in order', None),
        ('an unknown setting, with its line', lambda t: config(t, '# hello\nslotz = 3\n'), 1, 'config', 'problem', 'batchd.conf:2: slotz',
         'batchd.conf(5)'),
        ('a state folder that all can write to', lambda t: folder(t, t.box.state, 0o777), 1, 'state', 'problem', 'mode 0777', 'chmod 700'),
        ('a state folder that the own group can write to', lambda t: folder(t, t.box.state, 0o770), 0, 'state', 'note', 'mode 0770', 'chmod 700'),
        ('a state folder that others can read', lambda t: folder(t, t.box.state, 0o755), 0, 'state', 'note', 'mode 0755', 'chmod 700'),
        ('a file where the state folder should be',
         lambda t: open(folder(t, os.path.dirname(t.box.state)) + '/batchd', 'w').close(), 1, 'state', 'problem', 'is not a folder', 'move'),
        ('neither HOME nor XDG_STATE_HOME', lambda t: t.env.update(HOME=''), 1, 'state', 'problem', 'no place for state', 'set HOME'),
        ('a database in order', stopped_state, 0, 'database', 'ok', 'sound', None),
        ('a database in use', started, 0, 'database', 'ok', 'in use', None),
        ('a database of a newer batchd', newer_schema, 1, 'database', 'problem', 'schema 999', 'cp -a'),
        ('a damaged database', damaged, 1, 'database', 'problem', 'batchd.db', 'cp -a'),
        ('a database without one of its tables', without('TABLE todo_event'), 1, 'database', 'problem', "table 'todo_event' is missing",
         'cp -a'),
        ('a database without one of its indexes', without('INDEX run_key'), 1, 'database', 'problem', "index 'run_key' is missing",
         'cp -a'),
        ('the database of another program', somebody_elses_database, 1, 'database', 'problem', 'another program', 'cp -a'),
        ('a database that is gone', lambda t: without_database(t, os.unlink), 1, 'database', 'problem',
         'is missing, but', 'cp -a'),
        ('a database that is empty', lambda t: without_database(t, lambda path: os.truncate(path, 0)), 1, 'database', 'problem',
         'is empty, but', 'cp -a'),
        ('free room is told', lambda t: None, 0, 'disk', lambda s: s in ('ok', 'note'), 'state: ', None),
        ('an error in the log', logged_error, 0, 'log', 'note', 'the roof is on fire', 'batchd.log'),
        ('a start forgets the errors before it', lambda t: (logged_error(t), started(t)), 0, 'log', 'ok', 'no errors', None),
        ('a clock that is behind', future, 0, 'clock', 'note', 'behind what was last written', 'set the clock'),
        ('limits are told', lambda t: None, 0, 'limits', lambda s: s in ('ok', 'note'), 'open files', None),
        ('containment is told', lambda t: None, 0, 'containment', lambda s: s in ('ok', 'note'), 'cgroup', None),
    )
    def finds(self, arrange, status, check, state, text, mend):
        arrange(self)
        ran = self.box.spawner_pid()
        found = [f for f in self.findings(status) if f['check'] == check]
        hits = [f for f in found if text in f['text']]
        self.assertEqual(len(hits), 1, found)
        self.assertTrue(state(hits[0]['state']) if callable(state) else hits[0]['state'] == state, hits)
        self.assertIn(mend or '', hits[0]['mend'] or '', hits)
        if arrange is not no_spawner:       # where batchd itself tries again and again
            self.assertEqual(self.box.spawner_pid(), ran, 'it starts nothing')

    def test_words_for_people(self):
        config(self, 'slots = none\n')
        r = self.ctl('doctor', check=1)
        self.assertEqual(r.err, b'')
        self.assertRegex(r.text, r'(?m)^problem +config +\S.*batchd\.conf:1: slots')
        self.assertRegex(r.text, r'(?m)^ +mend: edit that line')
        self.assertRegex(r.text, r'(?m)^1 problem')
        quiet = self.ctl('-q', 'doctor', check=1).text
        self.assertNotRegex(quiet, r'(?m)^ok')
        self.assertIn('batchd.conf:1', quiet)

    def test_a_batchd_that_is_not_there(self):
        shutil.copy(os.path.join(os.path.dirname(os.path.dirname(BATCHD)), 'client', 'batchctl'), self.box.path('batchctl'))
        os.chmod(self.box.path('batchctl'), stat.S_IRWXU)
        env = self.box.env(PATH='/usr/bin:/bin')
        p = subprocess.run([self.box.path('batchctl'), 'doctor'], env=env, capture_output=True, text=True, cwd=self.box.work)
        if os.path.exists('/usr/bin/batchd'):
            self.skipTest('a batchd is installed')
        self.assertEqual(p.returncode, 1, p)
        self.assertRegex(p.stdout, r"(?m)^problem +programs +no program 'batchd' was found")

    def test_few_files(self):
        p = subprocess.run(['sh', '-c', 'ulimit -n 256; exec batchctl doctor'], env=self.box.env(), capture_output=True, text=True)
        self.assertRegex(p.stdout, r'(?m)^note +limits +open files: at most 256')

    def test_too_few_files(self):
        p = subprocess.run(['prlimit', '--nofile=63:63', 'batchctl', 'doctor'], env=self.box.env(), capture_output=True, text=True)
        self.assertRegex(p.stdout, r'(?m)^problem +limits +open files: at most 63, and batchd does not start with fewer than 64')
        self.assertEqual(p.returncode, 1)

    def test_a_full_disk(self):
        folder(self, self.box.state)
        p = subprocess.run(['unshare', '-m', 'sh', '-c', 'mount -t tmpfs -o size=8m none "$1" && exec batchctl doctor', 'sh', self.box.state],
                           env=self.box.env(), capture_output=True, text=True)
        if not p.stdout:
            self.skipTest('nothing can be mounted here: ' + p.stderr.strip())
        self.assertEqual(p.returncode, 1, p)
        self.assertRegex(p.stdout, r"(?m)^problem +disk +state: '%s' has \d MiB free of 8\n +mend: make room" % self.box.state)

    def test_a_file_system_that_is_read_only(self):
        folder(self, self.box.state)
        p = subprocess.run(['unshare', '-m', 'sh', '-c', 'mount -t tmpfs -o ro,mode=700 none "$1" && exec batchctl doctor', 'sh', self.box.state],
                           env=self.box.env(), capture_output=True, text=True)
        if not p.stdout:
            self.skipTest('nothing can be mounted here: ' + p.stderr.strip())
        self.assertEqual(p.returncode, 1, p)
        self.assertRegex(p.stdout, r"(?m)^problem +state +'%s' cannot be written to: Read-only file system\n"
                         r" +mend: mount its file system for writing again$" % self.box.state)

    def test_a_network_file_system(self):
        if no_inject() or sys.byteorder != 'little':
            self.skipTest(no_inject() or 'the number is written for another order of bytes')
        folder(self, os.path.dirname(self.box.socket))
        for argv in ([BATCHD, '--foreground'], ['batchctl', 'doctor']):
            p = subprocess.run(['strace', '-qq', '-f', '-o', '/dev/null', '-e', 'trace=statfs', '-e', 'inject=statfs:poke_exit=@arg2=6969000000000000', *argv],
                               env=self.box.env(BATCHD_SOCKET=self.box.socket, **NO_LEAKS), stdin=subprocess.DEVNULL, capture_output=True, text=True)
            if 'poke_exit' in p.stderr:
                self.skipTest('this strace cannot change what a call returns')
            self.assertEqual(p.returncode, 1, p)
            self.assertIn("state folder '%s' is on a network file system (nfs): name a local one" % self.box.state, p.stdout + p.stderr)

    def test_another_uids_folder(self):
        if os.getuid() != 0:
            self.skipTest('only root can give a folder away')
        for path, check in ((os.path.dirname(self.box.socket), 'socket'), (self.box.state, 'state')):
            folder(self, path)
            os.chown(path, 12345, -1)
            found = [f for f in self.findings(1) if f['check'] == check and f['state'] == 'problem']
            self.assertIn('belongs to uid 12345', found[0]['text'])
            os.chown(path, 0, -1)


if __name__ == '__main__':
    unittest.main()
