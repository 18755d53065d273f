"""
Chains of short commands, each of which needs the one before: batchd hands the next over ahead, to be begun in the moment the other
has ended well (struct sw_after of proto/spawn_wire.h). To everybody it must be as if it were asked for each: in order, once, none
after a failure, a cancel or a pause, whoever is killed meanwhile. Each op adds a line to a file when it begins and one when it ends.
"""
import os
import random
import signal
import subprocess
import time
import unittest

from harness import PATIENCE, SLOW, Case, alive, bash, batch, expand, exec_, rows, strace_works, until

LENGTH = 120


class Chains(Case):
    def chain(self, n=LENGTH, commands={}, **keys):
        """`commands`: what op i does, where it is not nothing."""
        ops = []
        for i in range(n):
            command = 'echo b%d >> trace; { %s; } && echo e%d >> trace' % (i, commands.get(i, ':'), i)
            ops.append(bash(command, id='o%d' % i, **({'needs': ['o%d' % (i - 1)]} if i else {}), **keys))
        return batch(ops)

    def trace(self):
        return self.box.text('trace').split() if self.box.exists('trace') else []

    def begun(self):
        return [int(line[1:]) for line in self.trace() if line[0] == 'b']

    def check_trace(self, n):
        """Each once, in order, none before the one before it had ended."""
        self.assertEqual(self.trace(), [x for i in range(n) for x in ('b%d' % i, 'e%d' % i)])

    def check_told(self, run):
        """What has begun is told to have begun, and nothing else is."""
        ops = self.box.get(run)['ops']
        begun = set(self.begun())
        for i, op in enumerate(ops):
            if i in begun:
                self.assertGreater(op.get('attempts', 0), 0, (i, op))
                self.assertIn(op['state'], ('succeeded', 'failed', 'cancelled', 'interrupted'), (i, op))
            else:
                self.assertIn(op['state'], ('skipped', 'cancelled', 'failed'), (i, op))
        self.assertEqual({op['cause'] for op in ops if op['state'] == 'cancelled'} - {'cancel'}, set())
        return [op['state'] for op in ops]

    def until_begun(self, n):
        until(lambda: len(self.begun()) >= n, 'op %d of the chain' % n)

    def test_a_chain_runs_in_order(self):
        for _ in range(3):
            got = self.box.run(self.chain())
            self.assertEqual(got['state'], 'succeeded')
            self.check_trace(LENGTH)
            os.unlink(self.box.path('trace'))

    def test_each_is_told_as_its_own(self):
        got = self.box.run(self.chain(20, {i: 'echo "$BATCHD_OP $BATCHD_ATTEMPT"' for i in range(20)}))
        for i in range(20):
            self.assertEqual(self.box.output(got['run'], i + 1), b'%d 1\n' % (i + 1))
        times = [(op['started'], op['ended']) for op in got['ops']]
        self.assertEqual(times, sorted(times))
        self.assertEqual([op['exit'] for op in got['ops']], [0] * 20)

    @unittest.skipUnless(strace_works(), 'strace cannot trace here')
    def test_most_are_begun_without_asking(self):
        """Else nothing here is about what it is about."""
        self.box.run(self.chain(4))
        os.unlink(self.box.path('trace'))
        out = self.box.path('sent')
        tracer = subprocess.Popen(['strace', '-qq', '-e', 'trace=clone,clone3,recvmsg,waitid', '-o', out, '-p', str(self.box.spawner_pid())],
                                  stdin=subprocess.DEVNULL)
        try:
            until(lambda: 'TracerPid:\t%d\n' % tracer.pid in open('/proc/%d/status' % self.box.spawner_pid()).read(), 'strace')
            got = self.box.run(batch([exec_('sleep', '0.02', id='o%d' % i, **({'needs': ['o%d' % (i - 1)]} if i else {})) for i in range(40)]))
        finally:
            tracer.terminate()
            tracer.wait()
        self.assertEqual(got['state'], 'succeeded')
        with open(out) as f:
            calls = [line.split('(')[0] for line in f]
        starts = [calls[i - 1] for i, c in enumerate(calls) if c.startswith('clone')]
        self.assertEqual(len(starts), 40)
        self.assertGreater(starts.count('waitid'), 10)     # else the packet that asks for it is what comes before

    @rows(('exit status', 'exit 3', dict(state='failed', exit=3)),
          ('signal', 'kill -9 $$', dict(state='failed', signal='SIGKILL')),
          ('command not found', 'exec nowhere-to-be-found', dict(state='failed', exit=127)))
    def after_a_failure_none_begins(self, command, expected):
        for at in (0, 1, 30, 31, 32, 33, 60):
            got = self.box.run(self.chain(70, {at: command}))
            self.assertEqual(self.begun(), list(range(at + 1)))
            self.match(expected, got['ops'][at])
            self.assertEqual([op['state'] for op in got['ops'][at + 1:]], ['skipped'] * (69 - at))
            self.assertTrue(all(op.get('attempts', 0) == 0 for op in got['ops'][at + 1:]))
            os.unlink(self.box.path('trace'))

    def test_what_is_allowed_to_fail_and_to_be_tried_again(self):
        got = self.box.run(self.chain(40, {20: 'exit 3'}, ok_exits=[0, 3]))
        self.assertEqual({op['state'] for op in got['ops']}, {'succeeded'})
        os.unlink(self.box.path('trace'))
        got = self.box.run(self.chain(40, {20: '[ -e once ] || { touch once; exit 1; }'}, retries=1))
        self.assertEqual({op['state'] for op in got['ops']}, {'succeeded'})
        self.assertEqual(got['ops'][20]['attempts'], 2)
        self.assertEqual(self.begun(), sorted([*range(40), 20]))

    def test_a_program_that_is_not_there(self):
        ops = [exec_('/bin/true' if i != 20 else '/nowhere/to/be/found', id='o%d' % i, **({'needs': ['o%d' % (i - 1)]} if i else {}))
               for i in range(30)]
        got = self.box.run(batch(ops))
        self.match(dict(state='failed', cause='start'), got['ops'][20])
        self.assertEqual([op['state'] for op in got['ops']], ['succeeded'] * 20 + ['failed'] + ['skipped'] * 9)

    def test_after_a_cancel_none_begins(self):
        for seed in range(8):
            run = self.box.submit(self.chain(2000))
            self.until_begun(20 + 3 * seed)
            self.box.call('run.cancel', run=run)
            self.box.wait(run)
            n = len(self.begun())
            time.sleep(0.05)
            self.assertEqual(len(self.begun()), n)
            self.assertEqual(self.begun(), list(range(n)))
            states = self.check_told(run)
            # Those that had begun before the word came to the spawner: one, and those handed over to follow it.
            self.assertEqual(states[:n - 3], ['succeeded'] * (n - 3))
            self.assertEqual(states[n:], ['cancelled'] * (2000 - n))
            os.unlink(self.box.path('trace'))

    def test_one_op_is_cancelled(self):
        run = self.box.submit(self.chain(400))
        self.until_begun(20)
        self.box.call('run.cancel', run=run, op='o100')
        self.box.wait(run)
        self.assertEqual(self.begun(), list(range(100)))
        self.assertEqual(self.check_told(run)[100:], ['cancelled'] + ['skipped'] * 299)

    def test_a_pause_holds_the_next_back(self):
        run = self.box.submit(self.chain(600))
        for n in (20, 60, 100):
            self.until_begun(n)
            self.box.call('run.pause', run=run)
            until(lambda: len(self.trace()) == 2 * len(self.begun()), 'the end of what had begun')
            time.sleep(0.05)    # one may have been on its way
            until(lambda: len(self.trace()) == 2 * len(self.begun()), 'the end of what had begun')
            here = self.trace()
            time.sleep(0.3)
            self.assertEqual(self.trace(), here)
            self.box.call('run.resume', run=run)
        self.box.wait(run)
        self.check_trace(600)

    def test_a_pause_during_a_long_one(self):
        """What was handed over ahead is asked back, and is not begun when the long one ends."""
        run = self.box.submit(self.chain(60, {40: 'until [ -e go ]; do sleep 0.02; done'}))
        self.until_begun(41)
        self.box.call('run.pause', run=run)
        self.box.put('go')
        until(lambda: 'e40' in self.trace(), 'its end')
        time.sleep(0.3)
        self.assertEqual(len(self.begun()), 41)
        self.box.call('run.resume', run=run)
        self.box.wait(run)
        self.check_trace(60)

    def test_a_paused_group(self):
        run = self.box.submit(self.chain(60, {40: 'until [ -e go ]; do sleep 0.02; done'}), group='g')
        self.until_begun(41)
        self.box.call('group.set', group='g', paused=True)
        self.box.put('go')
        until(lambda: 'e40' in self.trace(), 'its end')
        time.sleep(0.3)
        self.assertEqual(len(self.begun()), 41)
        self.box.call('group.set', group='g', paused=False)
        self.box.wait(run)
        self.check_trace(60)

    def test_a_timeout_of_the_run(self):
        for seed in range(3):
            run = self.box.submit(self.chain(5000), timeout=(0.4 + 0.17 * seed) * SLOW)
            self.box.wait(run)
            n = len(self.begun())
            states = self.check_told(run)
            self.assertEqual(self.begun(), list(range(n)))
            self.assertEqual(set(states[n + 1:]), {'skipped'})     # one may have been ended before it came to print a line
            os.unlink(self.box.path('trace'))

    def test_what_it_leaves_behind_costs_no_pause(self):
        """The spawner does not begin the next then; batchd, which counts it as done well, does at once."""
        n = 12
        self.box.run(self.chain(30))
        os.unlink(self.box.path('trace'))
        begun = time.monotonic()
        self.box.run(self.chain(n, {i: '(setsid sleep 300 >/dev/null 2>&1 </dev/null &)' for i in range(n)}, detach=True))
        with_children = time.monotonic() - begun
        self.check_trace(n)
        self.assertLess(with_children, n * 0.9 * SLOW)

    def test_one_submits_and_waits_in_its_slot(self):
        """Whoever has not been heard to have begun may ask all the same."""
        nested = 'batchctl run -q -- true'
        run = self.box.submit(self.chain(30, {i: nested for i in range(3, 30)}), jobs=1, group='one')
        self.box.wait(run)
        self.check_trace(30)
        self.assertEqual(self.box.get(run)['state'], 'succeeded')

    def test_runs_of_the_same_pool_have_their_turn(self):
        self.box.call('group.set', group='one', slots=1)
        long = self.box.submit(self.chain(3000), group='one')
        self.until_begun(30)
        short = self.box.submit(batch([exec_('true')]), group='one')
        self.box.wait(short)
        self.assertNotEqual(len(self.begun()), 3000)
        self.box.call('run.cancel', run=long)
        self.box.wait(long)

    # --- somebody is killed

    def kill(self, who):
        if who in ('batchd', 'both'):
            spawner = until(self.box.spawner_pid) if who == 'both' else None
            self.box.kill_daemon()
            if spawner:
                os.kill(spawner, signal.SIGKILL)
            self.box.start()
        elif who == 'spawner':
            os.kill(until(self.box.spawner_pid), signal.SIGKILL)
        elif who == 'upgrade':
            os.kill(until(self.box.spawner_pid), signal.SIGHUP)
        else:
            self.box.daemon.send_signal(signal.SIGTERM)
            self.box.disconnect()
            self.box.daemon.wait()
            self.box.daemon = None
            self.box.start()

    @rows(('batchd is killed', 'batchd', 12), ('the spawner is killed', 'spawner', 12), ('both are killed', 'both', 6),
          ('the spawner is upgraded', 'upgrade', 6), ('batchd is stopped', 'stop', 6))
    def none_is_lost_and_none_runs_twice(self, who, times):
        rnd = random.Random(who)
        run = self.box.submit(self.chain(times * 60))
        for i in range(times):
            n = 5 + 55 * i + rnd.randrange(20)
            until(lambda: len(self.begun()) >= n or self.box.get(run)['state'] == 'interrupted', 'op %d of the chain' % n)
            time.sleep(rnd.random() * 0.01)
            self.kill(who)
        self.box.wait(run, 4 * PATIENCE)
        begun = self.begun()
        self.assertEqual(begun, sorted(set(begun)), 'one ran twice')
        states = [op['state'] for op in self.box.get(run)['ops']]
        if 'interrupted' in states:     # nobody could know how it ended: only where both were killed
            self.assertEqual(who, 'both')
            self.check_told(run)
        else:
            self.check_trace(times * 60)
            self.assertEqual(set(states), {'succeeded'})

    def test_batchd_is_killed_while_a_long_one_runs(self):
        """What was handed over goes with the connection: it begins when the next batchd says so, once."""
        run = self.box.submit(self.chain(60, {40: 'until [ -e go ]; do sleep 0.02; done'}))
        self.until_begun(41)
        self.box.kill_daemon()
        self.box.put('go')
        until(lambda: 'e40' in self.trace(), 'its end')
        time.sleep(0.1)
        self.assertEqual(len(self.begun()), 41)
        self.box.start()
        self.box.wait(run)
        self.check_trace(60)
        self.assertTrue(alive(self.box.spawner_pid()))


expand(Chains)

if __name__ == '__main__':
    unittest.main()
