"""Contract section 4: batchctl as people and scripts use it."""
import fcntl
import json
import os
import pty
import re
import select
import signal
import time
import unittest

from harness import ENDED, SLOW, Case, Rpc, alive, bash, batch, descendants, expand, process_name, rows, until


def open_files(pid):
    """What the process has open, as paths."""
    try:
        return [os.readlink('/proc/%d/fd/%s' % (pid, fd)) for fd in os.listdir('/proc/%d/fd' % pid)]
    except OSError:
        return []


class Cli(Case):
    def ctl(self, *args, **keys):
        return self.box.ctl(*args, **keys)

    def new(self, *args, **keys):
        """Runs a verb that prints one run id alone."""
        r = self.ctl(*args, check=keys.pop('check', 0), **keys)
        self.assertRegex(r.out, rb'^[0-9]+\n$', r)
        return int(r.out)

    def needs_verb(self, verb):
        """For the verbs that come later: skipped, and seen to be skipped, as long as help does not name the verb."""
        if not re.search(r'(?m)^\s+%s\b' % verb, self.ctl('--help', bare=True).text):
            self.skipTest('batchctl has no verb %s yet' % verb)

    def needs_option(self, verb, option):
        if option not in self.ctl(verb, '--help', bare=True).text:
            self.skipTest('batchctl %s has no %s yet' % (verb, option))

    def one_line(self, r, *words):
        """Errors go to stderr: one line saying what, where, and what to do."""
        self.assertEqual(r.errors.count('\n'), 1, r)
        for word in words:
            self.assertIn(word, r.errors, r)
        return r


@expand
class Usage(Cli):
    daemon = False

    def test_version_and_help(self):
        self.assertRegex(self.ctl('--version', check=0).text, r'^batchctl \d+\.\d+')
        text = self.ctl('--help', check=0).text
        for verb in ('submit', 'add', 'run', 'wait', 'follow', 'log', 'cancel', 'pause', 'resume', 'restart', 'todo',
                     'parse', 'fmt', 'check', 'rpc', 'daemon', 'status'):
            self.assertIn(verb, text)
        self.assertIn('--define', self.ctl('submit', '--help', check=0).text)

    @rows(
        ('an unknown verb', ['frobnicate'], ['frobnicate']),
        ('an unknown option', ['submit', '--frob'], ['--frob']),
        ('an unknown global option', ['--frob', 'status'], ['--frob']),
        ('an option without its value', ['submit', '--name'], ['--name']),
        ('run without a command', ['run'], []),
        ('a define without a name', ['parse', '--define', '=x', '-'], ['--define']),
        ('parse of two files that are not there', ['parse', 'nofile'], ['nofile']),
    )
    def usage(self, args, words):
        r = self.ctl(*args, bare=True, check=2)
        self.assertEqual(r.out, b'')
        self.one_line(r, *words)

    @rows(
        ('wait', ['wait']), ('wait of a run', ['wait', '3']), ('cancel', ['cancel', '3']), ('daemon status', ['daemon', 'status']),
        ('todo status', ['todo', 'status']),
    )
    def no_daemon_is_125_and_none_is_started_by(self, args):
        r = self.ctl(*args, bare=True, check=125)
        self.one_line(r) if r.err or args[0] != 'todo' else None
        self.assertFalse(os.path.exists(self.box.socket))
        self.assertIsNone(self.box.spawner_pid())

    def test_daemon_stop_with_none_running_is_0(self):
        self.ctl('daemon', 'stop', bare=True, check=0)
        self.assertFalse(os.path.exists(self.box.socket))

    def test_completions_need_no_daemon(self):
        self.needs_verb('completions')
        for shell in ('bash', 'zsh', 'fish'):
            self.assertTrue(self.ctl('completions', shell, bare=True, check=0).out)
        self.assertFalse(os.path.exists(self.box.socket))

    def test_doctor_starts_none(self):
        self.needs_verb('doctor')
        self.ctl('doctor', bare=True)
        self.assertFalse(os.path.exists(self.box.socket))

    @rows(
        ('submit', ['submit', '-e', 'true']), ('add', ['add', '--', 'true']), ('run', ['run', '--', 'true']), ('status', ['status']),
        ('todo list', ['todo', 'list']), ('daemon start', ['daemon', 'start']),
    )
    def starts_a_daemon(self, args):
        self.ctl(*args, bare=True, check=0)
        self.assertTrue(os.path.exists(self.box.socket))
        with Rpc(self.box.socket) as r:
            pid = r.call('daemon.status')['pid']
        self.assertTrue(alive(pid))
        self.assertEqual(process_name(pid), 'batchd')
        self.assertTrue(os.path.exists(os.path.join(self.box.state, 'batchd.log')))
        self.ctl('daemon', 'status', bare=True, check=0)
        self.ctl('daemon', 'stop', bare=True, check=0)
        until(lambda: not alive(pid), 'the end of the daemon')

    def test_twenty_at_once_start_one_daemon(self):
        procs = [self.box.ctl_start('submit', '-e', 'true') for _ in range(20)]
        ids = set()
        for p in procs:
            out, err = p.communicate(timeout=30 * SLOW)
            self.assertEqual(p.returncode, 0, err)
            ids.add(int(out))
        self.assertEqual(ids, set(range(1, 21)))

    def test_the_daemon_it_starts_does_not_hold_its_output(self):
        # `x=$(batchctl add ...)` must return: the daemon keeps no copy of our pipes, and is in a session of its own.
        r = self.ctl('submit', '-e', 'true', bare=True, check=0)
        self.assertEqual(r.out, b'1\n')
        with Rpc(self.box.socket) as rpc:
            pid = rpc.call('daemon.status')['pid']
        self.assertEqual(os.getsid(pid), pid)

    def test_the_default_socket_without_a_runtime_folder(self):
        # Only looked at: the folder under /tmp is not private to this test.
        r = self.ctl('daemon', 'status', bare=True, env={'XDG_RUNTIME_DIR': ''})
        if r.status == 0:
            self.skipTest('a daemon runs at the default socket')
        self.assertEqual(r.status, 125)
        self.assertRegex(self.one_line(r).errors, r'/tmp/[^ /]*%d[^ /]*/socket' % os.getuid())


class Submit(Cli):
    def test_the_id_alone_on_stdout(self):
        run = self.new('submit', '-e', 'echo a', '-e', 'echo b')
        self.box.wait(run)
        got = self.box.get(run)
        self.match({'state': 'succeeded', 'cwd': self.box.work, 'ops': [{'kind': 'bash', 'message': 1}, {'message': 1}]}, got)

    def test_files_and_stdin(self):
        self.box.put('b', 'Bash("echo file")')
        self.assertEqual(self.new('submit', 'b'), 1)
        self.assertEqual(self.new('submit', '-', input='Bash("echo stdin")'), 2)
        self.assertEqual(self.new('submit', input='{"messages":[{"ops":[{"kind":"bash","command":"echo json"}]}]}'), 3)
        for run, text in ((1, b'file\n'), (2, b'stdin\n'), (3, b'json\n')):
            self.box.wait(run)
            self.assertEqual(self.box.output(run, 1), text)

    def test_options_become_keys_of_the_batch(self):
        first = self.new('submit', '-e', 'true')
        run = self.new('submit', '-e', 'env > e; umask >> e', '--name', 'n', '--key', 'k', '--order', 'serial', '--on-failure',
                      'continue', '-j', '3', '-g', 'g', '--timeout', '5m', '--after', first, '--priority', '2', '--list', 'l',
                      '-E', 'A=x=y')
        self.box.wait(run)
        self.match({'name': 'n', 'key': 'k', 'order': 'serial', 'group': 'g', 'state': 'succeeded'}, self.box.get(run))
        self.assertIn('A=x=y\n', self.box.text('e'))
        self.assertIn('BATCHD_LIST=l\n', self.box.text('e'))
        self.assertEqual(self.new('submit', '-e', 'env > e; umask >> e', '--name', 'n', '--key', 'k', '--order', 'serial',
                                 '--on-failure', 'continue', '-j', '3', '-g', 'g', '--timeout', '5m', '--after', first,
                                 '--priority', '2', '--list', 'l', '-E', 'A=x=y'), run, 'same key, same batch')

    def test_options_may_follow_operands(self):
        self.box.put('b', 'Bash("true")')
        run = self.new('submit', 'b', '--name', 'late')
        self.assertEqual(self.box.get(run)['name'], 'late')

    def test_c_is_the_folder_first(self):
        os.mkdir(self.box.path('sub'))
        self.box.put('sub/b', 'Bash("pwd")')
        run = self.new('submit', '-C', 'sub', 'b')
        self.box.wait(run)
        self.assertEqual(self.box.output(run, 1).decode(), self.box.path('sub') + '\n')

    def test_hold_and_delay(self):
        run = self.new('submit', '--hold', '-e', 'true')
        self.assertEqual(self.box.get(run)['state'], 'paused')
        self.ctl('resume', run, check=0)
        self.box.wait(run)
        begun = time.time() * 1000
        run = self.new('submit', '--delay', '300ms', '-e', 'true')
        self.box.wait(run)
        self.assertGreaterEqual(self.box.get(run)['ops'][0]['started'], begun + 250)

    def test_wait_ends_with_the_runs_success(self):
        self.assertEqual(self.ctl('submit', '-w', '-e', 'true', check=0).out, b'1\n')
        r = self.ctl('submit', '-w', '-e', 'echo why >&2; exit 3', '-e', 'true', check=1)
        self.assertEqual(r.out, b'2\n')
        self.assertIn('why', r.errors)

    def test_the_summary_after_a_waited_run(self):
        r = self.ctl('submit', '-w', '-e', 'sleep .2', '-e', 'sleep .2', '-e', 'echo tail of it; exit 4', check=1)
        self.assertRegex(r.errors, r'3 ops in \d+(\.\d+)? m?s; one after another: \d+(\.\d+)? m?s \(\d+(\.\d+)?x\)')
        self.assertIn('tail of it', r.errors)
        self.assertIn('exit', r.errors)
        self.assertIn('batchctl restart', r.errors)

    def test_o_streams_the_output_prefixed(self):
        r = self.ctl('submit', '-w', '-o', '-e', 'echo hello out', check=0)
        self.assertRegex(r.errors + r.text, r'(?m)^\S.*hello out$')

    def test_json_prints_the_ended_run(self):
        r = self.ctl('--json', 'submit', '-w', '-e', 'true', check=0)
        self.match({'state': 'succeeded', 'run': 1}, r.json)

    def test_a_refused_batch_is_2(self):
        self.one_line(self.ctl('submit', '-', input='Bash("x", {needs: ["ghost"]})', check=2), 'ghost')
        self.one_line(self.ctl('submit', '-', input='Bash("x", {todo: "ghost"})', check=2), 'ghost')
        self.new('submit', '--key', 'k', '-e', 'true')
        self.one_line(self.ctl('submit', '--key', 'k', '-e', 'false', check=2), '1')
        self.assertEqual(len(self.box.call('run.list')['runs']), 1)

    def test_dry_run_changes_nothing(self):
        self.ctl('submit', '-n', '-e', 'touch no', check=0)
        self.assertEqual(self.box.call('run.list')['runs'], [])

    def test_check_prints_plan_and_warnings(self):
        self.box.put('b', '[A]:\nBash("one", {id: "first"})\nBash("two", {needs: ["first"]})\n')
        r = self.ctl('check', 'b', check=0)
        self.assertIn('first', r.text + r.errors)
        self.ctl('check', '-', input='Bash("x', check=2)

    def test_check_and_parse_need_no_daemon(self):
        self.box.stop_quietly()
        self.box.put('b', 'Bash("one")')
        for verb in ('parse', 'fmt', 'check'):
            self.ctl(verb, 'b', check=0, bare=True)
        self.assertIsNone(self.box.spawner_pid())

    def test_ctrl_c_leaves_the_run(self):
        p = self.box.ctl_start('submit', '-w', '-e', 'exec sleep 60')
        until(lambda: any(r['state'] == 'running' for r in self.box.call('run.list')['runs']), 'the run')
        p.send_signal(signal.SIGINT)
        _, err = p.communicate(timeout=10 * SLOW)
        self.assertIn(b'batchctl', err, 'says how to come back')
        self.assertEqual(self.box.get(1)['state'], 'running')
        self.ctl('cancel', '1', check=0)


class AddAndRun(Cli):
    def out(self, *args, status=0, **keys):
        r = self.ctl(*args, check=status, **keys)
        return r.out

    def test_add_of_one_argument_is_a_bash_command(self):
        run = self.new('add', '--', 'echo a{1,2}')
        self.box.wait(run)
        self.assertEqual(self.box.output(run, 1), b'a1 a2\n')

    def test_add_of_more_is_an_argv(self):
        run = self.new('add', '--', 'printf', '%s|', 'a b', '$x', '*', b'\xff')
        self.box.wait(run)
        self.assertEqual(self.box.output(run, 1), b'a b|$x|*|\xff|')
        self.assertEqual(self.box.get(run)['ops'][0]['kind'], 'exec')

    def test_run_passes_output_through(self):
        r = self.ctl('run', '--', 'echo out; echo err >&2; printf "\\377"', check=0)
        self.assertEqual((r.out, r.err), (b'out\n\xff', b'err\n'))

    def test_run_passes_much_output_through(self):
        # `run` sends a cap of 0: its stdout is data.
        r = self.ctl('run', '--', 'head -c 20000000 /dev/zero', check=0, timeout=60 * SLOW)
        self.assertEqual(r.out, bytes(20000000))

    def test_run_passes_the_status_through(self):
        for command, status in (('exit 0', 0), ('exit 3', 3), ('exit 124', 124), ('kill -TERM $$', 143), ('kill -KILL $$', 137)):
            self.assertEqual(self.ctl('run', '--', command).status, status, command)

    def test_run_of_what_is_not_there(self):
        self.box.put('plain', 'x')
        self.assertEqual(self.ctl('run', '--', 'no-such-program', 'x').status, 127)
        self.assertEqual(self.ctl('run', '--', './plain', 'x').status, 126)
        self.assertEqual(self.ctl('run', '--', 'no-such-program').status, 127)

    def test_run_sees_our_folder_and_environment(self):
        r = self.ctl('run', '--', 'pwd; echo $A; umask', env={'A': 'of ours'}, check=0)
        self.assertEqual(r.text.splitlines()[:2], [self.box.work, 'of ours'])

    def test_stdin_is_read_when_asked_for(self):
        self.assertEqual(self.out('run', '--', 'cat', input='ours'), b'')
        self.assertEqual(self.out('run', '--stdin', '--', 'cat', input=b'ours\0\xff'), b'ours\0\xff')

    def test_run_passes_signals_on(self):
        p = self.box.ctl_start('run', '--', 'trap "echo int; exit 9" INT; touch ready; while :; do sleep .02; done')
        until(lambda: self.box.exists('ready'), 'the trap')
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=10 * SLOW)
        self.assertEqual((p.returncode, out), (9, b'int\n'), err)

    def test_output_comes_while_it_runs(self):
        gate = self.box.fifo('gate')
        p = self.box.ctl_start('run', '--', 'echo first; read x < gate; echo second')
        self.assertTrue(select.select([p.stdout], [], [], 20 * SLOW)[0])
        self.assertEqual(os.read(p.stdout.fileno(), 100), b'first\n')
        with open(gate, 'w') as f:
            f.write('\n')
        self.assertEqual(p.communicate(timeout=10 * SLOW)[0], b'second\n')

    def test_a_reader_that_goes_away(self):
        r = self.ctl('run', '--', 'bash -c "batchctl run -- yes | head -n 1"', timeout=30 * SLOW)
        self.assertEqual(r.out, b'y\n')

    def test_a_closed_terminal_ends_no_run(self):
        pid, fd = pty.fork()
        if pid == 0:
            try:
                os.chdir(self.box.work)
                from harness import BATCHCTL
                os.execve(BATCHCTL, ['batchctl', 'submit', '-w', '-e', 'touch began; sleep .5; touch finished'],
                          self.box.env(BATCHD_SOCKET=self.box.socket))
            finally:
                os._exit(99)
        until(lambda: self.box.exists('began'), 'the op')
        os.close(fd)
        self.box.wait(1)
        self.assertTrue(self.box.exists('finished'))

    def test_run_with_a_terminal(self):
        r = self.ctl('run', '-t', '--', 'test -t 1 && echo tty', check=0)
        self.assertIn(b'tty', r.out)


class Watching(Cli):
    def test_status(self):
        self.new('submit', '-e', 'true', '--name', 'first')
        self.ctl('wait', 'last', check=0)
        text = self.ctl('status', check=0).text
        self.assertIn('first', text)
        self.assertIn('succeeded', text)
        self.assertIn('first', self.ctl(check=0).text, 'no verb is status')

    def test_status_json(self):
        run = self.new('submit', '-e', 'exit 2', '-e', 'true')
        self.ctl('wait', run, check=1)
        runs = self.ctl('--json', 'status', check=0).json['runs']
        self.match([{'run': run, 'state': 'failed'}], runs)
        self.match([{'run': run, 'ops': [{'exit': 2}, {'exit': 0}]}], self.ctl('--json', 'status', run, check=0).json['runs'])
        self.assertEqual(self.ctl('status', run, '--json', check=0).json['runs'][0]['run'], run)

    def test_status_is_of_this_project(self):
        self.new('submit', '-e', 'true', '--name', 'here')
        os.makedirs(os.path.join(self.box.dir, 'elsewhere', '.git'))
        other = os.path.join(self.box.dir, 'elsewhere')
        self.assertEqual(self.ctl('--json', 'status', cwd=other, check=0).json['runs'], [])
        self.assertEqual(len(self.ctl('--json', 'status', '--everywhere', cwd=other, check=0).json['runs']), 1)

    def test_an_unknown_run_is_2(self):
        for args in (['status', '99'], ['log', '99'], ['wait', '99'], ['cancel', '99'], ['log', '99.1'], ['status', 'no-such-name'],
                     ['restart', '99']):
            r = self.ctl(*args, check=2)
            self.one_line(r, args[1].split('.')[0])

    def test_log_of_one_op_is_raw_each_stream_to_its_own(self):
        run = self.new('submit', '-e', 'printf "o\\377"; printf e >&2', '-e', 'echo two')
        self.ctl('wait', run, check=0)
        r = self.ctl('log', '%d.1' % run, check=0)
        self.assertEqual((r.out, r.err), (b'o\xff', b'e'))
        self.assertEqual(self.ctl('log', '%d.1' % run, '--stdout', check=0).err, b'')
        self.assertEqual(self.ctl('log', '%d.1' % run, '--stderr', check=0).out, b'')

    def test_log_of_several_has_prefixes(self):
        run = self.new('submit', '-e', 'echo one', '-e', 'echo two')
        self.ctl('wait', run, check=0)
        lines = self.ctl('log', run, check=0).text.splitlines()
        self.assertEqual(len(lines), 2)
        self.assertTrue(any(l.endswith('one') and l != 'one' for l in lines), lines)

    def test_log_n_and_f(self):
        gate = self.box.fifo('gate')
        run = self.new('submit', '-e', 'seq 1 50; read x < gate; echo last')
        until(lambda: self.box.call('run.output', run=run, op=1, lines=1)['data'] == b'50\n', 'the lines')
        self.assertEqual(self.ctl('log', '%d.1' % run, '-n', '2', check=0).out, b'49\n50\n')
        p = self.box.ctl_start('log', '%d.1' % run, '-f', '-n', '1')
        self.assertTrue(select.select([p.stdout], [], [], 20 * SLOW)[0])
        with open(gate, 'w') as f:
            f.write('\n')
        self.assertEqual(p.communicate(timeout=20 * SLOW)[0], b'50\nlast\n')

    def test_dropped_output_is_said(self):
        run = self.box.run(batch([bash('seq 1 100000')], output_cap=50000))['run']
        r = self.ctl('log', '%d.1' % run, check=0)
        self.assertIn('drop', r.errors.lower())
        self.assertTrue(r.out.startswith(b'1\n2\n') and r.out.endswith(b'100000\n'))

    def test_wait(self):
        good, bad = self.new('submit', '-e', 'true'), self.new('submit', '-e', 'false')
        self.ctl('wait', good, check=0)
        self.ctl('wait', good, bad, check=1)
        slow = self.new('submit', '-e', 'exec sleep 60')
        begun = time.monotonic()
        self.ctl('wait', slow, '--timeout', '200ms', check=124)
        self.assertLess(time.monotonic() - begun, 10 * SLOW)
        self.ctl('wait', slow, good, '--any', check=0)
        self.ctl('cancel', slow, check=0)
        self.ctl('wait', slow, check=1)

    def test_runs_by_name_last_all_and_range(self):
        for i in range(1, 5):
            self.new('submit', '-e', 'true', '--name', 'n%d' % i)
        self.ctl('wait', 'all', check=0)
        ids = lambda *a: [r['run'] for r in self.ctl('--json', 'status', *a, check=0).json['runs']]
        self.assertEqual(ids('n2'), [2])
        self.assertEqual(ids('last'), [4])
        self.assertEqual(sorted(ids('1-2,4')), [1, 2, 4])
        self.assertEqual(sorted(ids('all')), [1, 2, 3, 4])

    def test_several_active_of_a_name_are_refused(self):
        for _ in range(2):
            self.new('submit', '--hold', '-e', 'true', '--name', 'twin')
        self.one_line(self.ctl('cancel', 'twin', check=2), 'twin')
        self.ctl('cancel', '1', '2', check=0)

    def test_follow(self):
        run = self.new('submit', '-e', 'sleep .2; echo x')
        self.ctl('follow', run, check=0)
        self.assertIn(self.box.get(run)['state'], ENDED)

    def test_wait_outlives_a_restart_of_the_daemon(self):
        gate = self.box.fifo('gate')
        run = self.new('submit', '-e', 'touch began; read x < gate')
        until(lambda: self.box.exists('began'), 'the op')
        p = self.box.ctl_start('wait', run)
        follow = self.box.ctl_start('follow', run)
        until(lambda: self.box.call('daemon.status').get('connections', 3) >= 3, 'the waiting')
        self.box.restart()
        with open(gate, 'w') as f:
            f.write('\n')
        self.assertEqual(p.wait(40 * SLOW), 0, p.stderr.read())
        self.assertEqual(follow.wait(40 * SLOW), 0, follow.stderr.read())
        p.communicate(), follow.communicate()


class Steering(Cli):
    def test_cancel_says_what_it_chose(self):
        run = self.new('submit', '-e', 'exec sleep 60', '-e', 'exec sleep 60')
        self.assertIn('%d' % run, self.ctl('cancel', '%d.1' % run, check=0).text)
        self.assertIn('%d' % run, self.ctl('kill', run, check=0).text)
        self.ctl('wait', run, check=1)
        self.match({'state': 'cancelled', 'ops': [{'state': 'cancelled'}] * 2}, self.box.get(run))

    def test_a_signal(self):
        run = self.new('submit', '-e', 'trap "exit 0" USR1; touch ready; while :; do sleep .02; done')
        until(lambda: self.box.exists('ready'), 'the trap')
        self.ctl('cancel', '-s', 'USR1', run, check=0)
        self.ctl('wait', run, check=0)

    def test_pause_resume_restart_clean(self):
        run = self.new('submit', '--hold', '-e', 'test -e there', '-e', 'echo x >> ran')
        self.ctl('resume', run, check=0)
        self.ctl('wait', run, check=1)
        self.box.put('there')
        self.ctl('restart', '--failed', run, check=0)
        self.ctl('wait', 'last', check=0)
        self.assertEqual(self.box.text('ran'), 'x\n')
        self.ctl('clean', check=0)
        self.ctl('clean', '--failed', check=0)
        self.assertEqual(self.box.call('run.list')['runs'], [])

    def test_groups(self):
        self.ctl('group', 'set', 'g', '-j', '3', check=0)
        self.match({'slots': 3}, [dict(g) for g in self.ctl('--json', 'group', 'list', check=0).json['groups']
                                  if 'g' in (g.get('group'), g.get('name'))][0])
        self.ctl('group', 'pause', 'g', check=0)
        run = self.new('submit', '-g', 'g', '-e', 'true')
        self.ctl('wait', run, '--timeout', '200ms', check=124)
        self.ctl('group', 'resume', 'g', check=0)
        self.ctl('wait', run, check=0)

    def test_explain(self):
        self.needs_verb('explain')
        run = self.new('submit', '-e', 'exit 3')
        self.ctl('wait', run, check=1)
        self.assertIn('3', self.ctl('explain', '%d.1' % run, check=0).text)

    def test_trace_is_json(self):
        self.needs_verb('trace')
        run = self.new('submit', '-w', '-e', 'true')
        trace = self.ctl('trace', run, check=0).json
        events = trace['traceEvents'] if isinstance(trace, dict) else trace
        self.assertTrue(any(e.get('ph') == 'X' for e in events), events)

    def test_report_is_html(self):
        self.needs_verb('report')
        run = self.new('submit', '-w', '-e', 'echo "<b>&"')
        self.ctl('report', run, '-o', 'r.html', check=0)
        html = self.box.text('r.html')
        self.assertIn('<html', html.lower())
        self.assertNotIn('<b>&"', html)


class Each(Cli):
    def setUp(self):
        super().setUp()
        self.needs_verb('each')

    def each(self, *args, status=0, **keys):
        return self.ctl('each', *args, check=status, **keys)

    def test_arguments(self):
        self.assertEqual(sorted(self.each('echo {}', ':::', 'a', 'b c', "d'e").text.splitlines()), ['a', 'b c', "d'e"])
        self.assertEqual(self.each('-k', 'echo', ':::', '3', '1', '2').text, '3\n1\n2\n')

    def test_replacement_strings(self):
        r = self.each('-k', 'echo {} {.} {/} {//} {/.} {#}', ':::', 'd/a.txt', 'e/f/b.c')
        self.assertEqual(r.text, 'd/a.txt d/a a.txt d a 1\ne/f/b.c e/f/b b.c e/f b 2\n')

    def test_two_sources(self):
        self.assertEqual(self.each('-k', 'echo {1}-{2}', ':::', 'a', 'b', ':::', 'x', 'y').text, 'a-x\na-y\nb-x\nb-y\n')
        self.assertEqual(self.each('-k', 'echo {1}-{2}', ':::', 'a', 'b', ':::+', 'x', 'y').text, 'a-x\nb-y\n')

    def test_files_and_stdin(self):
        self.box.put('list', 'one\ntwo\n')
        self.assertEqual(self.each('-k', 'echo {}', '::::', 'list').text, 'one\ntwo\n')
        self.assertEqual(self.each('-k', '-a', 'list', 'echo {}').text, 'one\ntwo\n')
        self.assertEqual(self.each('-k', 'echo {}', input='x\ny z\n').text, 'x\ny z\n')
        self.assertEqual(self.each('-k', '-0', 'echo {}', input='x\0y\nz\0').text, 'x\ny\nz\n')

    def test_several_a_job(self):
        self.assertEqual(self.each('-k', '-n', '2', 'echo', ':::', '1', '2', '3').text, '1 2\n3\n')
        self.assertEqual(self.each('-k', '-N', '2', 'echo {2} {1}', ':::', '1', '2', '3', '4').text, '2 1\n4 3\n')

    def test_tag(self):
        self.assertEqual(self.each('-k', '--tag', 'echo {}', ':::', 'a', 'b').text, 'a\ta\nb\tb\n')

    def test_the_status_counts_failures(self):
        self.each('exit {}', ':::', '0', '1', '2', status=2)
        self.each('exit 1', ':::', *map(str, range(120)), status=101, timeout=60 * SLOW)

    def test_jobs(self):
        self.each('-j', '1', 'mkdir lock && sleep .02 && rmdir lock', ':::', '1', '2', '3', '4')

    def test_dry_run(self):
        self.assertEqual(self.each('--dry-run', '-k', 'echo {}', ':::', 'a', 'b c').text, "echo a\necho 'b c'\n")

    def test_joblog_and_resume(self):
        self.each('--joblog', 'log', 'test {} != 2', ':::', '1', '2', '3', status=1)
        lines = self.box.text('log').splitlines()
        self.assertEqual(lines[0].split('\t')[0], 'Seq')
        self.assertEqual(len(lines), 4)

    def test_retries_is_tries_in_all(self):
        self.each('--retries', '3', 'echo x >> f{}; test $(wc -l < f{}) = 3', ':::', '1')
        self.assertEqual(self.box.text('f1'), 'x\nx\nx\n')

    def test_an_option_we_lack_is_refused(self):
        self.assertIn('--sshlogin', self.each('--sshlogin', 'x', 'echo', ':::', '1', status=2).errors)


class Todo(Cli):
    def list(self):
        return self.ctl('todo', 'list', '--json', check=0).json['todos']

    def test_a_life(self):
        self.ctl('todo', 'add', 'Write the tests', check=0)
        self.ctl('todo', 'add', 'Run them', check=0)
        one, two = [t['id'] for t in self.list()]
        self.ctl('todo', 'start', one, check=0)
        self.assertEqual(self.list()[0]['status'], 'in_progress')
        self.ctl('todo', 'done', one, check=0)
        self.assertEqual(self.list()[0]['status'], 'completed')
        self.ctl('todo', 'rm', two, check=0)
        self.assertEqual(len(self.list()), 1)
        self.ctl('todo', 'undo', check=0)
        self.assertEqual(len(self.list()), 2)
        text = self.ctl('todo', 'list', check=0).text
        self.assertIn('Write the tests', text)
        self.assertTrue(self.ctl('todo', 'log', check=0).out)
        self.assertIn('Run them', self.ctl('todo', 'ready', check=0).text)
        self.one_line(self.ctl('todo', 'done', 'ghost', check=2), 'ghost')

    def test_claim_and_release(self):
        self.ctl('todo', 'add', 'One', check=0)
        self.ctl('todo', 'claim', '--owner', 'me', check=0)
        t = self.list()[0]
        self.assertEqual(t['status'], 'in_progress')
        self.assertTrue(t['owner'])
        self.ctl('todo', 'release', t['id'], check=0)
        self.match([{'status': 'pending', 'owner': None}], self.list())

    def test_write(self):
        self.ctl('todo', 'write', '-', input=json.dumps([{'id': 'a', 'content': 'A'}, {'id': 'b', 'content': 'B'}]), check=0)
        self.assertEqual([t['id'] for t in self.list()], ['a', 'b'])

    def test_status_line(self):
        self.ctl('todo', 'write', '-', input='[{"id":"a","content":"A","status":"in_progress"},{"id":"b","content":"B"},'
                 '{"id":"c","content":"C","status":"completed"}]', check=0)
        self.assertEqual(self.ctl('todo', 'status', '--format', '{in_progress}/{open}', check=0).text.strip(), '1/2')

    def test_lists(self):
        self.ctl('todo', 'add', 'Elsewhere', '--list', 'other', check=0)
        self.assertEqual(self.list(), [])
        self.assertEqual(len(self.ctl('todo', 'list', '--list', 'other', '--json', check=0).json['todos']), 1)
        self.assertEqual(len(self.ctl('todo', 'list', '--json', env={'BATCHD_LIST': 'other'}, check=0).json['todos']), 1)
        self.assertIn('other', self.ctl('todo', 'lists', check=0).text)

    def test_json_is_the_methods_result(self):
        self.ctl('todo', 'add', 'One', check=0)
        self.assertEqual(self.ctl('todo', 'list', '--json', check=0).json, self.box.call('todo.list', cwd=self.box.work))

    def test_export_and_import(self):
        self.needs_option('todo', 'export')
        self.ctl('todo', 'write', '-', input='[{"id":"a","content":"A é","priority":"high"},{"id":"b","content":"B","blocked_by":["a"]}]', check=0)
        out = self.ctl('todo', 'export', check=0).out
        self.ctl('todo', 'import', '-', '--list', 'copy', input=out, check=0)
        copy = self.ctl('todo', 'list', '--list', 'copy', '--json', check=0).json['todos']
        self.match([{'id': 'a', 'content': 'A é', 'priority': 'high'}, {'id': 'b', 'blocked_by': ['a']}], copy)


class Raw(Cli):
    def test_rpc(self):
        self.assertEqual(self.ctl('rpc', 'rpc.hello', check=0).json['server'], 'batchd')
        r = self.ctl('rpc', 'todo.write', '{"list": "l", "todos": [{"id": "a", "content": "A"}]}', check=0)
        self.assertEqual([t['id'] for t in r.json['todos']], ['a'])
        r = self.ctl('rpc', 'run.get', '{"run": 99}')
        self.assertIn(r.status, (1, 2))
        self.one_line(r, 'E_NOT_FOUND')
        self.ctl('rpc', 'run.get', '{"run": ', check=2)

    def test_bytes_in_json(self):
        run = self.box.run(batch([bash(b'printf "\xff\\0"')]))['run']
        self.assertEqual(self.ctl('rpc', 'run.output', json.dumps({'run': run, 'op': 1}), check=0).json['data'], {'$bin': '/wA='})
        run = self.ctl('rpc', 'batch.submit', json.dumps({'batch': {'cwd': self.box.work, 'messages': [
            {'ops': [{'kind': 'exec', 'argv': ['printf', {'$bin': '/wE='}]}]}]}}), check=0).json['run']
        self.box.wait(run)
        self.assertEqual(self.box.output(run, 1), b'\xff\x01')

    def test_ndjson(self):
        self.needs_option('rpc', '--framing')
        lines = [{'jsonrpc': '2.0', 'id': 1, 'method': 'rpc.hello', 'params': {}},
                 {'jsonrpc': '2.0', 'id': 'two', 'method': 'no.such', 'params': {}}]
        r = self.ctl('rpc', '--framing=ndjson', input=''.join(json.dumps(l) + '\n' for l in lines), check=0)
        got = {m['id']: m for m in map(json.loads, r.text.splitlines())}
        self.assertEqual(got[1]['result']['server'], 'batchd')
        self.assertIn('E_METHOD', json.dumps(got['two']['error']))

    def test_lsp_framing(self):
        self.needs_option('rpc', '--framing')
        body = json.dumps({'jsonrpc': '2.0', 'id': 1, 'method': 'rpc.hello', 'params': {}}).encode()
        r = self.ctl('rpc', '--framing=lsp', input=b'Content-Length: %d\r\n\r\n' % len(body) + body, check=0)
        head, _, rest = r.out.partition(b'\r\n\r\n')
        length = int(re.search(rb'Content-Length: (\d+)', head).group(1))
        self.assertEqual(json.loads(rest[:length])['result']['server'], 'batchd')

    def test_mcp(self):
        self.needs_verb('mcp')
        lines = [{'jsonrpc': '2.0', 'id': 1, 'method': 'initialize', 'params': {
                     'protocolVersion': '2025-11-25', 'capabilities': {}, 'clientInfo': {'name': 't', 'version': '0'}}},
                 {'jsonrpc': '2.0', 'method': 'notifications/initialized'},
                 {'jsonrpc': '2.0', 'id': 2, 'method': 'tools/list'}]
        r = self.ctl('mcp', input=''.join(json.dumps(l) + '\n' for l in lines), check=0)
        got = {m.get('id'): m for m in map(json.loads, r.text.splitlines())}
        self.assertEqual(got[1]['result']['protocolVersion'], '2025-11-25')
        self.assertTrue(any('todo' in t['name'] for t in got[2]['result']['tools']))


class DaemonVerbs(Cli):
    daemon = False

    def test_start_status_stop(self):
        self.ctl('daemon', 'start', bare=True, check=0)
        r = self.ctl('daemon', 'status', bare=True, check=0)
        pid = self.ctl('--json', 'daemon', 'status', bare=True, check=0).json['pid']
        self.assertIn(str(pid), r.text)
        self.ctl('daemon', 'start', bare=True, check=0)
        self.assertEqual(self.ctl('--json', 'daemon', 'status', bare=True, check=0).json['pid'], pid)
        self.ctl('daemon', 'stop', bare=True, check=0)
        until(lambda: not alive(pid), 'the end')
        self.ctl('daemon', 'status', bare=True, check=125)

    def test_stop_leaves_ops_running_and_the_next_daemon_has_their_end(self):
        gate = self.box.fifo('gate')
        self.ctl('submit', '-e', 'touch began; read x < gate; echo done', bare=True, check=0)
        until(lambda: self.box.exists('began'), 'the op')
        self.ctl('daemon', 'stop', bare=True, check=0)
        with open(gate, 'w') as f:
            f.write('\n')
        r = self.ctl('status', '1', '--json', bare=True, check=0)
        self.ctl('wait', '1', bare=True, check=0)
        self.assertEqual(self.ctl('log', '1.1', bare=True, check=0).out, b'done\n')
        self.assertEqual(r.json['runs'][0]['run'], 1)

    def test_a_daemon_of_the_same_state_folder_at_another_socket_is_named_at_once(self):
        self.ctl('daemon', 'start', bare=True, check=0)
        other = os.path.join(self.box.dir, 'other', 'socket')
        begun = time.monotonic()
        r = self.one_line(self.ctl('submit', '-e', 'true', '--socket', other, bare=True, check=125), self.box.socket, '--socket')
        self.assertLess(time.monotonic() - begun, 10, r)
        self.one_line(self.ctl('wait', '--socket', other, bare=True, check=125), self.box.socket, '--socket')

    def test_who_only_looks_at_the_lock_keeps_nobody_from_starting(self):
        os.makedirs(self.box.state, 0o700)
        with open(os.path.join(self.box.state, 'lock'), 'w') as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            p = self.box.ctl_start('daemon', 'start')
            until(lambda: any(lock.name in open_files(pid) for pid in descendants(p.pid)), 'batchd at the lock')
        self.assertEqual(p.wait(20 * SLOW), 0, p.stderr.read())
        p.communicate()

    def test_two_state_folders_do_not_mix(self):
        other = {'XDG_STATE_HOME': os.path.join(self.box.dir, 'state2'), 'XDG_RUNTIME_DIR': os.path.join(self.box.dir, 'run2')}
        os.mkdir(other['XDG_RUNTIME_DIR'], 0o700)
        self.ctl('submit', '-w', '-e', 'true', bare=True, check=0)
        self.assertEqual(self.ctl('submit', '-w', '-e', 'true', bare=True, env=other, check=0).out, b'1\n')
        self.ctl('daemon', 'stop', bare=True, env=other, check=0)
        self.ctl('daemon', 'status', bare=True, check=0)


if __name__ == '__main__':
    unittest.main()
