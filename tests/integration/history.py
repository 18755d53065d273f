"""
A workload whose every effect can be counted, and the checker of what became of it.

Each op of a `History` appends one line RUN.OP.ATTEMPT to a file of its own and prints known bytes. Afterwards `check` holds the store
against these files: what was acknowledged is there; an attempt's effect happened at most once; nothing succeeded without its effect;
output is complete and byte-exact; nothing is `interrupted` where somebody could know.
"""
import os
import re

from harness import Closed, RpcError, bash, batch, message, todos, until, write

LINES = 400     # of output an op prints, in two parts
ENDED = ('succeeded', 'failed', 'cancelled', 'interrupted')


def effect(tag, more=''):
    """Appends the attempt's line in one write, then prints in two parts."""
    return ('echo "$BATCHD_RUN.$BATCHD_OP.$BATCHD_ATTEMPT" >> effects/%s; for i in $(seq %d); do echo "%s $i"; done; %s'
            'for i in $(seq %d %d); do echo "%s $i" >&2; done' % (tag, LINES // 2, tag, more, LINES // 2 + 1, LINES, tag))


class History:
    def __init__(self, box):
        self.box = box
        self.acked = {}         # run: tag
        self.asked = {}         # tag: batch, answered or not
        self.cancelled = set()
        os.makedirs(box.path('effects'), exist_ok=True)

    def make(self, n):
        """A batch of two messages: files, a todo, ops in parallel, one that is tried again, one that needs another."""
        tag = 't%d' % n
        again = 'test "$BATCHD_ATTEMPT" != 1 || exit 9; '
        return tag, batch(
            message(write('%s/a' % tag, tag * 300), todos({'id': tag, 'content': tag}, mode='merge'),
                    bash(effect(tag + '-1'), id='one', todo=tag), bash(effect(tag + '-2', 'sleep .02; ')),
                    bash(effect(tag + '-3', again), retries=2, retry_delay=0)),
            message(bash('cat %s/a; ' % tag + effect(tag + '-4'), needs=['one']), bash(effect(tag + '-5')),
                    write('%s/b' % tag, tag * 300, create_only=True)),
            key=tag, list='history', cwd=self.box.work)

    def submit(self, n, rpc):
        """Submits once more until it is answered; a connection that ends before that is the caller's."""
        tag, b = self.make(n)
        self.asked[tag] = b
        run = rpc.call('batch.submit', {'batch': dict(b, env_base=self.box.env(BATCHD_SOCKET=None))})['run']
        assert self.acked.setdefault(run, tag) == tag, 'run %d was answered for two batches' % run
        return run

    def settle(self, timeout=60):
        """With a daemon at work: every acknowledged run comes to its end."""
        for run in sorted(self.acked):
            self.box.wait(run, timeout)

    # --- the checker

    def check(self, lost=False, both=False):
        """`lost`: the spawner was killed, so there may be attempts of which nobody knows the end; `both`: batchd with it, so nobody may
        have had the pipes: where output may be missing it is said. Returns counts."""
        runs = {}
        for run, tag in sorted(self.acked.items()):
            try:
                runs[run] = self.box.get(run)
            except RpcError as e:
                raise AssertionError('run %d was acknowledged and is gone: %s' % (run, e))
            self.check_run(runs[run], tag, lost, both)
        known = {t: r for r, t in self.acked.items()}
        for name in os.listdir(self.box.path('effects')):
            tag = name.split('-')[0]
            assert tag in self.asked, 'an effect of a batch that nobody submitted: ' + name
            lines = self.box.text('effects', name).split()
            assert len(lines) == len(set(lines)), 'an attempt happened twice: %s %r' % (name, lines)
            assert all(re.fullmatch(r'\d+\.\w+\.\d+', line) for line in lines), (name, lines)
            owners = {line.split('.')[0] for line in lines}
            assert len(owners) <= 1, 'two runs of one key: %s %r' % (name, lines)
            if tag in known:
                assert owners <= {str(known[tag])}, (name, lines, known[tag])
        ops = [o for r in runs.values() for o in r['ops']]
        return {'runs': len(runs), 'ops': len(ops), 'interrupted': sum(o['state'] == 'interrupted' for o in ops)}

    def check_run(self, run, tag, lost, both):
        where = 'run %d (%s)' % (run['run'], tag)
        assert run['state'] in ENDED, (where, run['state'])
        if run['run'] not in self.cancelled and not lost:
            assert run['state'] == 'succeeded', (where, run['state'], [(o['index'], o['state'], o['cause'], o['error']) for o in run['ops']])
        for op in run['ops']:
            if op['kind'] == 'bash':
                self.check_op(run, op, '%s op %d' % (where, op['index']), tag, lost, both)
        for op, name in ((run['ops'][0], 'a'), (run['ops'][7], 'b')):
            if op['state'] == 'succeeded':
                assert self.box.text(tag, name) == tag * 300, (where, name)

    def check_op(self, run, op, where, tag, lost, both):
        name = '%s-%d' % (tag, op['index'] - 2)
        lines = self.box.text('effects', name).split() if self.box.exists('effects', name) else []
        assert len(lines) <= op['attempts'], (where, 'more effects than attempts', lines, op)
        if op['state'] == 'interrupted':
            assert lost and op['cause'] == 'lost', (where, op)
        unread = both and (op['error'] or '').startswith('output may be missing: the spawner was killed')
        assert op['state'] != 'failed' and (unread or not op['error']), (where, 'the harm came to it', op)
        if op['state'] != 'succeeded':
            return
        last = '%d.%d.%d' % (run['run'], op['index'], op['attempts'])
        assert last in lines, (where, 'succeeded without its effect', lines, op)
        if not lost:
            assert len(lines) == op['attempts'], (where, lines, op)
        if not unread:
            self.check_output(self.box, run['run'], op, tag)

    @staticmethod
    def check_output(box, run, op, tag):
        """Output of an op that succeeded is complete and byte-exact."""
        name, part = '%s-%d' % (tag, op['index'] - 2), LINES // 2
        head = tag * 300 if op['index'] == 6 else ''
        out = head + ''.join('%s %d\n' % (name, i) for i in range(1, part + 1))
        err = ''.join('%s %d\n' % (name, i) for i in range(part + 1, LINES + 1))
        for stream, expected in (('stdout', out), ('stderr', err)):
            got = box.output(run, op['index'], stream).decode()
            assert got == expected, ('run %d op %d' % (run, op['index']), stream, 'is %d bytes, should be %d' % (len(got), len(expected)),
                                     got[:80], got[-80:])
