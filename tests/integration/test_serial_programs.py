"""
Contract section 1, Order: in a serial message everything happens in the order written, and after a failure nothing later does.

Small programs of file operations, each done twice: by batchd under `serial` and under `as-if-serial`, and by the interpreter below,
which knows the contract and none of our code. The trees, the states with their causes and what was printed must be the same.
"""
import hashlib
import os
import random
import shutil
import stat
import subprocess
import unittest

from harness import Case, bash, batch, edit, exec_, message, read, write

FILES = ('write', 'edit', 'read')


def sha(content):
    return hashlib.sha256(content if isinstance(content, bytes) else content.encode()).hexdigest()


def raw(text):
    return text if isinstance(text, bytes) else text.encode()


# --- the interpreter -------------------------------------------------------------------------------------------------

class Oracle:
    """Does a batch in a folder of its own, one op after the other."""

    def __init__(self, folder, env):
        self.folder, self.env = folder, env

    def path(self, op):
        return os.path.normpath(os.path.join(self.folder, op.get('cwd', '.'), op['path']))

    def content(self, path):
        with open(path, 'rb') as f:
            return f.read()

    def write(self, op):
        path, content = self.path(op), raw(op['content'])
        try:
            there = stat.S_ISREG(os.stat(path).st_mode)
        except FileNotFoundError:
            there = False
        except OSError:     # a ring of links, a file where a folder should be
            return 'io', b''
        else:
            if not there:
                return 'io', b''
        if op.get('create_only') and there:
            return 'conflict', b''
        if 'expect' in op:
            now = self.content(path) if there else None
            if now is None or sha(now) != op['expect'].lower():
                return 'conflict', b''
        try:
            os.makedirs(os.path.dirname(os.path.realpath(path)), 0o755, exist_ok=True)
            with open(path, 'ab' if op.get('append') else 'wb') as f:
                f.write(content)
        except OSError:
            return 'io', b''
        if 'mode' in op:
            os.chmod(path, int(op['mode'], 8))
        return None, b''

    def edit(self, op):
        path = self.path(op)
        try:
            now = self.content(path)
        except OSError:
            return 'io', b''
        count = now.count(raw(op['old']))
        if count == 0 or count > 1 and not op.get('all'):
            return 'conflict', b''
        with open(path, 'wb') as f:
            f.write(now.replace(raw(op['old']), raw(op['new'])))
        return None, b''

    def read(self, op):
        try:
            now = self.content(self.path(op))[op.get('offset', 0):]
        except OSError:
            return 'io', b''
        return None, now[:op['limit']] if 'limit' in op else now

    def command(self, op):
        argv = op.get('argv') or ['bash', '-c', op['command']]
        done = subprocess.run(argv, cwd=os.path.join(self.folder, op.get('cwd', '.')), env=self.env, umask=0o022,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return None if done.returncode in op.get('ok_exits', [0]) else 'exit', done.stdout

    def op(self, op):
        return getattr(self, op['kind'] if op['kind'] in FILES else 'command')(op)

    def run(self, b):
        """[(state, cause, stdout)] of the ops, and the state of the run."""
        results, ended, stopped, bad = [], {}, False, False
        for m in b['messages']:
            go_on = m.get('on_failure', b.get('on_failure')) == 'continue'
            skipping = stopped and not m.get('always')
            failed = False
            for op in m['ops']:
                unmet = any(ended[i] != 'succeeded' for i in op.get('needs', []))
                if skipping or failed and not go_on or unmet:
                    result = 'skipped', 'dependency', b''
                else:
                    cause, out = self.op(op)
                    result = 'failed' if cause else 'succeeded', cause, out
                    if cause and not op.get('optional'):
                        failed = bad = True
                ended[op.get('id')] = result[0]
                results.append(result)
            stopped = stopped or failed and not go_on
        return results, 'failed' if bad else 'succeeded'


def tree(folder):
    found = {}
    for d, folders, names in os.walk(folder):
        for n in folders + names:
            path = os.path.join(d, n)
            st = os.lstat(path)
            what = os.readlink(path) if stat.S_ISLNK(st.st_mode) else None
            if stat.S_ISREG(st.st_mode):
                with open(path, 'rb') as f:
                    what = f.read()
            mode = None if stat.S_ISLNK(st.st_mode) else oct(stat.S_IMODE(st.st_mode))
            found[os.path.relpath(path, folder)] = (stat.S_IFMT(st.st_mode), mode, what)
    return found


# --- the programs ----------------------------------------------------------------------------------------------------

def program(*messages, **keys):
    return batch(*messages, **keys)


ALWAYS = dict(always=True)
PROGRAMS = [
    # what one op writes, the next finds
    program([write('f', 'a'), bash('cat f'), write('f', 'b'), bash('cat f')]),
    program([write('f', 'a'), edit('f', 'a', 'b'), read('f'), edit('f', 'b', 'c'), read('f')]),
    program([bash('echo x > f'), edit('f', 'x', 'y'), exec_('cat', 'f')]),
    program([write('f', '1\n'), write('f', '2\n', append=True), bash('echo 3 >> f'), write('f', '4\n', append=True), read('f')]),
    program([write('f', 'a'), bash('mv f g'), write('f', 'b'), bash('cat g f')]),
    program([write('f', 'a'), bash('cp f g'), edit('g', 'a', 'b'), bash('cat f g')]),
    program([write('f', 'a'), bash('rm f'), read('f'), write('f', 'never')]),
    program([write('f', 'a'), bash('rm f'), write('f', 'b', create_only=True), read('f')]),
    program([write('a/b/c', 'x'), bash('mv a d'), read('d/b/c'), write('a/b/c', 'y')]),
    program([bash('mkdir -p d/e; echo 1 > d/e/f'), bash('rm -r d'), write('d', 'now a file'), read('d')]),
    program([write('d', 'a file'), bash('rm d'), write('d/f', 'now below'), bash('ls d')]),
    program([bash('for i in 1 2 3; do echo $i > f$i; done'), edit('f2', '2', 'two'), bash('cat f*')]),
    program([write('s.sh', '#!/bin/sh\necho ran\n', mode='755'), exec_('./s.sh'), edit('s.sh', 'ran', 'ran again'), exec_('./s.sh')]),
    # modes
    program([write('f', 'a', mode='600'), write('f', 'b'), edit('f', 'b', 'c'), write('f', 'd', append=True)]),
    program([bash('touch f; chmod 751 f'), write('f', 'x'), write('g', 'x'), write('h', 'x', mode='0444')]),
    program([write('f', 'a', mode='400'), write('f', 'b', mode='640'), bash('stat -c %a f')]),
    program([write('d/e/f', 'x'), bash('stat -c %a d d/e d/e/f')]),
    program([write('f', 'a', mode='755'), bash('chmod 700 f'), write('f', 'b', append=True, mode='711')]),
    # symlinks
    program([write('real', 'a'), bash('ln -s real link'), write('link', 'b'), read('real'), bash('test -L link')]),
    program([bash('ln -s not/yet link'), write('link', 'made'), read('not/yet')]),
    program([write('real', 'a'), bash('ln -s real link'), edit('link', 'a', 'b'), read('real'), bash('rm link'), read('real')]),
    program([bash('mkdir d; ln -s d l'), write('l/f', 'x'), read('d/f'), bash('rm l; ls d')]),
    program([bash('ln -s a b; ln -s b a'), write('a', 'x'), write('never', '')]),
    program([write('real', 'a'), bash('ln -s real one; ln -s one two'), write('two', 'b', append=True), read('one')]),
    # forms of a path
    program([write('a/../b', 'x'), read('./b'), write('./c', 'y'), read('c/'), bash('ls')]),
    program([write('d//e///f', 'x'), read('d/./e/../e/f'), edit('./d//e/f', 'x', 'y'), bash('cat d/e/f')]),
    program([write('f', 'x', cwd='sub/dir'), bash('cat f', cwd='sub/dir'), read('../dir/f', cwd='sub/dir'), read('sub/dir/f')]),
    program([bash('mkdir -p x/y; ln -s x/y l; echo 1 > f'), read('l/../f')]),
    program([write('a b\tc', 'odd'), read('a b\tc'), write("quo'te\"", 'x'), bash('ls | cat')]),
    program([write('f/', 'x'), read('f')]),
    # create_only, expect
    program([write('f', 'a', create_only=True), write('f', 'b', create_only=True), write('f', 'never')]),
    program([write('f', 'a', create_only=True), write('f', 'a', create_only=True), read('f')], on_failure='continue'),
    program([write('f', 'b'), write('f', 'b', expect=sha('a')), read('f')], on_failure='continue'),
    program([write('f', 'a'), write('f', 'b', expect=sha('a')), write('f', 'c', expect=sha('b')), read('f')]),
    program([write('f', 'a'), write('f', 'b', expect=sha('x'), optional=True), read('f')]),
    program([write('f', 'b', expect=sha('a')), write('f', 'never')]),
    program([write('f', 'a'), bash('echo -n z > f'), write('f', 'b', expect=sha('a')), read('f')]),
    program([write('f', 'a'), write('f', 'b', expect=sha('a').upper())], on_failure='continue'),
    program([write('f', 'a'), write('f', 'b', append=True, expect=sha('a')), write('f', 'b', append=True, expect=sha('a'))]),
    # edit
    program([write('f', 'a a'), edit('f', 'a', 'b'), write('f', 'never')]),
    program([write('f', 'a a'), edit('f', 'a', 'b', all=True), read('f')]),
    program([write('f', 'a'), edit('f', 'x', 'y', optional=True), edit('f', 'x', 'y', all=True, optional=True), read('f')]),
    program([write('f', 'aXbXc'), edit('f', 'X', '', all=True), edit('f', 'abc', 'X\nY'), bash('wc -l < f')]),
    program([edit('f', 'a', 'b'), write('f', 'never')]),
    program([write('f', 'aaa'), edit('f', 'aa', 'b'), read('f')]),
    program([write('f', b'\0\xff\0'), edit('f', b'\xff', b'\n'), read('f')]),
    program([bash('mkdir d'), edit('d', 'a', 'b')]),
    # read
    program([write('f', '0123456789'), read('f', offset=2), read('f', limit=3), read('f', offset=8, limit=9), read('f', offset=99)]),
    program([read('nowhere', optional=True), write('f', 'x'), read('f')]),
    program([bash('mkdir d'), read('d'), write('f', 'never')]),
    # failures
    program([write('f', 'a'), bash('false'), write('f', 'never')], [write('g', 'never')]),
    program([write('f', 'a'), bash('false'), write('f', 'b')], [write('g', 'c')], on_failure='continue'),
    program([bash('false')], [write('f', 'never')], message(write('g', 'clean'), bash('ls'), **ALWAYS)),
    program([bash('exit 3', ok_exits=[3]), bash('exit 3', optional=True), write('f', 'x')]),
    program(message(bash('false'), write('f', 'a'), on_failure='continue'), [write('f', 'b', append=True)], [bash('false'), write('f', 'no')]),
    program([write('f', 'a'), write('f/g', 'below a file'), write('h', 'never')]),
    program(message(bash('false'), write('f', 'no'), **ALWAYS), message(write('f', 'yes'), **ALWAYS), [write('g', 'no')]),
    program([write('/dev/null', 'x'), write('f', 'never')]),
    program([bash('mkdir d'), write('d', 'x'), write('f', 'never')]),
    # needs
    program([bash('false', id='a'), write('f', 'no', needs=['a']), write('g', 'yes')], on_failure='continue'),
    program([bash('false', id='a', optional=True), write('f', 'no', needs=['a'], id='b'), write('g', 'no', needs=['b']), write('h', 'y')]),
    program([bash('false', id='a', optional=True), bash('ls', after_any=['a']), write('f', 'x', id='f')], [edit('f', 'x', 'y', needs=['f'])]),
    # several messages
    program([write('f', '1')], [write('f', '2', append=True), bash('cp f g')], [edit('g', '12', '3'), read('g')], [bash('cat f g')]),
    program([write('log', '')], *[[write('log', '%d\n' % i, append=True), bash('tail -1 log')] for i in range(6)]),
    program([write('f', 'x' * 100000), bash('wc -c < f'), edit('f', 'x' * 100000, 'y'), read('f')]),
]


def generated(seed):
    """A program of what is likely to meet: few names, many ops."""
    rnd = random.Random(seed)
    names = ['a', 'b', 'd/a', 'd/b', 'd/e/a', './a', 'd/../b']
    texts = ['x', 'y', 'xy', 'xx', 'x\ny\n']

    def op():
        n, m, t = rnd.choice(names), rnd.choice(names), rnd.choice(texts)
        return rnd.choice([
            lambda: write(n, t), lambda: write(n, t, append=True), lambda: write(n, t, create_only=True),
            lambda: write(n, t, expect=sha(rnd.choice(texts))), lambda: write(n, t, mode=rnd.choice(['600', '755'])),
            lambda: edit(n, rnd.choice('xy'), t + 'z'), lambda: edit(n, rnd.choice('xy'), t + 'z', all=True),
            lambda: read(n), lambda: bash('cp %s %s' % (n, m)), lambda: bash('mv %s %s' % (n, m)), lambda: bash('rm %s' % n),
            lambda: bash('ln -s a %s' % n), lambda: bash('cat %s' % n), lambda: bash('mkdir %s' % n), lambda: bash('rm -rf d'),
            lambda: exec_('touch', n), lambda: bash('false')])()

    messages = []
    for _ in range(rnd.randint(1, 3)):
        ops = [dict(op(), **({'optional': True} if rnd.random() < .5 else {})) for _ in range(rnd.randint(2, 8))]
        messages.append(message(*ops, **({'always': True} if rnd.random() < .3 else {})))
    return batch(*messages, on_failure=rnd.choice(['stop', 'continue']))


class Programs(Case):
    def same(self, name, b, order):
        box = self.box
        here, there = box.path(name), os.path.join(box.dir, 'oracle', name)
        os.makedirs(here), os.makedirs(there)
        results, state = Oracle(there, box.env()).run(b)
        run = box.run(b, cwd=here, order=order)
        text = '%s\n%r' % (name, b)
        self.assertEqual((run['order'], run['order_used']), (order, 'serial'))
        self.assertEqual([(o['state'], o['cause']) for o in run['ops']], [r[:2] for r in results], text)
        self.assertEqual(run['state'], state, text)
        self.assertEqual(tree(here), tree(there), text)
        for op, result in zip(run['ops'], results):
            if op['state'] == 'succeeded':
                self.assertEqual(box.output(run['run'], op['index'], 'stdout'), result[2], text)
        shutil.rmtree(here), shutil.rmtree(there)

    def test_serial(self):
        for i, b in enumerate(PROGRAMS):
            self.same('p%d' % i, b, 'serial')

    def test_as_if_serial(self):
        for i, b in enumerate(PROGRAMS):
            self.same('p%d' % i, b, 'as-if-serial')

    def test_generated(self):
        first = int(os.environ.get('BATCHD_TEST_SEED', '1'))
        for seed in range(first, first + 30):
            self.same('seed%d' % seed, generated(seed), ('serial', 'as-if-serial')[seed % 2])

    def test_there_are_enough(self):
        self.assertGreaterEqual(len(PROGRAMS), 60)


if __name__ == '__main__':
    unittest.main()
