"""Completions: what batchctl says fits, and what the real shells make of it when TAB is pressed."""
import os
import pty
import re
import select
import shutil
import subprocess
import time
import unittest

from harness import BATCHCTL, PATIENCE, ROOT, Case, bash, batch, expand, message, todos, together

SHELLS = ('bash', 'zsh', 'fish')


def candidates(t, *words, env=None):
    """What fits the last word: (what the shell adds, {value: what it is})."""
    lines = t.ctl('completions', 'bash', '--', *words, check=0, env=env).text.splitlines()
    return lines[0], dict((line.split('\t') + [''])[:2] for line in lines[1:])


class World(Case):
    """A daemon with one of each: a run with named ops, a list with items, a pool."""

    def setUp(self):
        super().setUp()
        self.run_id = self.box.submit(batch([todos(dict(id='docs', content='Write it down'), dict(id='tests', content='Try it', status='completed'),
                                                   mode='merge')],
                                            message(bash('true', id='build'), bash('true', id='lint')), name='nightly', list='shopping'))
        self.box.wait(self.run_id)
        self.box.call('group.set', group='gpu', slots=2)
        self.box.call('todo.write', cwd=self.box.work, todos=[dict(id='here', content='In this project')])

    def ctl(self, *args, **kw):
        return self.box.ctl(*args, **kw)


@expand
class Candidates(World):
    @together(
        ('verbs', ['sub'], ['submit']),
        ('alias', ['ki'], ['kill']),
        ('no alias unasked', [''], lambda v: 'cancel' in v and 'kill' not in v),
        ('subs', ['daemon', ''], ['reload', 'start', 'status', 'stop']),
        ('flags', ['submit', '--on'], ['--on-failure']),
        ('global flags', ['submit', '--so'], ['--socket']),
        ('parents flags', ['todo', 'done', '--l'], ['--list']),
        ('letters', ['group', 'set', 'gpu', '-'], lambda v: '-j' in v and '--jobs' in v),
        ('enum', ['submit', '--order', 'as'], ['as-if-serial']),
        ('enum joined', ['submit', '--order=as'], ['--order=as-if-serial']),
        ('letter joined', ['submit', '-gg'], ['-ggpu']),
        ('groups', ['submit', '-g', 'gp'], ['gpu']),
        ('group operand', ['group', 'set', 'g'], ['gpu']),
        ('bundled', ['submit', '-wg', 'gp'], ['gpu']),
        ('runs', ['cancel', '1'], ['1']),
        ('run names', ['wait', 'ni'], ['nightly']),
        ('run words', ['wait', 'l'], ['last']),
        ('more runs', ['wait', '1', 'ni'], ['nightly']),
        ('after', ['submit', '--after', 'ni'], ['nightly']),
        ('ops', ['log', '1.'], ['1.1', '1.2', '1.3', '1.build', '1.lint']),
        ('ops by name', ['log', 'nightly.b'], ['nightly.build']),
        ('ops last', ['log', 'last.l'], ['last.lint']),
        ('todos', ['todo', '--list', 'shopping', 'done', ''], ['docs', 'tests']),
        ('todos list after', ['todo', 'done', '--list=shopping', 'd'], ['docs']),
        ('todos project', ['todo', 'done', ''], ['here']),
        ('blocked by', ['todo', 'add', 'x', '--blocked-by', 'h'], ['here']),
        ('lists', ['todo', '--list', 'sh'], ['shopping']),
        ('methods', ['rpc', 'run.l'], ['run.list']),
        ('signals', ['kill', '-s', 'HU'], ['HUP']),
        ('help verbs', ['help', 'sub'], ['submit']),
        ('help subs', ['help', 'group', 's'], ['set']),
        ('shells', ['completions', ''], ['bash', 'fish', 'zsh']),
        ('ended', ['cancel', '--', '-'], []),
        ('nothing unknown', ['nosuchverb', ''], []),
        ('no second operand', ['group', 'pause', 'gpu', ''], []),
    )
    def what_fits(self, words, expected):
        found = sorted(candidates(self, *words)[1])
        if callable(expected):
            self.assertTrue(expected(found), found)
        else:
            self.assertEqual(expected, found)

    @together(
        ('file', ['submit', ''], ':files'),
        ('define', ['submit', '--block', ''], ':none'),
        ('directory', ['-C', ''], ':dirs'),
        ('command', ['add', ''], ':command 1'),
        ('command words', ['run', '-w', '--', 'make', '-'], ':command 3'),
        ('value', ['add', '--name', ''], ':none'),
    )
    def what_the_shell_adds(self, words, expected):
        self.assertEqual(expected, candidates(self, *words)[0])

    def test_each_candidate_tells_what_it_is(self):
        self.assertEqual('nightly, succeeded', candidates(self, 'log', '1')[1]['1'])
        self.assertEqual('succeeded: true', candidates(self, 'log', '1.b')[1]['1.build'])
        self.assertEqual('completed: Try it', candidates(self, 'todo', '--list', 'shopping', 'done', 't')[1]['tests'])

    def test_the_socket_of_the_line_is_asked(self):
        env = {'BATCHD_SOCKET': self.box.path('nobody')}
        self.assertEqual({}, candidates(self, 'log', '1', env=env)[1])
        self.assertIn('1', candidates(self, '--socket', self.box.socket, 'log', '1', env=env)[1])

    def test_open_items_come_first(self):
        lines = self.ctl('completions', 'bash', '--', 'todo', '--list', 'shopping', 'done', '').text.splitlines()
        self.assertEqual(['docs', 'tests'], [line.split('\t')[0] for line in lines[1:]])


class NoDaemon(Case):
    daemon = False

    def test_none_is_started_and_nothing_said(self):
        done = self.box.ctl('completions', 'bash', '--', 'cancel', '', check=0)
        self.assertEqual((':none\n', ''), (done.text, done.errors))
        self.assertFalse(os.path.exists(self.box.socket))
        self.assertFalse(os.path.exists(self.box.state))

    def test_an_unknown_shell(self):
        done = self.box.ctl('completions', 'bsh', check=2)
        self.assertEqual("batchctl completions: no completions for 'bsh' (did you mean 'bash'?): bash, zsh or fish\n", done.errors)

    def test_the_script_is_the_installed_file(self):
        for shell in SHELLS:
            with open(os.path.join(ROOT, 'client', 'completions', 'batchctl.' + shell)) as f:
                self.assertEqual(f.read(), self.box.ctl('completions', shell, check=0).text)

    def test_shellcheck_is_content(self):
        if not shutil.which('shellcheck'):
            self.skipTest('shellcheck is not installed')
        done = subprocess.run(['shellcheck', '-s', 'bash', os.path.join(ROOT, 'client', 'completions', 'batchctl.bash')],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.assertEqual(b'', done.stdout)


class Terminal:
    """A shell at a prompt, on a terminal of its own."""

    def __init__(self, argv, env, cwd):
        self.seen = ''
        pid, self.fd = pty.fork()
        if pid == 0:
            try:
                os.chdir(cwd)
                os.execvpe(argv[0], argv, env)
            finally:
                os._exit(127)

    def type(self, text):
        os.write(self.fd, text.encode())

    def expect(self, pattern):
        """Waits until the screen shows it, from where the last one ended."""
        deadline = time.monotonic() + PATIENCE
        while True:
            plain = re.sub(r'\x1b(\[[0-9;?]*[a-zA-Z]|[()=>].?)|[\x00\x07\x0f]', '', self.seen)
            m = re.search(pattern, plain)
            if m:
                self.seen = plain[m.end():]
                return m
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                raise AssertionError('%r was not shown, but %r' % (pattern, plain))
            self.seen += os.read(self.fd, 65536).decode('utf-8', 'replace')

    def close(self):
        os.close(self.fd)       # its end of the terminal hangs up; the box reaps it


# What is typed before TAB, and what the line is then.
TYPED = dict(
    verb=('batchctl subm', 'batchctl submit '),
    sub=('batchctl group res', 'batchctl group resume '),
    flag=('batchctl submit --on-f', 'batchctl submit --on-failure '),
    joined=('batchctl submit --order=as', 'batchctl submit --order=as-if-serial '),
    run=('batchctl cancel ni', 'batchctl cancel nightly '),
    op=('batchctl log last.bui', 'batchctl log last.build '),
    todo=('batchctl todo --list shopping done do', 'batchctl todo --list shopping done docs '),
    method=('batchctl rpc todo.cl', 'batchctl rpc todo.claim '),
    file=('batchctl submit plan', 'batchctl submit plan.batch '),
    command=('batchctl add -- ./mytool --w', None),
)


class AtThePrompt(World):
    """The end of each line typed is `; echo`-ed back by the shell itself, so what counts is what it would run."""

    def lines(self, terminal, prompt):
        self.addCleanup(terminal.close)
        self.box.put('plan.batch', 'Bash("true")\n')
        for name, (typed, line) in TYPED.items():
            if line is None:
                continue
            with self.subTest(name):
                terminal.expect(prompt)
                terminal.type(typed + '\t')
                terminal.expect(re.escape(line.rstrip()[len(typed) - 1:]))
                terminal.type('\x01echo [ \x05]\r')     # ^A ... ^E: the words as the shell has them
                terminal.expect(re.escape('[ ' + line.rstrip()) + r' ?\]\r?\n')     # zsh takes its blank back

    def start(self, *argv, **env):
        path = {'PATH': os.path.dirname(BATCHCTL) + ':' + os.environ['PATH']}
        return Terminal(list(argv), self.box.env(BATCHD_SOCKET=self.box.socket, TERM='xterm', COLUMNS='200', **path, **env), self.box.work)

    def test_bash(self):
        t = self.start('bash', '--norc', '--noprofile', '-i', PS1='READY> ')
        t.type('PS1="READ"Y\\>\\ ; eval "$(batchctl completions bash)"\r')
        self.lines(t, 'READY> ')

    @unittest.skipUnless(shutil.which('zsh'), 'zsh is not installed')
    def test_zsh(self):
        t = self.start('zsh', '-f', '-i')
        t.type('bindkey -e; unsetopt zle_bracketed_paste; autoload -U compinit && compinit -u -D; eval "$(batchctl completions zsh)"; PS1="READ"Y\\>\\ \r')
        self.lines(t, 'READY> ')
        t.type('COLUMNS=40; bindkey -e\r')
        t.expect('READY> ')
        t.type('batchctl todo cl\x08\x08\t')     # what each is is told in one line, be the terminal wide or not
        self.assertEqual('claim    take an item, or the first rea', t.expect(r'\n(claim +take[^\r\n]*)').group(1))

    @unittest.skipUnless(shutil.which('zsh'), 'zsh is not installed')
    def test_zsh_from_its_folder(self):
        """As it is installed: found by its name, loaded when it is first needed."""
        os.mkdir(self.box.path('fpath'))
        shutil.copy(os.path.join(ROOT, 'client', 'completions', 'batchctl.zsh'), self.box.path('fpath', '_batchctl'))
        t = self.start('zsh', '-f', '-i')
        t.type('bindkey -e; fpath=($PWD/fpath $fpath); autoload -U compinit && compinit -u -D; PS1="READ"Y\\>\\ \r')
        t.expect('READY> ')
        t.type('batchctl subm\t')
        t.expect('it ')

    @unittest.skipUnless(shutil.which('fish'), 'fish is not installed')
    def test_fish(self):
        """`complete -C` answers with what TAB would show."""
        self.box.put('plan.batch', 'Bash("true")\n')
        env = self.box.env(BATCHD_SOCKET=self.box.socket, PATH=os.path.dirname(BATCHCTL) + ':' + os.environ['PATH'])
        for name, (typed, line) in TYPED.items():
            if line is None:
                continue
            with self.subTest(name):
                done = subprocess.run(['fish', '--no-config', '-c', 'batchctl completions fish | source; complete -C "$argv"', typed],
                                      env=env, cwd=self.box.work, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                values = [c.split('\t')[0] for c in done.stdout.decode().splitlines()]
                self.assertEqual((line.split()[-1], b''), (','.join(values), done.stderr))
