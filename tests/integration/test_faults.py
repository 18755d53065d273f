"""
Promise: when the disk is full, the database locked, read-only or damaged, descriptors, memory or processes run out, the clock jumps
or somebody removes our files, then new work is refused with that reason or accepted for good; what runs ends normally, and its
result is kept and stored when the trouble is over. No crash, no spinning.

Each row puts one fault on real programs while an op runs and others wait. The faults are made in faults.py; steps of SQLite one by
one are in tests/unit/test_store_fault.c, power cuts in test_powercut.py, kills in test_kill.py.
"""
import os
import resource
import socket
import sqlite3
import subprocess

from faults import Inject, SmallDisk, no_inject, quiet_share
from harness import BATCHD, LONG, Case, RpcError, alive, bash, batch, expand, rows, until

LOUD = .25      # of a CPU: who takes more in a quiet stretch spins


class Scene(Case):
    """An op at work that waits for a word, ops after it, a run after its run; and a daemon that a fault is put on."""
    daemon = False

    def begin(self, *args, **start):
        b = self.box
        if not b.daemon:
            b.start(*args, **start)
        b.call('todo.write', list='l', todos=[{'id': 'it', 'content': 'It'}])
        self.gate = b.fifo('gate')
        self.first = b.submit(batch([bash('echo before; touch began; read x < gate; seq 10000; echo after >&2; exit 3', ok_exits=[3],
                                          todo='it')],
                                    [bash('echo next >> ran; echo next')]), list='l', key='first')
        self.second = b.submit(batch([bash('echo second >> ran')]), needs_runs=[self.first], key='second')
        until(lambda: b.exists('began'), 'the op')
        self.pid = b.get(self.first)['ops'][0]['pid']
        self.taken = {}     # key: run, acknowledged meanwhile

    def try_submit(self, key):
        """Accepted (remembered), or the refusal's text."""
        try:
            self.taken[key] = self.box.submit(batch([bash('echo %s >> ran; echo out %s' % (key, key))]), key=key)
            return None
        except RpcError as e:
            self.assertIn(e.symbol, ('E_STORAGE', 'E_MEMORY', 'E_BUSY'), e.text)
            self.assertIs(e.caller, False, e.text)
            return e.text

    def let_go(self):
        """The op that runs gets its word, and ends."""
        with open(self.gate, 'w') as f:
            f.write('\n')
        until(lambda: not alive(self.pid), 'the end of the op')

    def quiet(self):
        self.assertLess(quiet_share(self.box.daemon_pid()), LOUD, 'batchd is busy with nothing to do')

    def all_well(self, restart=True):
        """The trouble is over: everything comes to its end by itself, and is still there for the next batchd."""
        b = self.box
        for key in ('later', *self.taken):      # also what was accepted is answered with the same run
            self.assertIsNone(self.try_submit(key))
        for n in range(1 + restart):
            for run in (self.first, self.second, *self.taken.values()):
                b.wait(run)
                self.assertEqual(b.call('run.get', run=run, ops='none')['state'], 'succeeded')
            self.match([{'state': 'succeeded', 'exit': 3, 'attempts': 1, 'pid': self.pid}, {'attempts': 1}], b.get(self.first)['ops'])
            self.assertEqual(b.output(self.first, 1, 'stdout'), b'before\n' + b''.join(b'%d\n' % i for i in range(1, 10001)))
            self.assertEqual(b.output(self.first, 1, 'stderr'), b'after\n')
            self.assertEqual(b.output(self.first, 2), b'next\n')
            for key, run in self.taken.items():
                self.assertEqual(b.output(run, 1), b'out %s\n' % key.encode())
            self.assertEqual(sorted(b.text('ran').split()), sorted(['next', 'second', *self.taken]), 'each ran once')
            until(lambda: b.call('todo.list', list='l')['todos'][0]['status'] == 'completed', 'the todo')
            if n < restart:
                self.assertIsNone(b.daemon.poll(), 'it lives')
                self.start_again()

    def start_again(self):
        self.box.restart()


# --- the disk --------------------------------------------------------------------------------------------------------

@expand
class Disk(Scene):
    """The state folder, or the folder of the socket and the spawner's table, is a small disk of its own."""

    def small(self, path, size):
        self.disk = SmallDisk(path, size)
        self.addCleanup(self.disk.close)
        self.addCleanup(self.box.done)      # before that: who runs on it keeps it
        if self.disk.why_not:
            self.skipTest(self.disk.why_not)

    def start_again(self):
        self.box.kill_daemon()
        self.box.start(under=self.disk.under)

    def test_a_full_state_folder(self):
        b = self.box
        self.small(b.state, '2m')
        self.begin(under=self.disk.under)
        self.disk.fill()
        said = self.try_submit('meanwhile')
        self.assertRegex(said, "^E_STORAGE: .*(full|No space left).*%s.*make room" % b.state)
        self.refused('E_STORAGE', 'todo.update', {'list': 'l', 'id': 'it', 'priority': 'high'}, 'make room')
        self.let_go()
        self.match({'state': 'running'}, b.call('run.get', run=self.first))
        self.quiet()
        self.disk.free()
        self.all_well()

    def test_the_output_of_an_op_fills_it(self):
        # The op waits: nothing of what it prints is lost, and nothing fails for it.
        b = self.box
        self.small(b.state, '2m')
        self.begin(under=self.disk.under)
        loud = b.submit(batch([bash('head -c 3000000 /dev/zero | tr "\\0" x; echo end')]), output_cap=0)
        until(lambda: b'cannot write output' in open(b.log, 'rb').read(), 'a word in the log')
        self.quiet()
        self.assertIn('room', self.try_submit('meanwhile') or 'room')
        self.let_go()
        # More room than there was: as a disk that is freed.
        subprocess.run([*self.disk.under, 'mount', '-o', 'remount,size=16m', b.state], check=True)
        b.wait(loud)
        self.assertEqual(b.get(loud)['ops'][0]['stdout_bytes'], 3000004)
        data = b.output(loud, 1)
        self.assertTrue(data == b'x' * 3000000 + b'end\n', len(data))
        self.all_well()

    def test_a_full_runtime_folder(self):
        # The table of the spawner has its room from the start: full or not, it goes on.
        b = self.box
        folder = os.path.dirname(b.socket)
        self.small(folder, '8m')
        self.disk.fill()
        with self.assertRaisesRegex(AssertionError, 'before it listened'):
            self.begin(under=self.disk.under)
        with open(b.log) as f:
            self.assertRegex(f.read(), "batchd: .*'%s.*No space left" % folder)
        b.daemon = None
        self.disk.free()
        b.socket, there = self.disk.inside('socket'), b.socket
        b.start('--socket', there, under=self.disk.under)
        self.disk.fill()
        self.begin()
        self.assertIsNone(self.try_submit('meanwhile'))
        self.let_go()
        self.all_well(restart=False)


# --- system calls that fail ------------------------------------------------------------------------------------------

@expand
class Calls(Scene):
    def setUp(self):
        if no_inject():
            self.skipTest(no_inject())
        super().setUp()

    def inject(self, pid, *what):
        fault = Inject(pid, *what)
        self.addCleanup(fault.stop)
        return fault

    @rows(
        ('no byte reaches the disk: it has become read-only', 'pwrite64:error=EROFS', 'read-only file system.*mount'),
        ('no byte reaches the disk: the quota is used up', 'pwrite64:error=EDQUOT', 'quota.*make room'),
        ('no sync succeeds', 'fdatasync:error=EIO', 'input/output error.*system\'s log'),
        ('no file can be opened', 'openat:error=EMFILE', 'too many open files.*raise'),
        ('no file can be cut', 'ftruncate:error=EIO', None),
    )
    def for_a_while(self, what, says):
        self.begin()
        fault = self.inject(self.box.daemon_pid(), what)
        said = self.try_submit('meanwhile')
        if says:
            self.assertRegex((said or 'it was accepted').lower(), says)
            self.assertIn(self.box.state, said)
        self.let_go()
        self.quiet()
        fault.stop()
        self.all_well()

    @rows(*[(what, what) for what in ('pwrite64:error=ENOSPC', 'pwrite64:error=EIO', 'fdatasync:error=EIO', 'fsync:error=EIO',
                                      'splice:error=EIO', 'splice:error=ENOSPC')])
    def once(self, what):
        # The Kth call fails; whatever hears of it, each submit is refused or kept, and each op ends with its output.
        self.begin()
        hits = 0
        for k in (1, 2, 3, 5, 8) if LONG else (1, 3):
            fault = self.inject(self.box.daemon_pid(), '%s:when=%d' % (what, k))
            for i in range(2):
                self.try_submit('%d-%d' % (k, i))
            for run in self.taken.values():
                self.box.wait(run)
            hits += fault.hits()
            fault.stop()
        self.assertGreater(hits, 0, 'it was never met')
        self.let_go()
        self.all_well()


# --- processes and descriptors that cannot be had --------------------------------------------------------------------

FORKS = ('clone', 'clone3', 'vfork', 'fork')


@expand
class Starts(Scene):
    def trouble(self, word):
        """What daemon.status says that holds things up."""
        return [t for t in self.box.call('daemon.status')['troubles'] if word in t]

    def held_up(self, fault_off, trouble='cannot be started'):
        """Ops that are ready stay so, none of their attempts is used up; then they go on."""
        b = self.box
        self.assertIsNone(self.try_submit('meanwhile'))
        self.let_go()
        until(lambda: self.trouble(trouble), 'a word about it')
        self.match([{'state': 'succeeded'}, {'state': lambda s: s in ('ready', 'running')}], b.get(self.first)['ops'])
        until(lambda: b.get(self.taken['meanwhile'])['ops'][0]['state'] == 'ready', 'the try to be over')
        self.match([{'state': 'ready', 'attempts': 0, 'cause': None}], b.get(self.taken['meanwhile'])['ops'])
        self.quiet()
        self.assertLess(quiet_share(b.call('daemon.status')['spawner_pid'], .2), LOUD)
        fault_off()
        self.all_well()
        self.assertEqual(self.trouble(''), [])

    def test_no_process_for_a_while(self):
        if no_inject():
            self.skipTest(no_inject())
        self.begin()
        fault = Inject(self.box.call('daemon.status')['spawner_pid'], *['%s:error=EAGAIN' % f for f in FORKS])
        self.addCleanup(fault.stop)
        self.held_up(fault.stop)

    @rows(('the first', 1), ('the third', 3))
    def one_process_refused(self, nth):
        if no_inject():
            self.skipTest(no_inject())
        self.begin()
        fault = Inject(self.box.call('daemon.status')['spawner_pid'], *['%s:error=EAGAIN:when=%d' % (f, nth) for f in FORKS])
        self.addCleanup(fault.stop)
        run = self.box.submit(batch([bash('echo %d >> ones' % i) for i in range(6)]))
        self.box.wait(run)
        self.match([{'state': 'succeeded', 'attempts': 1}] * 6, self.box.get(run)['ops'])
        self.assertEqual(sorted(self.box.text('ones').split()), list('012345'))
        self.assertGreater(fault.hits(), 0)
        fault.stop()
        self.let_go()
        self.all_well(restart=False)

    def test_the_users_processes_are_used_up(self):
        b = self.box
        uid = 50000 + os.getpid() % 10000
        under = ['setpriv', '--reuid=%d' % uid, '--regid=%d' % uid, '--clear-groups']
        if os.getuid() != 0 or subprocess.run([*under, 'test', '-x', BATCHD], stderr=subprocess.DEVNULL).returncode != 0:
            self.skipTest('only root can be somebody else, and then the build must be in reach')
        os.makedirs(os.path.dirname(b.socket), 0o700)
        for folder, _, _ in os.walk(b.dir):
            os.chown(folder, uid, uid)
        self.begin(under=under)
        spawner = b.call('daemon.status')['spawner_pid']
        self.start_again = lambda: (b.kill_daemon(), b.start(under=under))

        def limit(n):
            subprocess.run([*under, 'prlimit', '--pid=%d' % spawner, '--nproc=%s:' % n], check=True)
        hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
        max_processes = 'unlimited' if hard == resource.RLIM_INFINITY else hard
        limit(1)
        self.held_up(lambda: limit(max_processes))

    def test_no_descriptors(self):
        # More clients than there are descriptors: who came first is served, who came last waits, ops are started all the same.
        b = self.box
        self.begin(under=['prlimit', '--nofile=160:160'])
        crowd = []
        for _ in range(300):
            s = socket.socket(socket.AF_UNIX)
            s.connect(b.socket)
            crowd.append(s)
        self.assertIsNone(self.try_submit('meanwhile'))
        b.wait(self.taken['meanwhile'])
        self.quiet()
        self.assertTrue(self.trouble('connections'), 'it says that connections wait')
        for s in crowd:
            s.close()
        with b.connect() as r:
            until(lambda: r.call('daemon.status')['troubles'] == [], 'room')
        self.let_go()
        self.all_well(restart=False)

    def test_descriptors_taken_away(self):
        # Below what is open already: pipes of new ops cannot be received, nor files opened.
        b = self.box
        self.begin()
        pid = b.daemon_pid()
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE, (8, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        s = socket.socket(socket.AF_UNIX)
        self.addCleanup(s.close)
        s.connect(b.socket)
        said = self.try_submit('meanwhile')
        self.assertRegex(said or 'it was accepted', 'Too many open files.*raise')
        self.let_go()
        self.quiet()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        self.all_well()


# --- others and the database -----------------------------------------------------------------------------------------

class Others(Scene):
    def test_a_lock_of_another_program(self):
        b = self.box
        self.begin()
        db = sqlite3.connect(b.state + '/batchd.db', isolation_level=None)
        self.addCleanup(db.close)
        db.execute('BEGIN IMMEDIATE')
        self.assertRegex(self.try_submit('meanwhile'), 'E_STORAGE: .*database is locked.*batchd.db.*another program holds it')
        self.match({'state': 'running'}, b.call('run.get', run=self.first))     # and it blocks nobody who only reads
        self.let_go()
        self.quiet()
        db.execute('ROLLBACK')
        self.all_well()

    def test_it_is_moved_away(self):
        # Writes would go to a file that nobody finds again.
        b = self.box
        self.begin()
        os.rename(b.state, b.state + '.away')
        said = self.try_submit('meanwhile')
        self.assertRegex(said or 'it was accepted', 'E_STORAGE: .*batchd.db.* (removed|moved|replaced)')
        self.let_go()
        self.quiet()
        os.rename(b.state + '.away', b.state)
        self.all_well()

    def test_it_is_damaged_while_in_use(self):
        b = self.box
        self.begin()
        path = b.state + '/batchd.db'
        with open(path, 'r+b') as f:
            whole = f.read()
            f.seek(0)
            f.write(os.urandom(len(whole)))
        said = self.try_submit('meanwhile')     # its pages may be in memory, or in the log that is applied to them
        if said:
            self.assertRegex(said, 'E_STORAGE: .*(malformed|not a database).*copy')
        self.let_go()
        self.quiet()
        b.kill_daemon()
        with open(path, 'r+b') as f:
            f.write(whole)
        b.start()
        self.all_well()



del Scene
