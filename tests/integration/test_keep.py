"""
What is kept how long, what is forgotten, and batchd.conf: contract sections 1 (Output), 3 (run.forget, daemon.reload) and 4 (clean,
daemon reload, batchd.conf).
"""
import os
import signal
import subprocess
import time
import unittest

import msgpack

from harness import (BATCHD, PATIENCE, SLOW, Case, Closed, Rpc, RpcError, bash, batch, exec_, expand, rows, slug, until, write)

PRINT = 'head -c %d /dev/zero | tr "\\0" x'


class Keep(Case):
    """A box whose batchd.conf the test writes."""
    daemon = False

    def setUp(self):
        super().setUp()
        self.conf = os.path.join(self.box.dir, 'batchd.conf')

    def write_conf(self, *lines):
        with open(self.conf, 'w') as f:
            f.write('\n'.join(lines) + '\n')

    def start(self, *lines):
        self.write_conf(*lines)
        self.box.start('--config', self.conf)
        return self.box

    def restart(self, *lines):
        if lines:
            self.write_conf(*lines)
        self.box.kill_daemon()
        return self.box.start('--config', self.conf)

    def reload(self, *lines):
        self.write_conf(*lines)
        return {c['name']: (c['before'], c['after']) for c in self.box.call('daemon.reload')['changed']}

    # --- what is on disk

    def run_files(self):
        return sorted(os.listdir(os.path.join(self.box.state, 'runs')))

    def has_output(self, run):
        return '%d.log' % run in self.run_files()

    def holding(self, secret):
        """Files of the state folder, and logs, that hold these bytes."""
        found = []
        for folder, _, names in [*os.walk(self.box.state), (self.box.dir, [], [os.path.basename(self.box.log)])]:
            for name in names:
                try:
                    with open(os.path.join(folder, name), 'rb') as f:
                        if secret.encode() in f.read():
                            found.append(name)
                except FileNotFoundError:
                    pass
        return found

    def printed(self, n, state='succeeded', **keys):
        """A run that printed n bytes and ended so."""
        command = PRINT % n + ('' if state == 'succeeded' else '; false')
        run = self.box.run(batch([bash(command)], **keys))
        self.assertEqual(run['state'], state)
        return run['run']

    def dropped(self, run):
        return self.box.call('run.get', run=run, ops='none')['output_dropped']

    def gone(self, run):
        return not any(r['run'] == run for r in self.box.call('run.list')['runs'])


# --- batchd.conf -----------------------------------------------------------------------------------------------------

def group_slots(t, name):
    return {g['group']: g['slots'] for g in t.box.call('group.list')['groups']}.get(name)


def cap_of_conf(t):
    run = t.printed(100000)
    t.match({'stdout_bytes': 100000, 'dropped_bytes': 100000 - 8192}, t.box.get(run)['ops'][0])


def grace_of_conf(t):
    run = t.box.submit(batch([bash('trap "" TERM; touch ready; while :; do sleep .05; done')]))
    until(lambda: t.box.exists('ready'), 'the trap')
    t.box.call('run.cancel', run=run)
    t.box.wait(run)
    t.match([{'state': 'cancelled', 'signal': 'SIGKILL'}], t.box.get(run)['ops'])


def drain_of_conf(t):
    run = t.box.submit(batch([bash('touch began; exec sleep 60')]))
    until(lambda: t.box.exists('began'), 'the op')
    t.box.call('daemon.stop', drain=True)
    t.box.disconnect()
    t.assertEqual(t.box.daemon.wait(PATIENCE), 0)
    t.box.daemon = None
    t.box.start('--config', t.conf)
    t.assertEqual(t.box.get(run)['state'], 'running', 'the op was left to the spawner')
    t.box.call('run.cancel', run=run)
    t.box.wait(run)


def output_goes_by_age(t):
    run = t.printed(1000)
    until(lambda: t.dropped(run) == 'keep_output', 'the end of its time')
    until(lambda: not t.has_output(run), 'the end of its files')


def output_goes_by_size(t):
    runs = [t.printed(20000) for _ in range(6)]
    until(lambda: t.dropped(runs[0]), 'the oldest to go')
    gone = [t.dropped(r) for r in runs]
    n = gone.count('keep_output_bytes')
    t.assertEqual(gone, ['keep_output_bytes'] * n + [None] * (6 - n), 'the oldest, and no more than must')
    t.assertLess(n, 4)


def rows_go(t):
    run = t.printed(1000)
    until(lambda: t.gone(run), 'the end of its time')
    until(lambda: t.run_files() == [], 'the end of its files')


def frame_of_conf(t):
    with t.assertRaises(Exception):
        t.box.connect().call('run.list', name='x' * 9000)
    t.assertEqual(t.box.call('rpc.hello')['limits']['frame_bytes'], 8192)


def shell_of_conf(t):
    run = t.box.run(batch([bash('echo $0')]))['run']
    t.assertEqual(t.box.output(run, 1), b'/bin/sh\n')


def log_level_of_conf(t):
    t.box.call('daemon.reload')
    with open(t.box.log) as f:
        t.assertNotIn('configuration read again', f.read(), 'that is for `info`')


@expand
class Config(Keep):
    """`batchd.conf` (`name = value`)"""

    @rows(
        ('`slots`: of the default pool', ['slots = 3'], lambda t: t.assertEqual(group_slots(t, 'default'), 3)),
        ('`slots` by default: max(8, cores+2)', [],
         lambda t: t.assertEqual(group_slots(t, 'default'), max(8, os.cpu_count() + 2))),
        ('`group.NAME`: the slots of a pool', ['group.build = 2'], lambda t: t.assertEqual(group_slots(t, 'build'), 2)),
        ('`output_cap`: bytes kept of an op', ['output_cap = 8K'], cap_of_conf),
        ('`grace`: from TERM to KILL', ['grace = 100ms'], grace_of_conf),
        ('`drain`: how long a draining stop waits', ['drain = 200ms'], drain_of_conf),
        ('`keep_output`: how long output is kept', ['keep_output = 200ms'], output_goes_by_age),
        ('`keep_output_bytes`: how much disk output may take, oldest succeeded first', ['keep_output_bytes = 120K'], output_goes_by_size),
        ('`keep_rows`: how long runs are remembered', ['keep_rows = 200ms'], rows_go),
        ('`max_frame`: the longest message taken', ['max_frame = 8K'], frame_of_conf),
        ('`shell`: for `bash` ops that name none', ['shell = /bin/sh'], shell_of_conf),
        ('`log_level`: what is logged', ['log_level = error'], log_level_of_conf),
        ('comments and blank lines are skipped', ['# slots = 1', '', '  slots=4  ', '\t#'],
         lambda t: t.assertEqual(group_slots(t, 'default'), 4)))
    def setting(self, lines, check):
        self.start(*lines)
        check(self)

    @rows(
        ('unknown names are an error with line number', 'slots = 4\n\nslotz = 5\n', (':3: slotz: unknown setting', "did you mean 'slots'?")),
        ('an unknown name that is nothing like a known one', 'colour = red\n', (':1: colour: unknown setting: see batchd.conf(5)',)),
        ('what is given twice', 'slots = 1\nslots = 2\n', (':2: slots: given before, in line 1',)),
        ('a pool that is given twice', 'group.a = 1\n\ngroup.a = 2\n', (':3: group.a: given before, in line 1',)),
        ('`slots = 0`', 'slots = 0\n', (':1: slots: must be a whole number from 1',)),
        ('a bad number', 'slots = x\n', (':1: slots: must be a whole number',)),
        ('a bad size', 'output_cap = 1T\n', (':1: output_cap: must be a size',)),
        ('a bad duration', 'grace = soon\n', (':1: grace: must be a duration',)),
        ('a bad pool', 'group.all = 1\n', (":1: group.all: the pool's name: 'all'",)),
        ('a bad level', 'log_level = loud\n', (':1: log_level: must be error, warn, info or debug',)),
        ('a line that is none', 'slots 4\n', (":1: 'slots 4': must be name = value",)))
    def refused_at_the_start(self, text, says):
        with open(self.conf, 'w') as f:
            f.write(text)
        err = self.fails_to_start()
        for words in says:
            self.assertIn(words, err)
        self.assertIn(self.conf, err)

    def fails_to_start(self):
        p = subprocess.run([BATCHD, '--foreground', '--socket', self.box.socket, '--state-dir', self.box.state, '--config', self.conf],
                           env=self.box.env(), stdin=subprocess.DEVNULL, capture_output=True, timeout=20 * SLOW)
        self.assertEqual(p.returncode, 2, p.stderr)
        return p.stderr.decode()

    def test_a_file_that_is_not_there_is_an_error_where_it_was_named(self):
        self.assertIn("cannot read '%s': no such file" % self.conf, self.fails_to_start())

    def test_a_file_that_cannot_be_read(self):
        os.mkdir(self.conf)
        self.assertIn("cannot read '%s'" % self.conf, self.fails_to_start())


# --- retention -------------------------------------------------------------------------------------------------------

class Output(Keep):
    """Kept 14 days or 2 GiB, oldest succeeded first, never of an active run; rows 90 days; all settable."""

    def test_the_oldest_succeeded_goes_first_then_the_oldest_other(self):
        b = self.start('keep_output_bytes = 0')
        failed = self.printed(20000, 'failed')
        good = [self.printed(20000) for _ in range(3)]
        failed_later = self.printed(20000, 'failed')
        for limit, left in ((110000, [failed, good[1], good[2], failed_later]), (60000, [failed, failed_later]),
                            (30000, [failed_later]), (1, [])):
            self.reload('keep_output_bytes = %d' % limit)
            until(lambda: [r for r in (failed, *good, failed_later) if not self.dropped(r)] == left, 'that %r are left' % left)
            until(lambda: [r for r in (failed, *good, failed_later) if self.has_output(r)] == left, 'their files')
        self.match({'stdout_bytes': 20000}, b.get(good[0])['ops'][0])

    def test_never_of_an_active_run(self):
        b = self.start('keep_output = 1ms', 'keep_output_bytes = 1', 'keep_rows = 0')
        go = b.fifo('go')
        active = b.submit(batch([bash('echo kept; read x < %s; echo more' % go)]))
        until(lambda: b.output(active, 1) == b'kept\n', 'its output')
        for _ in range(3):
            other = self.printed(10000)
            until(lambda: self.dropped(other), 'the end of the other')
        self.assertEqual(b.output(active, 1), b'kept\n')
        self.restart()
        self.assertEqual(b.output(active, 1), b'kept\n')
        with open(go, 'w') as f:
            f.write('\n')
        b.wait(active)
        until(lambda: self.dropped(active), 'its own end')

    def test_what_was_dropped_is_said_in_one_line(self):
        b = self.start('keep_output = 100ms')
        run = b.run(batch([bash('echo out; exit 3', id='say'), bash('true', id='silent')], [bash('true')]))['run']
        until(lambda: self.dropped(run), 'the end of its time')
        e = self.refused('E_NOT_FOUND', 'run.output', {'run': run, 'op': 'say'}, ('the output of run %d was dropped' % run, 'keep_output'))
        self.assertNotIn('\n', e.text)
        self.assertEqual(b.call('run.output', run=run, op='silent')['data'], b'', 'of what printed nothing nothing is missing')
        self.match({'state': 'failed', 'output_dropped': 'keep_output',
                    'ops': [{'stdout_bytes': 4, 'out': {'head': b'', 'tail': b'', 'dropped': 4}},
                            {'stdout_bytes': 0, 'out': {'head': b'', 'tail': b'', 'dropped': 0}}, {'state': 'skipped'}]},
                   b.get(run, output=100))
        self.match({'output_dropped': 'keep_output', 'ops': [{'out': {'dropped': 4}}, {}, {}]},
                   b.call('run.wait', run=run, timeout_ms=0, output=100))
        done = b.ctl('log', run, check=2)
        self.assertEqual(done.out, b'')
        self.assertEqual(done.errors.count('\n'), 1)
        self.assertIn('the output of run %d was dropped' % run, done.errors)
        again = b.call('run.restart', run=run, failed=True)
        self.assertIn('output was dropped (keep_output)', again['warnings'][0])
        b.wait(again['run'])
        self.assertIn('output was dropped', b.ctl('restart', '--failed', run, check=0).errors)

    def test_who_follows_an_ended_run_is_not_left_waiting(self):
        b = self.start('keep_output = 100ms')
        run = self.printed(1000)
        until(lambda: self.dropped(run), 'the end of its time')
        sub = b.call('run.subscribe', run=run, output='data')
        self.assertEqual(sub['output_dropped'], 'keep_output')
        self.match({'type': 'run.state', 'state': 'succeeded'}, b.rpc.wait_event(lambda e: e['type'].startswith('r') or e['data']))

    def test_zero_is_for_ever(self):
        b = self.start('keep_output = 0', 'keep_output_bytes = 0', 'keep_rows = 0')
        run = self.printed(100000)
        self.restart()
        self.assertEqual(self.dropped(run), None)
        self.assertEqual(len(b.output(run, 1)), 100000)

    def test_a_restarted_daemon_drops_what_became_due_meanwhile(self):
        b = self.start('keep_output = 1d')
        run = self.printed(1000)
        b.stop_quietly()
        self.start('keep_output = 1ms')
        until(lambda: self.dropped(run), 'the end of its time')

    def test_a_run_that_is_named_by_one_that_has_not_begun_is_remembered(self):
        b = self.start('keep_rows = 1ms')
        go = b.fifo('go')
        first = b.submit(batch([bash('read x < %s' % go)]))
        waits = b.submit(batch([bash('touch ran')]), needs_runs=[first], held=True)
        with open(go, 'w') as f:
            f.write('\n')
        other = self.box.submit(batch([bash('true')]))
        until(lambda: self.gone(other), 'the end of another')
        self.assertFalse(self.gone(first))
        self.restart()
        self.refused('E_STATE', 'run.forget', {'run': first}, 'run %d is needed by run %d' % (first, waits))
        b.call('run.resume', run=waits)
        until(lambda: self.gone(waits), 'the end of both')
        until(lambda: self.gone(first), 'the end of both')
        self.assertTrue(b.exists('ran'))

    def test_ids_and_keys_of_what_went(self):
        b = self.start('keep_rows = 100ms')
        first = b.run(batch([bash('true')], key='k', name='n'))['run']
        until(lambda: self.gone(first), 'the end of its time')
        self.refused('E_NOT_FOUND', 'run.get', {'run': first}, 'no run %d any more' % first)
        self.refused('E_NOT_FOUND', 'run.restart', {'run': first}, 'no run %d any more' % first)
        self.refused_batch('E_NOT_FOUND', batch([bash('true')], needs_runs=[first]), 'there is no run %d' % first)
        b.stop_quietly()
        self.start('keep_rows = 0')
        second = b.call('batch.submit', batch=batch([bash('echo another')], key='k', cwd=b.work))
        self.match({'run': first + 1, 'existing': False}, second)

    def test_kill_9_while_much_is_forgotten(self):
        b = self.start('keep_rows = 0')
        runs = [b.submit(batch([bash('echo x')] * 20)) for _ in range(20)]
        for run in runs:
            b.wait(run)
        keep = self.printed(10)
        self.write_conf('keep_rows = 0')
        for turn in range(4):
            b.rpc.request('run.forget', {'runs': runs})
            end = time.monotonic() + turn * 0.004
            while time.monotonic() < end:
                pass
            self.restart()
            left = {r['run'] for r in b.call('run.list')['runs']}
            self.assertLessEqual(left, set(runs) | {keep})
            names = {int(n.split('.')[0]) for n in self.run_files()}
            self.assertEqual(names, left, 'files of runs that there are, and no others')
            for run in left - {keep}:
                self.assertEqual(b.get(run)['ops_total'], 20)
        b.call('run.forget', runs=runs)
        self.assertEqual([r['run'] for r in b.call('run.list')['runs']], [keep])
        self.assertEqual(b.output(keep, 1), b'x' * 10)
        self.assertEqual(self.table_rows(), {'run': 1, 'batch': 1, 'op': 1, 'attempt': 0, 'gone': 0, 'claim': 0})

    def table_rows(self):
        import sqlite3
        db = sqlite3.connect('file:%s?mode=ro' % os.path.join(self.box.state, 'batchd.db'), uri=True)
        return {t: db.execute('SELECT count(*) FROM ' + t).fetchone()[0] for t in ('run', 'batch', 'op', 'attempt', 'gone', 'claim')}

    def test_an_idle_daemon_stays_idle(self):
        b = self.start()
        with open('/proc/%d/maps' % b.daemon.pid) as f:
            if 'libtsan' in f.read():
                self.skipTest('ThreadSanitizer has a thread of its own that wakes up')
        run = self.printed(1000)
        b.call('run.forget', run=run)
        self.printed(1000)
        b.disconnect()

        def switches():
            total = 0
            for task in os.listdir('/proc/%d/task' % b.daemon.pid):
                with open('/proc/%d/task/%s/status' % (b.daemon.pid, task)) as f:
                    total += sum(int(line.split()[1]) for line in f if 'ctxt_switches' in line)
            return total

        def still(last=[0, 0.0]):
            now = switches()
            if now != last[0]:
                last[:] = now, time.monotonic()
            return time.monotonic() - last[1] > 1
        until(still, 'a second in which it does nothing')


@unittest.skipUnless(os.geteuid() == 0 and os.path.exists('/proc/self/mounts'), 'only root can mount a small disk')
class FullDisk(Keep):
    def setUp(self):
        super().setUp()
        os.makedirs(self.box.state)
        if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=16M,mode=700', 'tmpfs', self.box.state], capture_output=True).returncode:
            self.skipTest('cannot mount a small disk here')
        self.addCleanup(subprocess.run, ['umount', '-l', self.box.state])
        self.addCleanup(self.box.stop_quietly)

    def test_a_small_disk_never_fills_with_what_has_ended(self):
        self.start('keep_output_bytes = 2M')
        runs = [self.printed(1500000) for _ in range(12)]
        until(lambda: self.dropped(runs[-2]), 'all but the last to go')
        self.assertEqual(len(self.box.output(runs[-1], 1)), 1500000)

    def test_what_fills_the_disk_can_be_forgotten(self):
        b = self.start('keep_output_bytes = 0')
        runs = [self.printed(1000000) for _ in range(4)]
        filler = os.open(os.path.join(b.state, 'filler'), os.O_WRONLY | os.O_CREAT)
        try:
            while os.write(filler, b'x' * 4096):
                pass
        except OSError:
            os.close(filler)
        self.reload('keep_output_bytes = 1200000')
        until(lambda: [bool(self.dropped(r)) for r in runs] == [True] * 3 + [False], 'room to be made')
        b.call('run.forget', run=runs[3])
        self.assertEqual(self.printed(100000), 5)


# --- env -------------------------------------------------------------------------------------------------------------

class Environment(Keep):
    """`env_base` is kept only until the run has ended; after that names only."""
    SECRET = 'hunter2-' + 'x' * 24

    def submit_secret(self, command, **keys):
        return self.box.submit(batch([bash(command)], **keys), env_base=self.box.env(MY_SECRET=self.SECRET))

    def no_trace(self):
        until(lambda: self.holding(self.SECRET) == [], 'that the secret is nowhere: %r' % self.holding(self.SECRET))

    def test_nothing_of_it_is_on_disk_after_the_end(self):
        b = self.start()
        run = self.submit_secret('test -n "$MY_SECRET"', key='k', name='n')
        b.wait(run)
        self.assertEqual(self.holding(self.SECRET), [], 'at once')
        self.match({'state': 'succeeded', 'env_names': lambda names: 'MY_SECRET' in names and 'HOME' in names}, b.get(run))
        self.restart()
        self.assertEqual(self.holding(self.SECRET), [])
        b.stop_quietly()
        self.assertEqual(self.holding(self.SECRET), [])

    def test_after_kill_9_in_the_middle(self):
        b = self.start()
        go = b.fifo('go')
        run = self.submit_secret('read x < %s; test -n "$MY_SECRET"' % go)
        later = self.submit_secret('test -n "$MY_SECRET"', needs_runs=[run])
        self.assertEqual(sorted(self.holding(self.SECRET)), ['%d.env' % run, '%d.env' % later], 'nowhere else')
        self.assertIsNone(b.get(run)['env_names'], 'it is in use')
        self.restart()
        with open(go, 'w') as f:
            f.write('\n')
        b.wait(run)
        b.wait(later)
        self.match({'state': 'succeeded'}, b.get(later))
        self.no_trace()

    def test_of_a_batch_that_was_not_accepted(self):
        b = self.start()
        self.submit_secret('true', key='k')
        with self.assertRaises(RpcError):
            self.submit_secret('false', key='k')
        b.wait(1)
        self.no_trace()

    def test_the_log_names_neither_commands_nor_values(self):
        # Not at its most talkative, nor of what goes wrong.
        b = self.start('log_level = debug')
        b.run(batch([bash('echo ' + self.SECRET, env={'A': self.SECRET}, stdin=self.SECRET), exec_('/nowhere/' + self.SECRET, optional=True),
                     exec_('cat', self.SECRET, cwd='/nowhere/' + self.SECRET, optional=True), write('f', self.SECRET),
                     bash('exit 3 # ' + self.SECRET, optional=True, retries=1, retry_delay=0), bash('sleep 60 #' + self.SECRET, timeout=.1, optional=True)]),
              env_base=b.env(MY_SECRET=self.SECRET))
        with self.assertRaises(RpcError):
            b.submit(batch([dict(kind='bash', command=self.SECRET, no_key=self.SECRET)]), env_base={'B': self.SECRET})
        for frame in (b'\xc1' + self.SECRET.encode(), msgpack.packb([7, self.SECRET]), msgpack.packb(self.SECRET)):
            with Rpc(b.socket) as r, self.assertRaises((Closed, OSError)):
                r.send_bytes(frame)
                r.call('daemon.status')
        self.restart()
        b.stop_quietly()
        with open(b.log) as f:
            said = f.read()
        self.assertEqual(said.count('closed:'), 3)
        self.assertNotIn(self.SECRET, said)

    def test_env_of_the_batch_stays_with_it(self):
        b = self.start()
        run = b.run(batch([bash('test "$A" = b')], env={'A': 'b'}))['run']
        again = b.call('run.restart', run=run)['run']
        b.wait(again)
        self.match({'state': 'succeeded', 'env_names': lambda names: 'A' in names}, b.get(again))


# --- run.forget, clean -----------------------------------------------------------------------------------------------

@expand
class Forget(Keep):
    """`run.forget` {run | before | state} → {forgotten}"""

    def four(self):
        """1 succeeded, 2 failed, 3 cancelled, 4 runs."""
        b = self.start()
        runs = [self.printed(100), self.printed(100, 'failed')]
        runs.append(b.submit(batch([bash('exec sleep 60')]), held=True))
        b.call('run.cancel', run=runs[2])
        b.wait(runs[2])
        until(lambda: time.time() * 1000 > b.get(runs[2])['ended'], 'the next millisecond')
        runs.append(b.submit(batch([bash('exec sleep 60')])))
        return runs

    @rows(
        ('`run`: this one', lambda t, r: {'run': r[1]}, 1, [0, 2, 3]),
        ('`runs`: these', lambda t, r: {'runs': [r[0], r[3], 77]}, 1, [1, 2, 3]),
        ('`before`: that ended before this time', lambda t, r: {'before': t.box.get(r[2])['ended'] + 1}, 3, [3]),
        ('`before`: and not at it', lambda t, r: {'before': t.box.get(r[1])['ended']}, 1, [1, 2, 3]),
        ('`state`: in this state', lambda t, r: {'state': 'failed'}, 1, [0, 2, 3]),
        ('`state`: in one of these', lambda t, r: {'state': ['failed', 'cancelled']}, 2, [0, 3]),
        ('`state`: no active run', lambda t, r: {'state': 'running'}, 0, [0, 1, 2, 3]),
        ('`before` and `state` together', lambda t, r: {'state': 'succeeded', 'before': 1}, 0, [0, 1, 2, 3]))
    def forget(self, params, forgotten, left):
        runs = self.four()
        self.assertEqual(self.box.call('run.forget', params(self, runs))['forgotten'], forgotten)
        self.assertEqual([r['run'] for r in self.box.call('run.list')['runs']], [runs[i] for i in reversed(left)])
        self.assertEqual(sum(n.endswith('.log') for n in self.run_files()), len([i for i in left if i < 2]), 'and its output')
        self.box.call('run.cancel', run=runs[3])
        self.box.wait(runs[3])

    @rows(
        ('nothing', {}, 'E_PARAMS', "give 'run', 'runs', 'before' or 'state'"),
        ('two at once', {'run': 1, 'state': 'failed'}, 'E_PARAMS', 'stand alone'),
        ('no such run', {'run': 99}, 'E_NOT_FOUND', 'no run 99'))
    def refused_params(self, params, symbol, says):
        self.start()
        self.refused(symbol, 'run.forget', params, says)

    def test_an_active_run_is_not_forgotten(self):
        runs = self.four()
        self.refused('E_STATE', 'run.forget', {'run': runs[3]}, 'has not ended')
        self.box.call('run.cancel', run=runs[3])
        self.box.wait(runs[3])

    def test_nothing_is_left_on_disk(self):
        b = self.start()
        run = b.run(batch([bash('echo forget-me-not; : secret-in-a-command')], [write('f', 'secret-in-content')], name='secret-name',
                          key='secret-key', meta={'a': 'secret-meta'}))['run']
        self.assertTrue(self.holding('secret-in-a-command'))
        b.call('run.forget', run=run)
        for word in ('forget-me-not', 'secret-in-a-command', 'secret-in-content', 'secret-name', 'secret-key', 'secret-meta'):
            self.assertEqual(self.holding(word), [], word)

    def test_its_key_is_free_again_and_its_id_is_not(self):
        b = self.start()
        run = b.run(batch([bash('true')], key='k'))['run']
        b.call('run.forget', run=run)
        self.match({'run': run + 1, 'existing': False}, b.call('batch.submit', batch=batch([bash('false')], key='k', cwd=b.work)))
        self.restart()
        self.assertEqual(b.run(batch([bash('true')]))['run'], run + 2)

    def test_a_run_that_is_just_ending(self):
        b = self.start()
        for _ in range(20):
            run = b.submit(batch([bash('true')]))
            until(lambda: b.get(run)['state'] == 'succeeded', 'its end')
            self.assertEqual(b.call('run.forget', run=run)['forgotten'], 1)

    def test_with_a_reader_at_work(self):
        b = self.start()
        run = self.printed(3000000)
        reader = b.connect()
        first = reader.call('run.output', run=run, op=1, limit=1000000)
        b.call('run.forget', run=run)
        self.assertEqual(len(first['data']), 1000000)
        with self.assertRaises(RpcError) as caught:
            reader.call('run.output', run=run, op=1, offset=1000000)
        self.assertIn('no run %d any more' % run, caught.exception.text)

    def test_with_a_follower_attached(self):
        b = self.start()
        run = self.printed(2000000)
        follower = b.connect()
        follower.call('run.subscribe', run=run, output='data')
        b.call('run.forget', run=run)
        got = 0
        while True:
            e = follower.wait_event()
            if e['type'] == 'run.state':
                break
            got += len(e.get('data', b''))
        self.assertIn(got, (0, 2000000), 'all of it, or what was there when it began')

    def test_its_children_and_heirs_stay(self):
        b = self.start()
        run = b.run(batch([bash('echo a'), bash('test -e there')]))['run']
        b.put('there')
        heir = b.call('run.restart', run=run, failed=True)['run']
        b.wait(heir)
        b.call('run.forget', run=run)
        self.match({'origin': run, 'state': 'succeeded'}, b.get(heir))
        self.refused('E_NOT_FOUND', 'run.get', {'run': run}, 'no run %d' % run)
        self.match({'state': 'succeeded', 'origin': heir}, self.ended(b.call('run.restart', run=heir)['run']))

    def ended(self, run):
        self.box.wait(run)
        return self.box.get(run)

    def test_the_database_does_not_only_grow(self):
        b = self.start()
        size = 0
        for turn in range(4):
            for _ in range(8):
                b.run(batch([write('f', 'x' * 200000)]))
            b.call('run.forget', state='succeeded')
            until(lambda: os.path.getsize(os.path.join(b.state, 'batchd.db')) < 2500000, 'the file to be small again')
            size = max(size, os.path.getsize(os.path.join(b.state, 'batchd.db')))
        self.assertLess(size, 2500000)


class Clean(Keep):
    """`batchctl clean [--failed]` prints what it chose."""

    def test_clean(self):
        b = self.start()
        good, bad = self.printed(10, name='good'), self.printed(10, 'failed', name='bad')
        active = b.submit(batch([bash('exec sleep 60')]))
        self.assertEqual(b.ctl('clean', '--failed', check=0).text, 'forgot 1 run: %d\n' % bad)
        self.assertEqual(b.ctl('clean', check=0).text, 'forgot 1 run: %d\n' % good)
        done = b.ctl('clean', check=0)
        self.assertEqual((done.text, done.errors.count('no run to forget')), ('', 1))
        self.assertEqual([r['run'] for r in b.call('run.list')['runs']], [active])
        b.call('run.cancel', run=active)
        b.wait(active)
        self.assertEqual(b.ctl('--json', 'clean', check=0).json, {'forgotten': 1})

    def test_clean_of_some(self):
        b = self.start()
        runs = [self.printed(10) for _ in range(4)]
        self.assertEqual(b.ctl('clean', '%d-%d' % (runs[1], runs[2]), check=0).text, 'forgot 2 runs: %d,%d\n' % tuple(runs[1:3]))
        self.assertEqual([r['run'] for r in b.call('run.list')['runs']], [runs[3], runs[0]])
        b.ctl('clean', runs[1], check=2)

    def test_what_is_needed_stays_and_is_named(self):
        b = self.start()
        needed, other = self.printed(10), self.printed(10)
        waits = b.submit(batch([bash('true')]), needs_runs=[needed], held=True)
        done = b.ctl('clean', check=0)
        self.assertEqual(done.text, 'forgot 1 run: %d\n' % other)
        self.assertIn('run %d stays' % needed, done.errors)
        b.call('run.resume', run=waits)
        b.wait(waits)
        self.match({'state': 'succeeded'}, b.get(waits))


# --- daemon.reload ---------------------------------------------------------------------------------------------------

def starts_what_waits(t):
    b = t.box
    runs = [b.submit(batch([bash('echo >> began; exec sleep 60')]), group='g') for _ in range(3)]
    until(lambda: b.exists('began') and b.text('began'), 'the first')
    t.assertEqual(b.text('began'), '\n')
    t.assertEqual(t.reload('group.g = 3'), {'group.g': ('', '3')})
    until(lambda: b.text('began') == '\n\n\n', 'the others')
    t.assertEqual(t.reload('group.g = 2'), {'group.g': ('3', '2')})
    # What has been started writes before batchd hears of its start.
    until(lambda: [b.get(r)['ops'][0]['state'] for r in runs] == ['running'] * 3, 'that all run: smaller ends nothing')
    t.assertEqual(t.reload(), {'group.g': ('2', '')})
    t.assertEqual(group_slots(t, 'g'), 1)
    for run in runs:
        b.call('run.cancel', run=run)
        b.wait(run)


def reload_slots(t):
    t.assertEqual(t.reload('slots = 2'), {'slots': ('', '2')})
    t.assertEqual(group_slots(t, 'default'), 2)


def then(lines, changed, check):
    def case(t):
        t.assertEqual(t.reload(*lines), changed)
        check(t)
    return case


def shell_now(t):
    t.assertEqual(t.reload('shell = /bin/sh'), {'shell': ('bash', '/bin/sh')})
    shell_of_conf(t)


@expand
class Reload(Keep):
    """`daemon.reload`: reads `batchd.conf` again"""

    @rows(
        ('`slots`', reload_slots),
        ('`group.NAME`: more start at once what waits, fewer end nothing', starts_what_waits),
        ('`output_cap`: of ops that start after it', then(['output_cap = 8K'], {'output_cap': ('16M', '8K')}, cap_of_conf)),
        ('`grace`', then(['grace = 100ms'], {'grace': ('5s', '100ms')}, grace_of_conf)),
        ('`drain`', then(['drain = 200ms'], {'drain': ('0s', '200ms')}, drain_of_conf)),
        ('`keep_output`', then(['keep_output = 200ms'], {'keep_output': ('14d', '200ms')}, output_goes_by_age)),
        ('`keep_output_bytes`', then(['keep_output_bytes = 120K'], {'keep_output_bytes': ('2G', '120K')}, output_goes_by_size)),
        ('`keep_rows`', then(['keep_rows = 200ms'], {'keep_rows': ('90d', '200ms')}, rows_go)),
        ('`max_frame`', then(['max_frame = 8K'], {'max_frame': ('64M', '8K')}, frame_of_conf)),
        ('`shell`', shell_now),
        ('`log_level`', then(['log_level = error'], {'log_level': ('info', 'error')}, lambda t: None)),
        ('nothing changed', then(['# but a comment'], {}, lambda t: None)))
    def reloaded(self, case):
        self.start()
        pid = self.box.daemon.pid
        case(self)
        if slug('drain') not in self.id():
            self.assertEqual(self.box.call('daemon.status')['pid'], pid)

    def test_a_wrong_file_is_refused_with_file_and_line_and_nothing_changes(self):
        self.start('slots = 3', 'group.g = 2')
        self.write_conf('slots = 5', 'group.g = 4', 'grice = 1s')
        self.refused('E_PARAMS', 'daemon.reload', None, (self.conf + ':3: grice: unknown setting', "did you mean 'grace'?"))
        self.assertEqual((group_slots(self, 'default'), group_slots(self, 'g')), (3, 2))
        self.assertEqual(self.reload('slots = 3', 'group.g = 2'), {})

    def test_a_file_that_is_gone(self):
        self.start('slots = 3')
        os.unlink(self.conf)
        self.refused('E_PARAMS', 'daemon.reload', None, "cannot read '%s'" % self.conf)
        self.assertEqual(group_slots(self, 'default'), 3)

    def test_what_was_set_by_hand_holds_over_the_file(self):
        b = self.start('group.g = 2', 'group.h = 2')
        b.call('group.set', group='g', slots=7)
        b.call('group.set', group='h', paused=True)
        self.reload('group.g = 3', 'group.h = 3')
        self.assertEqual((group_slots(self, 'g'), group_slots(self, 'h')), (7, 3), 'only its pause was set by hand')
        self.restart()
        self.assertEqual((group_slots(self, 'g'), group_slots(self, 'h')), (7, 3))
        self.assertEqual({g['group']: (g['by_hand'], g['paused']) for g in b.call('group.list')['groups'] if g['group'] in 'gh'},
                         {'g': (True, False), 'h': (False, True)})

    def test_sighup_does_it_too(self):
        b = self.start()
        self.write_conf('group.g = 3')
        b.daemon.send_signal(signal.SIGHUP)
        until(lambda: group_slots(self, 'g') == 3, 'the new configuration')
        with open(b.log) as f:
            self.assertIn('configuration read again: group.g: default -> 3', f.read())
        self.write_conf('group.g = many')
        b.daemon.send_signal(signal.SIGHUP)
        until(lambda: ':1: group.g: must be' in open(b.log).read(), 'the refusal in the log')
        self.assertEqual(group_slots(self, 'g'), 3)

    def test_many_at_once_are_all_answered(self):
        b = self.start()
        ids = [b.rpc.request('daemon.reload') for _ in range(50)]
        for i in ids:
            self.assertEqual(b.rpc.reply(i)['changed'], [])

    def test_batchctl_daemon_reload_prints_what_changed(self):
        b = self.start('slots = 3', 'shell = bash')
        done = b.ctl('daemon', 'reload', check=0)
        self.assertEqual((done.text, done.errors.count('nothing changed')), ('', 1))
        self.write_conf('group.g = 2', 'grace = 1m')
        self.assertEqual(b.ctl('daemon', 'reload', check=0).text, 'slots: 3 -> default\ngrace: 5s -> 60s\ngroup.g: default -> 2\n')
        self.write_conf('slots = 4')
        self.assertEqual(b.ctl('--json', 'daemon', 'reload', check=0).json['changed'][0], {'name': 'slots', 'before': '', 'after': '4'})
        self.write_conf('slots = none')
        done = b.ctl('daemon', 'reload', check=2)
        self.assertIn(self.conf + ':1: slots: must be', done.errors)
        b.stop_quietly()
        b.ctl('daemon', 'reload', check=125)


if __name__ == '__main__':
    unittest.main()
