"""An op at work that waits for a word, ops after it, a run after its run: what a fault is put on, and that all of it comes to its end."""
import os

from faults import quiet_share
from harness import Case, RpcError, alive, bash, batch, until

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
        self.pid = until(lambda: b.get(self.first)['ops'][0].get('pid'), 'its process, of which is told a moment later')
        if os.path.exists(b.state + '/batchd.db'):      # a disk that only batchd sees is not looked at
            b.stored_op(self.first)     # what is stored of it while it runs is: from here nothing is written by itself
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
