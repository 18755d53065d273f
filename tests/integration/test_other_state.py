"""Contract section 1 where the state folder is not the one whose ops the spawner has: an older copy was put back, another database put
in its place, or it was removed. Nothing hangs, no op is taken for another, and what cannot be told is named."""
import ctypes
import os
import shutil
import signal

from harness import Box, Case, alive, bash, batch, expand, rows, until


class Scene(Case):
    def leave(self):
        """batchd and its spawner have ended."""
        spawner = self.box.spawner_pid()
        self.box.stop_quietly()
        until(lambda: not alive(spawner), 'the end of the spawner')

    def begin(self, command='read x < gate; echo old >> trace', **keys):
        """A run whose op waits at the gate; the op's pid comes back with it."""
        b = self.box
        self.gate = b.path('gate')
        if not b.exists('gate'):
            b.fifo('gate')
        run = b.submit(batch([bash(command, **keys)]))
        until(lambda: b.get(run)['ops'][0]['state'] == 'running', 'the start of the op')
        return run, b.get(run)['ops'][0]['pid']

    def open_gate(self):
        with open(self.gate, 'w') as f:
            f.write('\n')

    def doctor(self, status):
        """What it finds wrong, by check."""
        found = self.box.ctl('--json', 'doctor', check=status).json['checks']
        return {f['check']: f for f in found if f['state'] == 'problem'}

    def new_run(self):
        """One more run is that and nothing else."""
        b = self.box
        run = b.run(batch([bash('echo new')]))
        self.match({'state': 'succeeded', 'ops': [{'exit': 0, 'attempts': 1}]}, run)
        self.assertEqual(b.output(run['run'], 1), b'new\n')
        return run['run']


class PutBack(Scene):
    """A copy of the whole folder, made before the runs that the spawner has, is put back under a batchd that was killed."""

    def setUp(self):
        super().setUp()
        b = self.box
        b.run(batch([bash('true')]))
        self.leave()
        self.copy = os.path.join(b.dir, 'copy')
        shutil.copytree(b.state, self.copy)
        b.start()

    def put_back(self):
        shutil.rmtree(self.box.state)
        shutil.copytree(self.copy, self.box.state)

    def test_what_runs_goes_on_and_is_named_and_its_id_is_not_given_again(self):
        b = self.box
        run, pid = self.begin()
        b.kill_daemon()
        self.put_back()
        b.start()
        self.assertEqual(self.new_run(), run + 1)
        said = self.doctor(1)['daemon']['text']
        for words in ('%d.1' % run, 'pid %d' % pid, 'older copy', 'kill -- -%d' % pid):
            self.assertIn(words, said)
        self.assertTrue(alive(pid))
        self.open_gate()
        until(lambda: b.exists('trace'), 'the end of the op')
        until(lambda: not b.call('daemon.status')['troubles'], 'the end of the trouble')
        self.leave()

    def test_what_has_ended_is_named_and_not_taken_for_a_new_run(self):
        b = self.box
        run, pid = self.begin('read x < gate; echo OLD; echo old >> trace')
        b.kill_daemon()
        self.open_gate()
        until(lambda: not alive(pid), 'the end of the op')
        self.put_back()
        b.start()
        self.assertEqual(self.new_run(), run + 1)
        with open(b.log) as f:
            self.assertIn('op %d.1' % run, f.read())
        self.leave()


    def test_what_an_earlier_run_of_that_number_left_is_no_other_runs(self):
        # That of a spawner which was killed is looked for among all processes.
        b = self.box
        run = b.run(batch([bash("(setsid env -i /bin/sh -c 'echo $$ > left; exec /bin/sleep 300' &); until test -s left; do sleep .01; done", detach=True)]))['run']
        left = int(b.text('left'))
        self.addCleanup(os.kill, left, signal.SIGKILL)
        self.leave()
        self.put_back()
        b.start()
        self.assertEqual(self.begin()[0], run)
        spawner = b.spawner_pid()
        os.kill(spawner, signal.SIGKILL)
        until(lambda: b.spawner_pid() not in (None, spawner), 'another spawner')
        b.call('run.cancel', run=run)
        b.wait(run)
        self.assertTrue(alive(left))


@expand
class Another(Scene):
    """Another folder or another database stands where the one was whose ops the spawner has."""

    def removed(self):
        shutil.rmtree(self.box.state)

    def replaced(self):
        """By a database that knows more runs than the one before."""
        b = self.box
        shutil.rmtree(b.state)
        shutil.copytree(self.other, b.state)

    def make_other(self):
        b, self.other = self.box, os.path.join(self.box.dir, 'other')
        state, b.state = b.state, self.other
        self.leave()
        b.start()
        for _ in range(3):
            b.run(batch([bash('true')]))
        self.leave()
        b.state = state
        b.start()

    @rows(('a folder that is removed after a kill', removed, Box.kill_daemon),
          ('a folder that is removed after a stop', removed, Box.stop_quietly),
          ('a database that is replaced after a kill', replaced, Box.kill_daemon))
    def runs(self, change, end):
        b = self.box
        self.make_other()
        run, pid = self.begin()
        spawner = b.spawner_pid()
        end(b)
        change(self)
        said = self.doctor(1)['database']['text']
        for words in ('1 op of another state folder', 'pid %d' % pid, 'let them end', 'kill -INT'):
            self.assertIn(words, said)
        refused = b.ctl('submit', '-e', 'true', check=125).errors
        for words in ('1 op of another state folder', 'let them end', 'kill -INT %d' % spawner):
            self.assertIn(words, refused)
        self.assertEqual(refused.count('\n'), 1, refused)
        self.assertTrue(alive(pid))
        self.open_gate()
        until(lambda: not alive(pid), 'the end of the op')
        self.assertEqual(b.text('trace'), 'old\n')
        until(lambda: b.ctl('--json', 'doctor').status == 0, 'a doctor that is content')
        b.ctl('daemon', 'start', check=0)
        self.assertEqual(self.new_run(), 1 if change is Another.removed else 4)

    def test_files_of_its_runs_are_not_taken_for_those_of_another_database(self):
        b = self.box
        self.make_other()
        runs, before = os.path.join(b.state, 'runs'), os.path.join(b.dir, 'before')
        run = b.run(batch([bash('echo old')]))['run']
        self.leave()

        def put(folder):
            """Its database alone."""
            for name in os.listdir(b.state):
                if name.startswith('batchd.db'):
                    os.unlink(os.path.join(b.state, name))
            shutil.copy2(os.path.join(folder, 'batchd.db'), b.state)
        os.mkdir(before)
        shutil.copy2(os.path.join(b.state, 'batchd.db'), before)
        put(self.other)
        self.assertIn("'%s' holds files of runs (up to %d) of another database" % (runs, run), self.doctor(1)['database']['text'])
        self.assertIn("move '%s' away" % runs, b.ctl('daemon', 'start', check=125).errors)
        put(before)
        self.assertEqual(self.box.ctl('log', '%d.1' % run, check=0).out, b'old\n')
        self.leave()
        put(self.other)
        os.rename(runs, runs + '.old')
        b.start()
        self.assertEqual(self.new_run(), 4)
        self.assertTrue(os.path.exists('%s.old/%d.log' % (runs, run)))

    @rows(('a folder that is removed', removed),
          ('a database that is replaced', replaced))
    def has_ended(self, change):
        b = self.box
        self.make_other()
        run, pid = self.begin('sleep 300 & echo $! > left; setsid -f sleep 300; read x < gate; echo OLD', detach=True)
        b.kill_daemon()
        self.open_gate()
        until(lambda: not alive(pid), 'the end of the op')
        change(self)
        until(lambda: b.ctl('daemon', 'start').status == 0, 'the end of the time that what an op left has to go')
        self.assertEqual(self.new_run(), 1 if change is Another.removed else 4)
        self.assertTrue(alive(int(b.text('left'))), 'what it left is not the new op\'s, also where that has its number')
        with open(os.path.join(b.state, 'batchd.log')) as f:
            self.assertIn('what became of them is forgotten', f.read())


@expand
class Unreachable(Scene):
    """batchd is killed, and the folder of the socket is removed: nobody finds the spawner any more."""

    def remove(self):
        shutil.rmtree(os.path.dirname(self.box.socket))

    def test_it_ends_where_its_ops_had_ended(self):
        b = self.box
        run, pid = self.begin()
        spawner = b.spawner_pid()
        b.kill_daemon()
        self.open_gate()
        until(lambda: not alive(pid), 'the end of the op')
        self.assertTrue(alive(spawner), 'its result may be asked for')
        self.remove()
        until(lambda: not alive(spawner), 'the end of the spawner')

    def test_it_keeps_what_runs_and_ends_with_it(self):
        b = self.box
        run, pid = self.begin('read x < gate; sleep 300 & echo $! > left; echo old >> trace', detach=True)
        spawner = b.spawner_pid()
        b.kill_daemon()
        self.remove()
        b.ctl('daemon', 'start', check=0)
        self.assertEqual(self.new_run(), run + 1)
        self.match({'state': 'interrupted', 'ops': [{'cause': 'lost'}]}, b.get(run))
        self.assertTrue(alive(spawner) and alive(pid))
        self.open_gate()
        until(lambda: not alive(spawner), 'the end of the spawner')
        self.assertEqual(b.text('trace'), 'old\n')
        self.assertTrue(alive(int(b.text('left'))), 'what was to stay')
        self.assertEqual(self.new_run(), run + 2)
        self.assertTrue(b.call('daemon.status')['spawner_pid'])
        self.assertTrue(os.path.exists(b.socket + '.spawner'), 'the next one has the name')

    @rows(('and killed', False), ('and killed after an exec of the spawner', True))
    def it_finds_its_ops_where_the_folder_was_removed_under_batchd(self, anew):
        b = self.box
        run, pid = self.begin('echo early; read x < gate; echo late; exit 3', ok_exits=[3])
        spawner = b.spawner_pid()
        self.remove()
        until(lambda: all(os.path.exists(b.socket + end) for end in ('', '.spawner', '.spawner.lock', '.spawner.table')), 'the folder, as it was')
        self.assertEqual(self.new_run(), run + 1)
        if anew:
            os.kill(spawner, signal.SIGHUP)
            until(lambda: b'this is batchd-spawner' in open(b.log, 'rb').read(), 'the exec')
        b.kill_daemon()
        b.ctl('daemon', 'start', check=0)
        self.match({'state': 'running', 'ops': [{'pid': pid}]}, b.get(run))
        self.assertEqual(b.spawner_pid(), spawner)
        self.open_gate()
        self.match({'state': 'succeeded', 'ops': [{'exit': 3, 'attempts': 1}]}, b.wait(run) and b.get(run))
        self.assertEqual(b.output(run, 1), b'early\nlate\n')
        self.assertEqual(self.new_run(), run + 2)

    def test_one_whose_socket_alone_is_removed_listens_again(self):
        b = self.box
        run, pid = self.begin()
        b.kill_daemon()
        os.unlink(b.socket + '.spawner')
        b.start()
        self.assertEqual(b.get(run)['state'], 'running')
        self.open_gate()
        self.match({'state': 'succeeded'}, b.wait(run))


class CloneArgs(ctypes.Structure):
    """struct clone_args of clone(2)."""
    _fields_ = [(name, ctypes.c_uint64) for name in ('flags', 'pidfd', 'child_tid', 'parent_tid', 'exit_signal', 'stack', 'stack_size',
                                                     'tls', 'set_tid', 'set_tid_size', 'cgroup')]


def sleep_as(pid):
    """sleep(1) with that pid, which is free; False where that is not ours to choose."""
    tid = ctypes.c_int32(pid)
    args = CloneArgs(exit_signal=signal.SIGCHLD, set_tid=ctypes.addressof(tid), set_tid_size=1)
    got = ctypes.CDLL(None, use_errno=True).syscall(435, ctypes.byref(args), ctypes.sizeof(args))
    if got == 0:
        try:
            os.execv('/bin/sleep', ['sleep', '300'])
        finally:
            os._exit(127)
    return got == pid


class SamePid(Scene):
    def test_a_later_process_is_not_taken_for_the_op_that_had_its_pid(self):
        b = self.box
        run, pid = self.begin('exec sleep 300')
        spawner = b.spawner_pid()
        b.kill_daemon()
        for p in (spawner, pid):
            os.kill(p, signal.SIGKILL)
            until(lambda p=p: not alive(p), 'the end of all')
        if not sleep_as(pid):
            self.skipTest('no pid may be chosen here (CAP_CHECKPOINT_RESTORE)')
        b.start()
        b.wait(run)
        self.match({'state': 'interrupted', 'ops': [{'cause': 'lost'}]}, b.get(run))
        self.assertTrue(alive(pid))


# A daemon that its op leaves behind, with a session of its own. In the middle of an exec a process shows no environment; this one has its
# own where nothing is mapped, for as long as it takes, and then executes sleep(1).
EXECUTING = r'''
import ctypes, os, resource, sys
resource.setrlimit(10, (-1, -1))    # RLIMIT_LOCKS, the mark that says whose it is
if os.fork():
    os._exit(0)
os.setsid()
f = open('/proc/self/stat').read().rsplit(')', 1)[1].split()
stat = dict(zip(range(3, 60), f))
libc = ctypes.CDLL(None, use_errno=True)
libc.sbrk.restype = ctypes.c_void_p
fields = [int(stat[n]) for n in (26, 27, 45, 46, 47)] + [libc.sbrk(0)] + [int(stat[n]) for n in (28, 48, 49)] + [1 << 20, (1 << 20) + 64]
words = (ctypes.c_uint64 * 13)(*fields, 0, 0xffffffff << 32)
fds = [os.open(name, os.O_RDWR) for name in ('/dev/null', 'go')]
r = libc.prctl(35, 14, ctypes.byref(words), ctypes.sizeof(words), 0)    # PR_SET_MM, PR_SET_MM_MAP
with open('left.new', 'w') as f:
    f.write(str(os.getpid() if r == 0 else 0))
os.rename('left.new', 'left')
for n in range(3):
    os.dup2(fds[0], n)
os.read(fds[1], 1)
os.execv('/bin/sleep', ['sleep', '300'])
'''


class Executing(Scene):
    def test_what_an_op_of_a_killed_spawner_left_is_waited_for_in_an_exec(self):
        b = self.box
        b.put('left.py', EXECUTING)
        go = b.fifo('go')
        run, pid = self.begin('/usr/bin/python3 left.py; read x < gate')
        until(lambda: b.exists('left'), 'the one that is left behind')
        left = int(b.text('left'))
        if not left:
            self.skipTest('nobody may move an environment here (CONFIG_CHECKPOINT_RESTORE)')
        spawner = b.spawner_pid()
        b.kill_daemon()
        os.kill(spawner, signal.SIGKILL)
        until(lambda: not alive(spawner), 'the end of the spawner')
        b.start()
        self.open_gate()
        until(lambda: not alive(pid), 'the end of the op')
        with open(go, 'w') as f:
            f.write('\n')
        b.wait(run)
        self.match({'state': 'interrupted', 'ops': [{'cause': 'lost', 'lingering': 1}]}, b.get(run))
        self.assertFalse(alive(left))
