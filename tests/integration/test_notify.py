"""-N and `notify`: a command that runs when a run has ended, whoever is there by then, and once."""
import os
import shutil
import signal

from harness import BATCHCTL, Case, bash, batch, until

TELL = 'echo "$BATCHD_RUN $BATCHD_STATE $BATCHD_NAME $BATCHD_OPS $BATCHD_SUCCEEDED $BATCHD_FAILED $BATCHD_SKIPPED" >> told'


class Notify(Case):
    def ctl(self, *args, **kw):
        return self.box.ctl(*args, **kw)

    def told(self, lines=1):
        until(lambda: self.box.exists('told') and self.box.text('told').count('\n') >= lines, 'the notification')
        return self.box.text('told')

    def settle(self):
        """All there is to run has been run."""
        for r in self.box.call('run.list')['runs']:
            self.box.wait(r['run'])

    def test_add_tells_of_success(self):
        run = int(self.ctl('add', '--name', 'nightly', '-N', TELL, '--', 'true', check=0).text)
        self.assertEqual('%d succeeded nightly 1 1 0 0\n' % run, self.told())

    def test_submit_tells_of_failure_and_after_each_flag(self):
        args = ['--list', 'chores', '-N', TELL, '--notify', 'echo "$BATCHD_LIST" > told2', '-e', 'exit 3', '-e', 'true']
        run = int(self.ctl('submit', *args, check=0).text)
        self.assertEqual('%d failed  2 1 1 0\n' % run, self.told())
        until(lambda: self.box.exists('told2') and self.box.text('told2'), 'the second')
        self.assertEqual('chores\n', self.box.text('told2'))  # what it does to todos, it does to those of the run

    def test_run_in_the_foreground(self):
        self.assertEqual(7, self.ctl('run', '-N', TELL, '--', 'exit 7').status)
        self.assertEqual('1 failed  1 0 1 0\n', self.told())

    def test_a_cancelled_run_is_told_of(self):
        gate = self.box.fifo('gate')
        run = int(self.ctl('add', '-N', TELL, '--', 'cat ' + gate, check=0).text)
        self.ctl('cancel', '--now', run, check=0)
        self.assertEqual('%d cancelled  1 0 0 0\n' % run, self.told())

    def test_it_waits_for_the_end_and_is_in_nobodys_way(self):
        gate = self.box.fifo('gate')
        run = int(self.ctl('add', '-N', TELL, '--', 'cat ' + gate, check=0).text)
        self.assertEqual([run], [r['run'] for r in self.ctl('status', '--json', check=0).json['runs']])
        self.assertEqual(run, self.ctl('status', '--json', 'last', check=0).json['runs'][0]['run'])
        self.assertFalse(self.box.exists('told'))
        with open(gate, 'w'):
            pass
        self.ctl('wait', check=0)
        self.told()

    def test_the_client_and_the_daemon_may_go(self):
        gate = self.box.fifo('gate')
        waiting = self.box.ctl_start('submit', '-w', '-N', TELL, '-e', 'cat ' + gate)
        until(lambda: any(r['state'] == 'running' for r in self.box.call('run.list')['runs']), 'the run')
        until(lambda: len(self.box.call('run.list')['runs']) == 2, 'the notification')
        waiting.send_signal(signal.SIGKILL)
        waiting.communicate()
        self.box.restart()
        with open(gate, 'w'):
            pass
        self.assertEqual('1 succeeded  1 1 0 0\n', self.told())
        self.settle()
        self.box.restart()
        self.settle()
        self.assertEqual('1 succeeded  1 1 0 0\n', self.box.text('told'))

    def test_who_asked_may_be_gone_before_the_answer(self):
        """The batch and what tells of its end are one request."""
        c = self.box.connect()
        c.request('batch.submit', {'batch': batch([bash('true')], cwd=self.box.work), 'notify': [TELL]})
        c.close()
        self.assertEqual('1 succeeded  1 1 0 0\n', self.told())
        self.settle()
        self.assertEqual('1 succeeded  1 1 0 0\n', self.box.text('told'))

    def test_the_answer_says_that_both_are_stored(self):
        gate = self.box.fifo('gate')
        run = int(self.ctl('add', '-N', TELL, '--', 'cat ' + gate, check=0).text)
        self.box.kill_daemon()
        self.box.start()
        with open(gate, 'w'):
            pass
        self.assertEqual('%d succeeded  1 1 0 0\n' % run, self.told())

    def test_the_daemon_is_away_when_it_is_told(self):
        """What runs the command asks batchd how the run ended, and waits for one that is on its way back."""
        run = self.box.submit(batch([bash('true')]))
        self.box.wait(run)
        self.box.kill_daemon()
        telling = self.box.ctl_start('notify', '--exec', run, TELL)
        until(lambda: b'went away' in os.read(telling.stderr.fileno(), 4096), 'its waiting')
        self.box.start()
        telling.communicate()
        self.assertEqual('%d succeeded  1 1 0 0\n' % run, self.told())

    def test_of_a_run_that_is_cancelled_with_the_one_that_submitted_it(self):
        gate = self.box.fifo('gate')
        outer = self.box.submit(batch([bash('%s submit -N "$TELL" -w -e "cat %s"' % (BATCHCTL, gate), env={'TELL': TELL})]))
        until(lambda: len([r for r in self.box.call('run.list')['runs'] if r['state'] == 'running']) == 2, 'the run within')
        self.ctl('cancel', '--now', outer, check=0)
        self.assertEqual('2 cancelled  1 0 0 0\n', self.told())

    def test_the_whole_command_tells_them_apart(self):
        """Also one that is longer than a key, or no text."""
        long = ': %s; echo x >> told' % ('y' * 300)
        for _ in range(2):
            self.ctl('add', '--key', 'k', '-N', long + ' # 1', '-N', long + ' # 2', '-N', b'echo \xff >> told', '--', 'true', check=0)
        self.settle()
        self.assertEqual(sorted([b'x', b'x', b'\xff']), sorted(self.box.bytes('told').split()))

    def test_a_plan_tells_nobody(self):
        self.ctl('submit', '-n', '-N', TELL, '-e', 'true', check=0)
        self.assertEqual([], self.box.call('run.list')['runs'])

    def test_too_many(self):
        self.refused('E_LIMIT', 'batch.submit', {'batch': batch([bash('true')], cwd=self.box.work), 'notify': ['true'] * 17})
        self.refused('E_PARAMS', 'batch.submit', {'batch': batch([bash('true')], cwd=self.box.work), 'notify': 'true'})
        self.assertEqual([], self.box.call('run.list')['runs'])

    def test_submitted_again_with_the_same_key_it_is_told_once(self):
        for _ in range(2):
            self.ctl('add', '--key', 'k', '-N', TELL, '--', 'true', check=0)
        self.settle()
        self.assertEqual('1 succeeded  1 1 0 0\n', self.box.text('told'))

    def test_notify_of_a_run_that_is_there(self):
        run = self.box.submit(batch([bash('true')]))
        self.box.wait(run)
        by = int(self.ctl('notify', 'last', TELL, check=0).text)
        self.box.wait(by)
        self.assertEqual('%d succeeded  1 1 0 0\n' % run, self.box.text('told'))
        self.assertEqual(0, self.ctl('--json', 'status', by, check=0).json['runs'][0]['ops'][0]['exit'])

    def test_the_same_command_again_is_the_same_notification(self):
        """Whichever way, and whichever batchctl asks: one of another folder knows of no other batchd."""
        elsewhere = self.box.path('elsewhere')
        shutil.copy(BATCHCTL, elsewhere)
        run = int(self.ctl('add', '-N', TELL, '--', 'true', check=0).text)
        first = int(self.ctl('notify', run, TELL, check=0).text)
        self.assertEqual(first, int(self.ctl('notify', run, TELL, program=elsewhere, check=0).text))
        self.settle()
        self.assertEqual('%d succeeded  1 1 0 0\n' % run, self.box.text('told'))

    def test_refused(self):
        for args, says in ((['notify', '99', 'true'], 'no run 99'), (['notify', '--exec', 'x', 'true'], 'the number of a run'),
                           (['add', '-N'], 'needs a value'), (['notify', '1', ''], 'which command?'), (['notify', '--exec', '1', ' '], 'which command?')):
            done = self.ctl(*args, check=2)
            self.assertIn(says, done.errors)

    def test_no_command_is_refused(self):
        for verb in (['submit', '-e', 'true'], ['add'], ['run'], ['each']):
            for empty in ('', ' \n'):
                done = self.ctl(*(verb[:1] + ['--notify', empty] + verb[1:] + ([] if verb[0] == 'submit' else ['--', 'true', 'x'])), check=2)
                self.assertIn('--notify', done.errors)
        self.assertEqual([], self.box.call('run.list')['runs'])
        self.refused('E_PARAMS', 'batch.submit', {'batch': batch([bash('true')], cwd=self.box.work), 'notify': ['true', '']})

    def test_a_folder_that_is_gone(self):
        os.mkdir(self.box.path('sub'))
        self.ctl('add', '-N', 'pwd > %s; rmdir x 2>/dev/null' % self.box.path('told'), '--', 'rmdir ../sub', check=0, cwd=self.box.path('sub'))
        self.assertEqual('/\n', self.told())

    def configure(self, text):
        folder = os.path.join(self.box.dir, 'home', '.config', 'batchd')
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, 'batchd.conf'), 'w') as f:
            f.write(text)

    def test_run_on_end_is_stored_with_the_end(self):
        """Whoever sees that a run has ended sees what tells of it, so no crash comes between; and it is told once."""
        self.configure('run.on_end = %s\n' % TELL)
        self.ctl('daemon', 'reload', check=0)
        runs = []
        for _ in range(10):
            runs.append(self.box.submit(batch([bash('true')])))
            self.box.wait(runs[-1])
            self.assertIn('notify-%d' % runs[-1], [r['name'] for r in self.box.call('run.list')['runs']])
        gate = self.box.fifo('gate')
        runs.append(self.box.submit(batch([bash('cat ' + gate)])))
        until(lambda: self.box.get(runs[-1])['state'] == 'running', 'the last run')
        self.box.kill_daemon()
        with open(gate, 'w'):
            pass
        self.box.start()
        self.told(len(runs))
        self.settle()
        self.assertEqual(sorted(runs), sorted(int(line.split()[0]) for line in self.told().splitlines()))

    def test_run_on_end_of_the_configuration(self):
        self.configure('run.on_end = %s\n' % TELL)
        self.assertIn('run.on_end', self.ctl('daemon', 'reload', check=0).text)
        self.ctl('add', '--name', 'one', '--', 'true', check=0)
        self.ctl('submit', '-w', '-e', 'false', '-e', 'true', check=1)
        told = self.told(2).splitlines()
        self.assertEqual({'one', '2'}, {line.split()[2] for line in told})
        self.settle()
        self.box.restart()      # what ended before it is told of no second time
        self.settle()
        self.assertEqual(told, self.box.text('told').splitlines())
        self.configure('')
        self.ctl('daemon', 'reload', check=0)
        before = len(self.box.call('run.list')['runs'])
        self.ctl('submit', '-w', '-e', 'true', check=0)
        self.settle()
        self.assertEqual(before + 1, len(self.box.call('run.list')['runs']))
