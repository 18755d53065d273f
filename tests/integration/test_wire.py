"""The daemon's life, as seen from the wire and from outside. The rules of the wire: test_contract_wire, _limits and _methods."""
import os
import socket
import subprocess
import unittest

from harness import BATCHD, SLOW, Case, Closed, Rpc, alive, bash, batch, proc_stat, until


class Daemon(Case):
    def test_stop_leaves_ops_running(self):
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash('echo $$ > pid; read x < gate; echo done')]))
        until(lambda: b.exists('pid') and b.text('pid').strip(), 'the op')
        b.call('daemon.stop')
        b.disconnect()
        self.assertEqual(b.daemon.wait(10 * SLOW), 0)
        b.daemon = None
        self.assertEqual(proc_stat(int(b.text('pid')))[0] in 'SR', True)
        b.start()
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        self.match({'state': 'succeeded'}, b.get(run))
        self.assertEqual(b.output(run, 1), b'done\n')

    def test_drain_waits_for_them(self):
        b = self.box
        run = b.submit(batch([bash('touch began; sleep .3; touch finished')]))
        until(lambda: b.exists('began'), 'the op')
        b.call('daemon.stop', drain=True)
        b.disconnect()
        b.daemon.wait(20 * SLOW)
        b.daemon = None
        self.assertTrue(b.exists('finished'))
        b.start()
        self.match({'state': 'succeeded'}, b.get(run))

    def test_sigterm_is_a_stop(self):
        b = self.box
        b.disconnect()
        b.daemon.terminate()
        self.assertEqual(b.daemon.wait(10 * SLOW), 0)
        b.daemon = None

    def test_the_spawner_ends_when_it_has_no_op(self):
        b = self.box
        b.run(batch([bash('true')]))
        spawner = b.spawner_pid()
        b.stop_quietly()
        until(lambda: not alive(spawner), 'the end of the spawner')

    def test_reload(self):
        b = self.box
        if 'daemon.reload' not in b.call('rpc.hello')['capabilities']:
            self.skipTest('batchd offers no daemon.reload yet')
        folder = os.path.join(b.dir, 'home', '.config', 'batchd')
        os.makedirs(folder)
        with open(os.path.join(folder, 'batchd.conf'), 'w') as f:
            f.write('group.made = 3\n')
        pid = b.daemon.pid
        b.call('daemon.reload')
        b.disconnect()

        def loaded():
            try:
                with Rpc(b.socket) as r:
                    return any(3 == g.get('slots') for g in r.call('group.list')['groups'])
            except (OSError, Closed):
                return False
        until(loaded, 'the new configuration')
        self.assertEqual(b.call('daemon.status')['pid'], pid)

    def test_ready_is_told_to_a_service_manager(self):
        b = self.box
        b.stop_quietly()
        path = os.path.join(b.dir, 'notify')
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.bind(path)
            s.settimeout(20 * SLOW)
            b.start(NOTIFY_SOCKET=path)
            self.assertIn(b'READY=1', s.recv(4096))

    def test_a_bad_configuration_names_the_line(self):
        b = self.box
        b.stop_quietly()
        folder = os.path.join(b.dir, 'home', '.config', 'batchd')
        os.makedirs(folder)
        with open(os.path.join(folder, 'batchd.conf'), 'w') as f:
            f.write('slots = 4\n\nslotz = 5\n')
        p = subprocess.run([BATCHD, '--foreground', '--socket', b.socket, '--state-dir', b.state], env=b.env(),
                           stdin=subprocess.DEVNULL, capture_output=True, timeout=20 * SLOW)
        self.assertNotEqual(p.returncode, 0)
        self.assertIn(b'slotz', p.stderr)
        self.assertIn(b'3', p.stderr)


if __name__ == '__main__':
    unittest.main()
