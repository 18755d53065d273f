"""Contract section 1 over a change of programs or places: the spawner is upgraded under running ops, and the ops of a state folder are
found again wherever its next batchd listens."""
import os
import shutil
import signal
import unittest

from harness import BATCHD, SPAWNER, Case, alive, bash, batch, process_name, until


class Moved(Case):
    """The next batchd of a state folder serves another socket."""

    def move(self, name):
        b = self.box
        b.stop_quietly()
        b.socket = os.path.join(b.runtime, name, 'socket')
        b.start()

    def test_running_ops_are_adopted(self):
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash('echo began >> began; echo before; read x < gate; echo after; exit 3')], [bash('echo not')]))
        until(lambda: b.exists('began'), 'the start of the op')
        pid = b.get(run)['ops'][0]['pid']
        self.move('elsewhere')
        self.match({'state': 'running', 'ops': [{'state': 'running', 'pid': pid}, {}]}, b.get(run))
        other = b.submit(batch([bash('echo other')]))
        b.wait(other)
        self.move('somewhere')
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        self.match({'state': 'failed', 'ops': [{'state': 'failed', 'cause': 'exit', 'exit': 3, 'attempts': 1}, {'state': 'skipped'}]}, b.get(run))
        self.assertEqual(b.output(run, 1), b'before\nafter\n')
        self.assertEqual(b.text('began'), 'began\n')
        self.assertEqual(b.output(other, 1), b'other\n')

    def test_in_the_end_the_spawner_moves_too(self):
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash('touch began; read x < gate')]))
        until(lambda: b.exists('began'), 'the start of the op')
        first = b.spawner_pid()
        self.move('elsewhere')
        self.assertEqual(b.call('daemon.status')['spawner_pid'], first)
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        until(lambda: not alive(first), 'the end of the spawner that has nothing left')
        self.match({'state': 'succeeded'}, b.run(batch([bash('true')])))
        self.assertTrue(os.path.exists(b.socket + '.spawner'))
        self.assertFalse(os.path.exists(os.path.join(b.runtime, 'batchd', 'socket.spawner')))

    def test_what_ran_while_nobody_listened_is_told(self):
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash('touch began; read x < gate; echo done; exit 9')]))
        until(lambda: b.exists('began'), 'the start of the op')
        pid = b.get(run)['ops'][0]['pid']
        b.kill_daemon()
        with open(gate, 'w') as f:
            f.write('\n')
        until(lambda: not alive(pid), 'the end of the op')
        self.move('elsewhere')
        b.wait(run)
        self.match({'ops': [{'state': 'failed', 'exit': 9, 'attempts': 1}]}, b.get(run))
        self.assertEqual(b.output(run, 1), b'done\n')


class Swept(Case):
    """The runtime folder has been removed, as happens at the last logout, and with it all that the spawner knew."""

    def test_an_op_that_may_have_run_is_not_run_again(self):
        b = self.box
        run = b.submit(batch([bash('echo began >> began; exec sleep 300')], [bash('touch next')]))
        until(lambda: b.exists('began'), 'the start of the op')
        op, spawner = b.get(run)['ops'][0]['pid'], b.spawner_pid()
        b.kill_daemon()
        for pid in (spawner, op):
            os.kill(pid, signal.SIGKILL)
            until(lambda: not alive(pid), 'the end of all')
        shutil.rmtree(os.path.dirname(b.socket))
        b.start()
        b.wait(run)
        self.match({'state': 'interrupted', 'ops': [{'state': 'interrupted', 'cause': 'lost'}, {'state': 'skipped'}]}, b.get(run))
        self.assertEqual(b.text('began'), 'began\n')
