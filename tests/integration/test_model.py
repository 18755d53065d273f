"""Contract section 1: batches, messages, ops, runs. Each row is a sentence, a batch, and what its run must look like."""
import os
import signal
import time
import unittest

from harness import Case, bash, batch, edit, exec_, expand, message, read, rows, todos, until, write

SUCCEEDED = {'state': 'succeeded', 'cause': None, 'exit': 0}
SKIPPED = {'state': 'skipped', 'cause': 'dependency', 'attempts': 0}


def failed(cause, **keys):
    return dict({'state': 'failed', 'cause': cause}, **keys)


def states(*names):
    return [{'state': n} for n in names]


@expand
class Outcomes(Case):
    """What a run and its ops end as."""

    @rows(
        ('one op that succeeds',
         batch([bash('true')]),
         {'state': 'succeeded', 'ops': [SUCCEEDED], 'messages': [{'index': 1, 'state': 'succeeded'}]}),

        ('a failing op does not stop or cancel its siblings',
         batch([bash('exit 3'), bash('sleep .1'), exec_('true')]),
         {'state': 'failed', 'ops': [failed('exit', exit=3), SUCCEEDED, SUCCEEDED]}),

        ('a message with a failed op ends the run there, later messages are skipped',
         batch([bash('false')], [bash('true')], [bash('true')]),
         {'state': 'failed', 'ops': [failed('exit', exit=1), SKIPPED, SKIPPED],
          'messages': states('failed', 'skipped', 'skipped')}),

        ('except those marked always',
         batch([bash('false')], [bash('true')], message(bash('true'), always=True, name='clean-up')),
         {'state': 'failed', 'ops': [failed('exit'), SKIPPED, SUCCEEDED],
          'messages': [{'state': 'failed'}, {'state': 'skipped'}, {'state': 'succeeded', 'name': 'clean-up'}]}),

        ('on_failure continue goes on, and the run has failed all the same',
         batch([bash('false')], [bash('true')], on_failure='continue'),
         {'state': 'failed', 'ops': [failed('exit'), SUCCEEDED]}),

        ('on_failure of a message counts for that message',
         batch(message(bash('false'), on_failure='continue'), [bash('false')], [bash('true')]),
         {'state': 'failed', 'ops': [failed('exit'), failed('exit'), SKIPPED]}),

        ('on_failure kill also stops the running siblings',
         batch([bash('sleep .1; false'), bash('exec sleep 60')], [bash('true')], on_failure='kill'),
         {'state': 'failed', 'ops': [failed('exit'), {'state': 'cancelled', 'cause': 'dependency'}, {'state': 'skipped'}]}),

        ('an optional op fails without failing its message',
         batch([bash('false', optional=True), bash('true')], [bash('true')]),
         {'state': 'succeeded', 'ops': [failed('exit', exit=1), SUCCEEDED, SUCCEEDED],
          'messages': states('succeeded', 'succeeded')}),

        ('ok_exits says which exit status is success',
         batch([bash('exit 1', ok_exits=[0, 1]), bash('exit 0', ok_exits=[1], optional=True)]),
         {'state': 'succeeded', 'ops': [{'state': 'succeeded', 'cause': None, 'exit': 1}, failed('exit', exit=0)]}),

        ('needs: starts after these succeeded',
         batch([bash('test -e made', needs=['make']), bash('sleep .1; touch made', id='make')]),
         {'state': 'succeeded', 'ops': [{'id': None, 'state': 'succeeded'}, {'id': 'make', 'state': 'succeeded'}]}),

        ('needs of what failed: skipped, and so is what needs that',
         batch([bash('false', id='a'), bash('true', id='b', needs=['a']), bash('true', needs=['b']), bash('true')]),
         {'state': 'failed', 'ops': [failed('exit'), SKIPPED, SKIPPED, SUCCEEDED]}),

        ('after_any: starts after these ended, however',
         batch([bash('sleep .1; touch made; false', id='a'), bash('test -e made', after_any=['a'])]),
         {'state': 'failed', 'ops': [failed('exit'), SUCCEEDED]}),

        ('needs reaches back over messages',
         batch([bash('true', id='a')], [bash('true', needs=['a'])]),
         {'state': 'succeeded', 'ops': [SUCCEEDED, SUCCEEDED]}),

        ('retries are extra tries',
         batch([bash('echo x >> tries; test $(wc -l < tries) = 3', retries=5, retry_delay=0)]),
         {'state': 'succeeded', 'ops': [dict(SUCCEEDED, attempts=3)]}),

        ('retries end after the last',
         batch([bash('echo $BATCHD_ATTEMPT; false', retries=2, retry_delay='10ms')]),
         {'state': 'failed', 'ops': [failed('exit', exit=1, attempts=3)]}),

        ('an op that is past its timeout has failed, and exit is nil',
         batch([bash('exec sleep 60', timeout=0.2)]),
         {'state': 'failed', 'ops': [failed('timeout', exit=None)]}),

        ('timeouts have units',
         batch([bash('exec sleep 60', timeout='150ms')]),
         {'state': 'failed', 'ops': [failed('timeout')]}),

        ('a timeout of 0 is none',
         batch([bash('sleep .1', timeout=0)], timeout=0),
         {'state': 'succeeded', 'ops': [SUCCEEDED]}),

        ("at a message's timeout what was not started is skipped",
         batch(message(bash('exec sleep 60', id='a'), bash('true', after_any=['a']), timeout=0.2), [bash('true')]),
         {'state': 'failed', 'ops': [failed('timeout'), {'state': 'skipped', 'cause': 'timeout'}, {'state': 'skipped'}]}),

        ("at a run's timeout what was not started is skipped, always messages run",
         batch([bash('exec sleep 60')], [bash('true')], message(bash('true'), always=True), timeout=0.2),
         {'state': 'failed',
          'ops': [failed('timeout'), {'state': 'skipped', 'cause': 'timeout'}, {'state': 'succeeded'}]}),

        ('a signal ends an op',
         batch([bash('kill -SEGV $$'), bash('kill -KILL $$')]),
         {'state': 'failed', 'ops': [failed('signal', exit=None, signal='SIGSEGV'), failed('signal', signal='SIGKILL')]}),

        ('a nil value counts as absent',
         batch([bash('true', id=None, needs=None, timeout=None, todo=None)], name=None, on_failure=None, key=None),
         {'state': 'succeeded', 'ops': [SUCCEEDED]}),

        ('integral floats count as integers',
         batch([bash('exit 4', ok_exits=[4.0], retries=0.0)]),
         {'state': 'succeeded', 'ops': [{'exit': 4}]}),
    )
    def outcome(self, b, expected):
        self.match(expected, self.box.run(b))


@expand
class Order(Case):
    """What runs when."""

    def test_messages_run_in_order(self):
        self.box.run(batch([bash('sleep .1; echo 1 >> f')], [bash('echo 2 >> f')], [bash('echo 3 >> f')]))
        self.assertEqual(self.box.text('f'), '1\n2\n3\n')

    def test_ops_of_a_message_run_in_parallel(self):
        # Each op waits for the other's word: only both at once come through.
        self.box.fifo('a'), self.box.fifo('b')
        run = self.box.run(batch([bash('echo x > a; read w < b'), bash('read w < a; echo x > b')], timeout=10))
        self.assertEqual(run['state'], 'succeeded', run)

    def test_serial_ops_run_one_after_another_as_written(self):
        run = self.box.run(batch([bash('sleep .1; echo 1 >> f'), write('g', 'x'), bash('echo 2 >> f; cat g')],
                                 order='serial'))
        self.assertEqual((run['state'], run['order'], run['order_used']), ('succeeded', 'serial', 'serial'))
        self.assertEqual(self.box.text('f'), '1\n2\n')

    def test_in_a_serial_message_nothing_happens_after_a_failure(self):
        run = self.box.run(batch([bash('false'), bash('touch no'), write('neither', '')], order='serial'))
        self.match({'state': 'failed', 'ops': [failed('exit'), SKIPPED, SKIPPED]}, run)
        self.assertFalse(self.box.exists('no') or self.box.exists('neither'))

    def test_in_a_serial_message_with_continue_it_goes_on(self):
        run = self.box.run(batch([bash('false'), bash('touch yes')], order='serial', on_failure='continue'))
        self.match({'state': 'failed', 'ops': [failed('exit'), SUCCEEDED]}, run)

    def test_serial_writes_to_one_file_are_in_order(self):
        run = self.box.run(batch([write('f', 'a'), bash('cp f g'), write('f', 'b')], order='serial'))
        self.assertEqual((run['state'], self.box.text('f'), self.box.text('g')), ('succeeded', 'b', 'a'))

    def test_a_message_may_have_an_order_of_its_own(self):
        run = self.box.run(batch(message(bash('sleep .1; echo 1 >> f'), bash('echo 2 >> f'), order='serial'),
                                 [bash('cat f')]))
        self.assertEqual((run['state'], self.box.text('f')), ('succeeded', '1\n2\n'))

    def test_as_if_serial_says_which_order_was_used(self):
        run = self.box.run(batch([bash('sleep .1; echo 1 >> f'), bash('echo 2 >> f')], order='as-if-serial'))
        self.assertEqual((run['state'], run['order'], self.box.text('f')), ('succeeded', 'as-if-serial', '1\n2\n'))
        self.assertEqual(run['order_used'], 'serial')

    def test_todos_then_files_then_the_others(self):
        # Written last, the files are there when the commands start.
        self.box.put('there', 'old')
        run = self.box.run(batch([bash('cat new/file', todo='t'), exec_('test', '-e', 'other'), read('there'),
                                  write('new/file', 'content'), write('other', ''),
                                  todos({'id': 't', 'content': 'T'})]))
        self.assertEqual([o['state'] for o in run['ops']], ['succeeded'] * 6, run)
        self.assertEqual(self.box.output(run['run'], 1), b'content')

    def test_exclusive_runs_alone_in_its_run(self):
        lock = 'mkdir lock || exit 9; sleep .1; rmdir lock'
        run = self.box.run(batch([bash(lock, exclusive=True), bash(lock, exclusive=True), bash('test ! -e lock; sleep .1')]))
        self.assertEqual(run['state'], 'succeeded', run['ops'])

    def test_jobs_is_the_runs_own_cap(self):
        run = self.box.run(batch([bash('mkdir lock || exit 9; sleep .03; rmdir lock')] * 6, jobs=1))
        self.assertEqual(run['state'], 'succeeded', run['ops'])

    def test_a_pool_named_for_the_first_time_has_one_slot(self):
        run = self.box.run(batch([bash('mkdir lock || exit 9; sleep .03; rmdir lock')] * 6, group='narrow'))
        self.assertEqual((run['state'], run['group']), ('succeeded', 'narrow'))
        self.match([{'group': 'narrow', 'slots': 1}],
                   [dict(g, group=g.get('group', g.get('name'))) for g in self.box.call('group.list')['groups']
                    if g.get('group', g.get('name')) == 'narrow'])

    def test_weight_takes_slots_and_more_than_the_pool_takes_it_whole(self):
        self.box.call('group.set', group='three', slots=3)
        lock = 'mkdir lock || exit 9; sleep .05; rmdir lock'
        run = self.box.run(batch([bash(lock, weight=2), bash(lock, weight=2), bash(lock, weight=100)], group='three'))
        self.assertEqual(run['state'], 'succeeded', run['ops'])

    def test_higher_priority_first(self):
        b = self.box
        gate = b.fifo('gate')
        first = b.submit(batch([bash('read x < gate')]), group='one')
        low = b.submit(batch([bash('echo low >> f')]), group='one')
        high = b.submit(batch([bash('echo high >> f')]), group='one', priority=5)
        with open(gate, 'w') as f:
            f.write('go\n')
        for run in (first, low, high):
            b.wait(run)
        self.assertEqual(b.text('f'), 'high\nlow\n')

    def test_a_short_run_does_not_wait_behind_a_long_one(self):
        b = self.box
        b.call('group.set', group='one', slots=1)
        long = b.submit(batch([bash('echo long >> f; sleep .02')] * 30), group='one')
        short = b.submit(batch([bash('echo short >> f')]), group='one')
        b.wait(short)
        self.assertNotIn(b.call('run.get', run=long, ops='none')['state'], ('succeeded',))
        b.call('run.cancel', run=long)
        b.wait(long)

    def test_needs_runs_and_after_any_runs(self):
        b = self.box
        gate = b.fifo('gate')
        first = b.submit(batch([bash('read x < gate; touch made')]))
        bad = b.submit(batch([bash('false')]))
        b.wait(bad)
        after = b.submit(batch([bash('test -e made')]), needs_runs=[first])
        after_any = b.submit(batch([bash('test -e made')]), after_any_runs=[first, bad])
        never = b.submit(batch([bash('touch never')]), needs_runs=[bad])
        self.assertEqual(b.call('run.get', run=after, ops='none')['state'], 'queued')
        with open(gate, 'w') as f:
            f.write('go\n')
        for run, state in ((after, 'succeeded'), (after_any, 'succeeded')):
            b.wait(run)
            self.assertEqual(b.get(run)['state'], state)
        b.wait(never)
        self.match({'ops': [{'state': 'skipped', 'cause': 'dependency'}]}, b.get(never))
        self.assertFalse(b.exists('never'))

    def test_held_waits_for_resume(self):
        b = self.box
        run = b.submit(batch([bash('true')]), held=True)
        self.assertEqual(b.get(run)['state'], 'paused')
        b.call('run.resume', run=run)
        b.wait(run)
        self.assertEqual(b.get(run)['state'], 'succeeded')

    def test_not_before_is_a_time(self):
        b = self.box
        when = int(time.time() * 1000) + 400
        run = b.run(batch([bash('true')]), not_before=when)
        self.assertEqual(run['state'], 'succeeded')
        self.assertGreaterEqual(run['ops'][0]['started'], when)

    def test_pause_starts_nothing_new(self):
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash('read x < gate')], [bash('touch second')]))
        b.connect().call('run.subscribe', run=run)
        b.call('run.pause', run=run)
        with open(gate, 'w') as f:
            f.write('go\n')
        until(lambda: b.get(run)['ops'][0]['state'] == 'succeeded', 'the end of the first op')
        self.match({'state': 'paused', 'ops': [{}, {'state': lambda s: s in ('waiting', 'ready')}]}, b.get(run))
        b.call('run.resume', run=run)
        b.wait(run)
        self.assertTrue(b.exists('second'))

    def test_a_try_is_counted_from_its_start_on(self):
        b = self.box
        b.run(batch([bash('true')]))
        spawner = b.spawner_pid()
        os.kill(spawner, signal.SIGSTOP)
        try:
            run = b.submit(batch([bash('true')]))
            until(lambda: b.call('daemon.status')['running_ops'], 'that it is told to start')
            self.match({'state': 'ready', 'attempts': 0, 'pid': None}, b.get(run)['ops'][0])
        finally:
            os.kill(spawner, signal.SIGCONT)
        b.wait(run)
        self.match({'state': 'succeeded', 'attempts': 1}, b.get(run)['ops'][0])

    def test_freeze_also_stops_what_runs(self):
        b = self.box
        run = b.submit(batch([bash('while :; do echo x >> ticks; sleep .01; done')]))
        until(lambda: b.exists('ticks'), 'a tick')
        b.call('run.pause', run=run, freeze=True)
        pid = b.get(run)['ops'][0]['pid']
        with open('/proc/%d/stat' % pid) as f:
            pass
        until(lambda: open('/proc/%d/stat' % pid).read().rpartition(')')[2].split()[0] == 'T', 'the freeze')
        b.call('run.resume', run=run)
        size = len(b.bytes('ticks'))
        until(lambda: len(b.bytes('ticks')) > size, 'the thaw')
        b.call('run.cancel', run=run)
        b.wait(run)

    def test_a_cancel_thaws_so_that_clean_up_can_run(self):
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash('touch began; exec sleep 60')], message(bash('touch cleaning; read x < gate; touch cleaned'), always=True)))
        until(lambda: b.exists('began'), 'the op')
        b.call('run.pause', run=run, freeze=True)
        b.call('run.cancel', run=run)
        until(lambda: b.exists('cleaning'), 'the clean-up')
        b.call('run.pause', run=run, freeze=True)
        b.call('run.cancel', run=run)
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        self.assertTrue(b.exists('cleaned'))
        self.assertEqual(b.get(run)['state'], 'cancelled')


class Cancel(Case):
    def running(self, b, **keys):
        run = self.box.submit(b, **keys)
        until(lambda: any(o['state'] == 'running' for o in self.box.get(run)['ops']), 'a running op')
        return run

    def test_a_cancelled_run(self):
        b = self.box
        run = self.running(batch([bash('exec sleep 60')], [bash('true')], message(bash('touch cleaned'), always=True)))
        b.call('run.cancel', run=run)
        b.wait(run)
        self.match({'state': 'cancelled', 'ops': [{'state': 'cancelled', 'cause': 'cancel'},
                                                  {'state': lambda s: s in ('cancelled', 'skipped')},
                                                  {'state': 'succeeded'}]}, b.get(run))
        self.assertTrue(b.exists('cleaned'))

    def test_cancelled_now_runs_no_clean_up(self):
        b = self.box
        run = self.running(batch([bash('exec sleep 60')], message(bash('touch cleaned'), always=True)))
        b.call('run.cancel', run=run, now=True)
        b.wait(run)
        self.match({'state': 'cancelled', 'ops': [{'state': 'cancelled'},
                                                  {'state': lambda s: s in ('cancelled', 'skipped')}]}, b.get(run))
        self.assertFalse(b.exists('cleaned'))

    def test_one_op_is_cancelled_by_id_and_the_others_go_on(self):
        b = self.box
        run = self.running(batch([bash('exec sleep 60', id='long'), bash('sleep .1', id='short')]))
        b.call('run.cancel', run=run, op='long')
        b.wait(run)
        self.match({'state': 'failed', 'ops': [{'state': 'cancelled', 'cause': 'cancel'}, {'state': 'succeeded'}]}, b.get(run))

    def test_a_signal_is_only_sent(self):
        b = self.box
        run = self.running(batch([bash('trap "echo got; exit 0" USR1; touch ready; while :; do sleep .02; done')]))
        until(lambda: b.exists('ready'), 'the trap')
        b.call('run.cancel', run=run, op=1, signal='SIGUSR1')
        b.wait(run)
        self.match({'state': 'succeeded', 'ops': [{'state': 'succeeded', 'cause': None}]}, b.get(run))
        self.assertEqual(b.output(run, 1, 'stdout'), b'got\n')

    def test_cancel_of_an_ended_run_and_of_none(self):
        run = self.box.run(batch([bash('true')]))['run']
        self.refused('E_NOT_FOUND', 'run.cancel', {'run': 999})
        try:
            self.assertEqual(self.box.call('run.cancel', run=run)['state'], 'succeeded')
        except Exception as e:
            self.assertEqual(getattr(e, 'symbol', None), 'E_STATE', e)

    def test_a_queued_run_is_cancelled(self):
        run = self.box.submit(batch([bash('touch no')]), held=True)
        self.box.call('run.cancel', run=run)
        self.box.wait(run)
        self.match({'state': 'cancelled'}, self.box.get(run))
        self.assertFalse(self.box.exists('no'))

    def test_runs_submitted_by_an_op_are_cancelled_with_it(self):
        b = self.box
        run = b.submit(batch([bash('batchctl submit -e "exec sleep 60" > inner; exec sleep 60')]))
        until(lambda: b.exists('inner') and b.text('inner').strip(), 'the inner run')
        inner = int(b.text('inner'))
        self.assertEqual(b.get(inner)['parent'] if not isinstance(b.get(inner)['parent'], str) else
                         int(b.get(inner)['parent'].split('.')[0]), run)
        b.call('run.cancel', run=run)
        b.wait(inner)
        self.assertEqual(b.get(inner)['state'], 'cancelled')


class Shape(Case):
    """What a run and an op look like."""

    RUN = ('run name key state cwd project group order order_used origin parent created started ended messages '
           'summary').split()
    OP = ('index id message kind text state cause exit signal attempts pid started ended duration_ms stdout_bytes '
          'stderr_bytes dropped_bytes lingering todo error').split()
    SUMMARY = 'ops succeeded failed skipped cancelled interrupted wall_ms serial_ms critical_ms speedup'.split()

    def test_every_key_is_there(self):
        run = self.box.run(batch([bash('printf abc; printf de >&2', id='one', description='d')], name='shape'))
        self.assertLessEqual(set(self.RUN), set(run))
        self.assertLessEqual(set(self.OP), set(run['ops'][0]))
        self.assertLessEqual(set(self.SUMMARY), set(run['summary']))
        self.assertEqual(run['ops_total'], 1)
        self.match({'run': 1, 'name': 'shape', 'key': None, 'cwd': self.box.work, 'project': self.box.work,
                    'order': 'parallel', 'order_used': 'parallel', 'origin': None, 'parent': None}, run)
        self.match({'index': 1, 'id': 'one', 'message': 1, 'kind': 'bash', 'text': 'printf abc; printf de >&2',
                    'attempts': 1, 'stdout_bytes': 3, 'stderr_bytes': 2, 'dropped_bytes': 0, 'lingering': 0,
                    'signal': None, 'error': None, 'todo': None}, run['ops'][0])
        now = time.time() * 1000
        for t in (run['created'], run['started'], run['ended'], run['ops'][0]['started'], run['ops'][0]['ended']):
            self.assertIsInstance(t, int)
            self.assertLess(abs(now - t), 60000)

    def test_run_list_has_no_ops(self):
        self.box.run(batch([bash('true')]))
        self.box.run(batch([bash('false')], name='second'))
        runs = self.box.call('run.list')['runs']
        self.assertEqual([r['run'] for r in runs], [2, 1], 'newest first')
        self.assertNotIn('ops', runs[0])
        self.assertLessEqual(set(self.RUN), set(runs[0]))

    def test_run_list_filters(self):
        b = self.box
        b.run(batch([bash('true')], name='good', group='g'))
        b.run(batch([bash('false')], name='bad'))
        b.run(batch([bash('true')], cwd='/'))
        ids = lambda **k: [r['run'] for r in b.call('run.list', **k)['runs']]
        self.assertEqual(ids(state='failed'), [2])
        self.assertEqual(ids(name='good'), [1])
        self.assertEqual(ids(group='g'), [1])
        self.assertEqual(ids(project=b.work), [2, 1])
        self.assertEqual(ids(limit=1), [3])
        self.assertEqual(ids(before=3, limit=1), [2])

    def test_ops_are_counted_over_the_batch_from_1(self):
        run = self.box.run(batch([bash('true')], [exec_('true'), bash('true', id='x')]))
        self.assertEqual([(o['index'], o['message'], o['kind']) for o in run['ops']],
                         [(1, 1, 'bash'), (2, 2, 'exec'), (3, 2, 'bash')])

    def test_run_get_pages_and_filters(self):
        b = self.box
        run = b.run(batch([bash('exit %d' % (i % 2)) for i in range(6)]))['run']
        self.assertEqual([o['index'] for o in b.call('run.get', run=run, ops='failed')['ops']], [2, 4, 6])
        self.assertFalse(b.call('run.get', run=run, ops='none').get('ops'))
        page = b.call('run.get', run=run, limit=2)
        self.assertEqual(([o['index'] for o in page['ops']], page['next'], page['ops_total']), ([1, 2], 3, 6))
        page = b.call('run.get', run=run, offset=page['next'], limit=2)
        self.assertEqual(([o['index'] for o in page['ops']], page['next']), ([3, 4], 5))
        self.assertIsNone(b.call('run.get', run=run, limit=6)['next'])

    def test_run_get_with_output(self):
        run = self.box.run(batch([bash('seq 1 1000')]))['run']
        out = self.box.call('run.get', run=run, output=40)['ops'][0]['out']
        whole = b''.join(b'%d\n' % i for i in range(1, 1001))
        self.assertTrue(whole.startswith(out['head']) and whole.endswith(out['tail']), out)
        self.assertEqual(len(out['head']) + len(out['tail']) + out['dropped'], len(whole))

    def test_the_summary_tells_what_parallel_won(self):
        run = self.box.run(batch([bash('sleep .3')] * 4 + [bash('false')], [bash('true')]))
        s = run['summary']
        self.match({'ops': 6, 'succeeded': 4, 'failed': 1, 'skipped': 1, 'cancelled': 0, 'interrupted': 0}, s)
        self.assertGreaterEqual(s['serial_ms'], 1200)
        self.assertLess(s['wall_ms'], s['serial_ms'])
        self.assertGreaterEqual(s['critical_ms'], 300)
        self.assertGreater(s['speedup'], 1)

    def test_text_is_one_short_line(self):
        text = self.box.run(batch([bash('true ' + 'ü' * 500)]))['ops'][0]['text']
        self.assertLessEqual(len(text), 200)

    def test_meta_is_kept(self):
        meta = {'a': [1, {'b': None, 'c': 'd'}]}
        run = self.box.run(batch([bash('true')], meta=meta))
        self.assertEqual(run.get('meta'), meta)

    def test_the_project_is_the_nearest_marked_parent(self):
        b = self.box
        for mark in ('.git', '.jj', '.hg', '.batchd'):
            os.makedirs(b.path('p' + mark, mark))
            os.makedirs(b.path('p' + mark, 'a', 'b'))
            run = b.run(batch([bash('true')], cwd=b.path('p' + mark, 'a', 'b')))
            self.assertEqual(run['project'], b.path('p' + mark))
        os.rmdir(b.path('.batchd'))
        os.makedirs(os.path.join(b.dir, 'plain'))
        self.assertEqual(b.run(batch([bash('true')], cwd=os.path.join(b.dir, 'plain')))['project'], os.path.join(b.dir, 'plain'))


@expand
class Refusals(Case):
    """A batch is refused whole, the text names the place, and nothing has changed."""

    @rows(
        ('no messages', 'E_PARAMS', {'messages': []}, 'messages'),
        ('messages missing', 'E_PARAMS', {}, 'messages'),
        ('a message without ops', 'E_PARAMS', batch([bash('true')], []), 'messages[1].ops'),
        ('an op without kind', 'E_PARAMS', batch([{'command': 'true'}]), 'messages[0].ops[0].kind'),
        ('an unknown kind', 'E_PARAMS', batch([{'kind': 'perl', 'command': 'x'}]), 'messages[0].ops[0].kind'),
        ('an unknown key names itself', 'E_PARAMS', batch([bash('true')], [bash('true'), bash('true', retrys=1)]),
         'messages[1].ops[1].retrys'),
        ('a key of another kind', 'E_PARAMS', batch([bash('true', argv=['x'])]), 'argv'),
        ('an unknown key of the batch', 'E_PARAMS', batch([bash('true')], nmae='x'), 'nmae'),
        ('an unknown key of a message', 'E_PARAMS', batch(message(bash('true'), alwyas=True)), 'messages[0].alwyas'),
        ('a wrong type', 'E_PARAMS', batch([bash('true', retries='many')]), 'messages[0].ops[0].retries'),
        ('a bool is not an int', 'E_PARAMS', batch([bash('true', retries=True)]), 'messages[0].ops[0].retries'),
        ('a negative timeout', 'E_PARAMS', batch([bash('true', timeout=-1)]), 'messages[0].ops[0].timeout'),
        ('a timeout without sense', 'E_PARAMS', batch([bash('true', timeout='5 parsecs')]), 'messages[0].ops[0].timeout'),
        ('a cwd that is not absolute', 'E_PARAMS', batch([bash('true')], cwd='relative'), 'cwd'),
        ('a name that is a number', 'E_PARAMS', batch([bash('true')], name='123'), 'name'),
        ('a name that is last', 'E_PARAMS', batch([bash('true')], name='last'), 'name'),
        ('a name that is all', 'E_PARAMS', batch([bash('true')], name='all'), 'name'),
        ('a name with a dot', 'E_PARAMS', batch([bash('true')], name='a.b'), 'name'),
        ('a name with a comma', 'E_PARAMS', batch([bash('true')], name='a,b'), 'name'),
        ('a name with a blank', 'E_PARAMS', batch([bash('true')], name='a b'), 'name'),
        ('an id that is no word', 'E_PARAMS', batch([bash('true', id='1x')]), 'messages[0].ops[0].id'),
        ('an id twice', 'E_PARAMS', batch([bash('true', id='x')], [bash('true', id='x')]), "x"),
        ('needs of an id that is not there', 'E_PARAMS', batch([bash('true', needs=['ghost'])]), 'ghost'),
        ('a cycle', 'E_PARAMS', batch([bash('true', id='a', needs=['b']), bash('true', id='b', needs=['a'])]), 'a'),
        ('an op that needs itself', 'E_PARAMS', batch([bash('true', id='a', needs=['a'])]), 'a'),
        ('needs on a later message', 'E_PARAMS', batch([bash('true', needs=['late'])], [bash('true', id='late')]), 'late'),
        ('an empty argv', 'E_PARAMS', batch([exec_()]), 'messages[0].ops[0].argv'),
        ('a NUL in a command', 'E_PARAMS', batch([bash('a\0b')]), 'messages[0].ops[0].command'),
        ('a bash op without command', 'E_PARAMS', batch([{'kind': 'bash'}]), 'messages[0].ops[0].command'),
        ('a write op without content', 'E_PARAMS', batch([{'kind': 'write', 'path': 'x'}]), 'messages[0].ops[0].content'),
        ('a mode that is no octal str', 'E_PARAMS', batch([write('x', '', mode='rwx')]), 'messages[0].ops[0].mode'),
        ('an order that is not known', 'E_PARAMS', batch([bash('true')], order='random'), 'order'),
        ('a meta that nests too deep', ('E_PARAMS', 'E_LIMIT'),
         batch([bash('true')], meta={'a': {'b': {'c': {'d': {'e': {'f': {'g': {'h': {'i': 1}}}}}}}}}), 'meta'),
        ('an unknown run in needs_runs', ('E_PARAMS', 'E_NOT_FOUND'), batch([bash('true')], needs_runs=[77]), '77'),
        ('two writes of one file in a parallel message', 'E_CONFLICT', batch([write('f', 'a'), write('./x/../f', 'b')]), 'f'),
        ('a write and an edit of one file', 'E_CONFLICT', batch([write('f', 'a'), edit('f', 'a', 'b')]), 'f'),
        ('a write below a written file', 'E_CONFLICT', batch([write('d', 'a'), write('d/f', 'b')]), 'd'),
        ('duplicate todo ids', ('E_PARAMS', 'E_CONFLICT'),
         batch([todos({'id': 'a', 'content': 'x'}, {'id': 'a', 'content': 'y'})]), 'a'),
        ('a todo that nobody sets', ('E_PARAMS', 'E_NOT_FOUND'), batch([bash('true', todo='ghost')]), 'ghost'),
        ('a todo that only a later message sets', ('E_PARAMS', 'E_NOT_FOUND'),
         batch([bash('true', todo='late')], [todos({'id': 'late', 'content': 'x'})]), 'late'),
    )
    def refuses(self, symbol, b, says):
        symbols = symbol if isinstance(symbol, tuple) else (symbol,)
        b = dict({'cwd': self.box.work}, **b)
        texts = []
        for method in ('batch.check', 'batch.submit'):
            with self.assertRaises(Exception) as caught:
                self.box.call(method, batch=b)
            e = caught.exception
            self.assertIn(getattr(e, 'symbol', repr(e)), symbols, getattr(e, 'text', e))
            self.assertIn(says, e.text)
            self.assertNotIn('\n', e.text)
            texts.append(e.text)
        self.assertEqual(self.box.call('run.list')['runs'], [])
        self.assertEqual(self.box.run(batch([bash('true')]))['state'], 'succeeded', 'and the daemon goes on')

    def test_cwd_is_required_on_the_wire(self):
        self.refused('E_PARAMS', 'batch.submit', {'batch': batch([bash('true')])}, 'cwd')

    def test_one_needs_the_other_is_no_conflict(self):
        run = self.box.run(batch([write('f', 'a', id='a'), write('f', 'b', needs=['a'])]))
        self.assertEqual((run['state'], self.box.text('f')), ('succeeded', 'b'))

    def test_the_same_file_in_two_messages_is_no_conflict(self):
        run = self.box.run(batch([write('f', 'a')], [write('f', 'b')]))
        self.assertEqual((run['state'], self.box.text('f')), ('succeeded', 'b'))

    def test_a_plan_is_not_a_run(self):
        r = self.box.call('batch.check', batch=batch([bash('touch no', id='a'), bash('true', needs=['a'])], cwd=self.box.work))
        self.assertIn('plan', r)
        self.assertIsInstance(r['warnings'], list)
        self.assertEqual(self.box.call('run.list')['runs'], [])


class Keys(Case):
    """The idempotency key."""

    def test_same_key_and_same_batch_is_the_first_run(self):
        b = dict(batch([bash('echo x >> f')]), cwd=self.box.work, key='nightly')
        first = self.box.call('batch.submit', batch=dict(b, env_base={'A': '1'}))
        again = self.box.call('batch.submit', batch=dict(b, env_base={'A': '2'}))
        self.assertEqual((first['existing'], again['existing']), (False, True))
        self.assertEqual(first['run'], again['run'])
        self.box.wait(first['run'])
        self.match({'run': first['run'], 'existing': True}, self.box.call('batch.submit', batch=b))
        self.assertEqual(self.box.text('f'), 'x\n')

    def test_same_key_and_another_batch_is_refused_naming_the_run(self):
        run = self.box.submit(batch([bash('true')]), key='k')
        self.refused('E_KEY', 'batch.submit', {'batch': dict(batch([bash('false')]), cwd=self.box.work, key='k')}, str(run))

    def test_both_at_once(self):
        b = dict(batch([bash('echo x >> f')]), cwd=self.box.work, key='k')
        r = self.box.connect()
        ids = [r.request('batch.submit', {'batch': b}) for _ in range(20)]
        answers = [r.reply(i) for i in ids]
        self.assertEqual({a['run'] for a in answers}, {1})
        self.assertEqual(sum(not a['existing'] for a in answers), 1)


class Again(Case):
    """restart, forget."""

    def test_restart_is_a_new_run_with_origin(self):
        run = self.box.run(batch([bash('echo x >> f')], name='n'))['run']
        again = self.box.call('run.restart', run=run)['run']
        self.box.wait(again)
        self.match({'state': 'succeeded', 'origin': run}, self.box.get(again))
        self.assertEqual(self.box.text('f'), 'x\nx\n')

    def test_restart_failed_takes_over_what_succeeded(self):
        b = self.box
        run = b.run(batch([bash('echo a >> f'), bash('test -e there')], [bash('echo c >> f')]))
        self.match({'state': 'failed', 'ops': states('succeeded', 'failed', 'skipped')}, run)
        b.put('there')
        again = b.call('run.restart', run=run['run'], failed=True)['run']
        b.wait(again)
        self.match({'state': 'succeeded', 'origin': run['run'],
                    'ops': [{'state': 'succeeded', 'cause': 'reused'}, {'state': 'succeeded'}, {'state': 'succeeded'}]},
                   b.get(again))
        self.assertEqual(b.text('f'), 'a\nc\n')

    def test_forget(self):
        b = self.box
        first = b.run(batch([bash('echo gone')]))['run']
        active = b.submit(batch([bash('exec sleep 60')]))
        self.assertEqual(b.call('run.forget', run=first)['forgotten'], 1)
        self.refused('E_NOT_FOUND', 'run.get', {'run': first})
        self.refused('E_STATE', 'run.forget', {'run': active})
        b.call('run.cancel', run=active, now=True)
        b.wait(active)
        self.assertEqual(b.run(batch([bash('true')]))['run'], 3, 'ids are never reused')

    def test_forget_by_state(self):
        b = self.box
        b.run(batch([bash('true')])), b.run(batch([bash('false')])), b.run(batch([bash('true')]))
        self.assertEqual(b.call('run.forget', state='succeeded')['forgotten'], 2)
        self.assertEqual([r['run'] for r in b.call('run.list')['runs']], [2])


if __name__ == '__main__':
    unittest.main()
