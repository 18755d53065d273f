"""Ops with `background`: ready for others while they run, and ended when the rest of the run has."""
import os
import socket

from harness import Case, bash, batch, until


def listener(family, host):
    """Python that listens on a free port once it is told to go, and says which in a file."""
    return ('import os, socket, sys, time\n'
            's = socket.socket(socket.%s)\n'
            's.bind(("%s", int(sys.argv[1])))\n'
            'open("bound", "w").close()\n'
            'open("go").close()\n'
            's.listen()\n'
            'time.sleep(600)\n' % (family, host))


def free_port(family, host):
    s = socket.socket(family)
    s.bind((host, 0))
    port = s.getsockname()[1]
    s.close()
    return port


def service(command, **keys):
    return bash(command, background=True, **keys)


class Services(Case):
    def op(self, run, index):
        return self.box.get(run)['ops'][index - 1]

    def states(self, run):
        return [o['state'] for o in self.box.get(run)['ops']]

    def started(self, run, index):
        until(lambda: self.op(run, index)['state'] == 'running', 'op %d running' % index)

    def open(self, gate):
        with open(gate, 'w'):
            pass

    def test_ready_as_soon_as_it_runs_and_stopped_at_the_end(self):
        run = self.box.run(batch([service('trap "echo bye; exit 3" TERM; while :; do sleep 0.1; done', id='s'),
                                  bash('echo used', needs=['s'])], [bash('echo later')]))
        self.assertEqual('succeeded', run['state'])
        self.assertEqual(['succeeded'] * 3, self.states(run['run']))
        self.assertIsNone(self.op(run['run'], 1)['cause'])
        self.assertEqual(['succeeded', 'succeeded'], [m['state'] for m in self.box.get(run['run'])['messages']])

    def test_the_summary_leaves_its_time_out(self):
        """Neither is it what the time was spent on, nor on the chain that the run's length is made of."""
        self.box.put('b', '[Up]:\n  Bash("exec sleep 1000", { id: "server", background: true })\n'
                          '[Test]:\n  Bash("sleep 0.3", { id: "long" })\n  Bash("true")\n[Down]:\n  Bash("sleep 0.2", { id: "down" })\n')
        told = self.box.ctl('submit', '-w', 'b', check=0).errors
        self.assertRegex(told, r'longest: op long, ')
        run = self.box.call('run.list')['runs'][0]['run']
        self.assertEqual([True, False, False, False], [o['background'] for o in self.box.call('run.plan', run=run)['ops']])
        spent = sum(o['duration_ms'] for o in self.box.call('run.get', run=run)['ops'] if o['id'] != 'server')
        self.assertEqual(spent, self.box.get(run)['summary']['serial_ms'])
        critical = [e['name'] for e in self.box.ctl('trace', run, check=0).json['traceEvents'] if e.get('args', {}).get('critical')]
        self.assertEqual(['long', 'down'], critical)

    def test_of_a_run_that_waited_for_it_no_speed_up_is_told(self):
        """The time of the ops is less than that of the run, however they ran."""
        self.box.put('b', '[Up]:\n  Bash("sleep 1; echo up; exec sleep 1000", { background: true, ready: { match: "up" } })\n[Use]:\n  Bash("true")\n')
        told = self.box.ctl('submit', '-w', 'b', check=0).errors
        self.assertRegex(told, r'(?m)^2 ops in \d+(\.\d)? m?s$')

    def test_text_in_its_output_holds_what_needs_it_and_the_later_messages(self):
        gate = self.box.fifo('gate')
        run = self.box.submit(batch(
            [service('cat %s; printf "now liste"; printf "ning\\n" ; exec sleep 600' % gate, id='s', ready={'match': 'now listening'}),
             bash('echo beside'), bash('echo needs', needs=['s'])], [bash('echo later')]))
        self.started(run, 1)
        until(lambda: self.states(run)[1] == 'succeeded', 'what does not need it')
        self.assertEqual(['running', 'succeeded', 'waiting', 'waiting'], self.states(run))
        self.open(gate)
        self.assertEqual('succeeded', self.box.wait(run)['state'])
        self.assertEqual(['succeeded'] * 4, self.states(run))

    def test_text_on_stderr_across_pieces_and_after_much_else(self):
        run = self.box.run(batch(
            [service('head -c 3000000 /dev/zero | tr "\\0" x; echo is up >&2; exec sleep 600', id='s', ready={'match': 'is up'})],
            [bash('true')]))
        self.assertEqual('succeeded', run['state'])

    def port(self, family, host):
        try:
            port = free_port(getattr(socket, family), host)
        except OSError as e:
            self.skipTest('no %s here: %s' % (host, e))
        self.box.fifo('go')
        self.box.put('listen.py', listener(family, host).encode())
        run = self.box.submit(batch([service('exec /usr/bin/python3 listen.py %d' % port, id='s', ready={'port': port})],
                                    [bash('exec 3<>/dev/tcp/localhost/%d' % port if family == 'AF_INET' else 'true')]))
        until(lambda: self.box.exists('bound'), 'the port bound')
        until(lambda: self.states(run)[0] == 'running', 'that it is told to run')
        self.assertEqual(['running', 'waiting'], self.states(run))
        self.open(self.box.path('go'))
        self.assertEqual('succeeded', self.box.wait(run)['state'])

    def test_port(self):
        self.port('AF_INET', '127.0.0.1')

    def test_port_of_ipv6_alone(self):
        self.port('AF_INET6', '::1')

    def test_it_holds_no_slot(self):
        run = self.box.run(batch([service('exec sleep 600', id='s'), bash('true', needs=['s'])], [bash('true', exclusive=True)],
                                 group='one'))
        self.assertEqual('succeeded', run['state'])

    def test_serial(self):
        run = self.box.run(batch([service('exec sleep 600'), bash('echo next')], order='serial'))
        self.assertEqual(['succeeded'] * 2, self.states(run['run']))

    def test_ended_before_it_was_ready_is_failed(self):
        for command, exit_status in (('exit 0', 0), ('exit 4', 4)):
            run = self.box.run(batch([service(command, id='s', ready={'match': 'up'}), bash('true', needs=['s'])], [bash('true')]))
            self.assertEqual('failed', run['state'])
            self.assertEqual(['failed', 'skipped', 'skipped'], self.states(run['run']))
            op = self.op(run['run'], 1)
            self.assertEqual(('exit', exit_status, 'it ended before it was ready'), (op['cause'], op['exit'], op['error']))

    def test_not_ready_in_time_is_a_timeout(self):
        run = self.box.run(batch([service('exec sleep 600', ready={'match': 'up', 'timeout': '100ms'})], [bash('true')]))
        op = self.op(run['run'], 1)
        self.assertEqual(('failed', 'timeout', 'it was not ready in time'), (op['state'], op['cause'], op['error']))
        self.assertEqual(['failed', 'skipped'], self.states(run['run']))

    def test_one_that_ends_well_by_itself_has_succeeded(self):
        end, gate = self.box.fifo('end'), self.box.fifo('gate')
        run = self.box.submit(batch([service('echo up; cat ' + end, ready={'match': 'up'})], [bash('cat ' + gate)]))
        self.started(run, 2)
        self.open(end)
        until(lambda: self.states(run)[0] == 'succeeded', 'its end')
        self.assertEqual('running', self.box.get(run)['state'])
        self.open(gate)
        self.assertEqual('succeeded', self.box.wait(run)['state'])

    def test_one_that_fails_later_is_tried_again(self):
        die, gate = self.box.fifo('die'), self.box.fifo('gate')
        run = self.box.submit(batch([service('echo up; [ -e again ] && exec sleep 600; touch again; cat %s; exit 1' % die,
                                             ready={'match': 'up'}, retries=1, retry_delay='10ms')], [bash('cat ' + gate)]))
        self.started(run, 2)
        self.open(die)
        until(lambda: self.op(run, 1)['attempts'] == 2 and self.states(run)[0] == 'running', 'its second try')
        self.open(gate)
        self.assertEqual('succeeded', self.box.wait(run)['state'])

    def test_one_that_fails_later_ends_the_run_after_what_has_begun(self):
        die, gate = self.box.fifo('die'), self.box.fifo('gate')
        run = self.box.submit(batch([service('echo up; cat %s; exit 5' % die, ready={'match': 'up'})], [bash('cat ' + gate)], [bash('true')]))
        self.started(run, 2)
        self.open(die)
        until(lambda: self.states(run)[0] == 'failed', 'its failure')
        self.open(gate)
        self.assertEqual('failed', self.box.wait(run)['state'])
        self.assertEqual(['failed', 'succeeded', 'skipped'], self.states(run))
        self.assertEqual(['failed', 'succeeded', 'skipped'], [m['state'] for m in self.box.get(run)['messages']])

    def test_cancel_ends_it_and_clean_up_runs(self):
        gate = self.box.fifo('gate')
        run = self.box.submit(batch([service('exec sleep 600')], [bash('cat ' + gate)], {'always': True, 'ops': [bash('echo clean')]}))
        self.started(run, 2)
        self.box.call('run.cancel', run=run)
        self.assertEqual('cancelled', self.box.wait(run)['state'])
        self.assertEqual(['cancelled', 'cancelled', 'succeeded'], self.states(run))

    def test_it_serves_the_clean_up_after_a_failure(self):
        run = self.box.run(batch([service('trap "exit 0" TERM; echo $$ > pid; while :; do sleep 0.1; done')],
                                 [bash('until [ -s pid ]; do sleep 0.05; done; exit 1')],
                                 {'always': True, 'ops': [bash('kill -0 $(cat pid)')]}))
        self.assertEqual(['succeeded', 'failed', 'succeeded'], self.states(run['run']))

    def restarted(self, ready, printed):
        """Ready before batchd is killed, or only after that."""
        up, gate = self.box.fifo('up'), self.box.fifo('gate')
        run = self.box.submit(batch([service('cat %s; echo listening; exec sleep 600' % up, id='s', **ready), bash('true', needs=['s'])],
                                    [bash('cat ' + gate)]))
        self.started(run, 1)
        if printed:
            self.open(up)
            self.started(run, 3)
        pid = self.op(run, 1)['pid']
        self.box.kill_daemon()
        self.box.start()
        self.assertEqual('running', self.op(run, 1)['state'])
        if not printed:
            self.assertEqual('waiting', self.op(run, 2)['state'])
            self.open(up)
            self.started(run, 3)
        self.open(gate)
        self.assertEqual('succeeded', self.box.wait(run)['state'])
        self.assertEqual(['succeeded'] * 3, self.states(run))
        self.assertEqual((pid, 1), (self.op(run, 1)['pid'], self.op(run, 1)['attempts']))
        until(lambda: not os.path.exists('/proc/%d' % pid), 'the end of its process')

    def test_ready_before_batchd_is_killed(self):
        self.restarted({'ready': {'match': 'listening'}}, True)

    def test_ready_after_batchd_was_killed(self):
        self.restarted({'ready': {'match': 'listening'}}, False)

    def test_ready_while_batchd_is_away(self):
        up = self.box.fifo('up')
        run = self.box.submit(batch([service('cat %s; echo listening; touch said; exec sleep 600' % up, ready={'match': 'listening'})],
                                    [bash('true')]))
        self.started(run, 1)
        self.box.kill_daemon()
        self.open(up)
        until(lambda: self.box.exists('said'), 'the word')
        self.box.start()
        self.assertEqual('succeeded', self.box.wait(run)['state'])

    def test_stopped_at_the_end_while_batchd_is_killed(self):
        gate = self.box.fifo('gate')
        run = self.box.submit(batch([service('trap "echo > told; cat %s; exit 1" TERM; echo up; while :; do sleep 0.1; done' % gate,
                                             ready={'match': 'up'})], [bash('true')]))
        until(lambda: self.box.exists('told'), 'it told to end')
        self.box.kill_daemon()
        self.open(gate)
        self.box.start()
        self.assertEqual('succeeded', self.box.wait(run)['state'])

    def test_restart_failed_starts_it_again(self):
        first = self.box.run(batch([service('exec sleep 600', id='s')], [bash('[ -e fixed ]')]))
        self.assertEqual(['succeeded', 'failed'], self.states(first['run']))
        self.box.put('fixed')
        again = self.box.wait(self.box.call('run.restart', run=first['run'], failed=True)['run'])
        self.assertEqual('succeeded', again['state'])
        self.assertEqual([None, None], [o['cause'] for o in self.box.get(again['run'])['ops']])

    def test_notation(self):
        self.box.put('b.txt', b'''[Serve]:
  Bash("echo it is listening; exec sleep 600", { id: "web", background: true, ready: { match: "listening", timeout: "30s" } })
  Bash("echo got it", { needs: ["web"] })
[Later]:
  Bash("true")
''')
        self.assertEqual(0, self.box.ctl('submit', '-w', 'b.txt').status)
        op = self.box.ctl('parse', 'b.txt', check=0).json['messages'][0]['ops'][0]
        self.assertEqual((True, {'match': 'listening', 'timeout': '30s'}), (op['background'], op['ready']))
        fmt = self.box.ctl('fmt', 'b.txt', check=0).text
        self.box.put('c.txt', fmt.encode())
        self.assertEqual(self.box.ctl('parse', 'b.txt').json, self.box.ctl('parse', 'c.txt').json)

    def test_a_bare_number_of_milliseconds_is_refused(self):
        self.box.put('b.txt', b'Bash("x", { background: true, ready: { port: 3000, timeout: 30000 } })\n')
        r = self.box.ctl('parse', 'b.txt')
        self.assertEqual(2, r.status)
        self.assertIn('write "30s"', r.errors)

    def test_what_is_refused(self):
        for keys, says in (({'ready': {'port': 80}}, 'background: true'),
                           ({'background': True, 'exclusive': True}, 'exclude each other'),
                           ({'background': True, 'ready': {}}, 'one of the two'),
                           ({'background': True, 'ready': {'port': 80, 'match': 'x'}}, 'one of the two'),
                           ({'background': True, 'ready': {'port': 0}}, 'ready.port'),
                           ({'background': True, 'ready': {'match': ''}}, 'ready.match'),
                           ({'background': True, 'ready': {'prot': 80}}, 'prot'),
                           ({'background': True, 'ready': 80}, 'ready')):
            self.refused_batch('E_PARAMS', batch([bash('true', **keys)]), says=[says])
        self.refused_batch('E_PARAMS', batch([{'kind': 'read', 'path': 'x', 'background': True}]), says=['background'])
