"""Contract section 1, Output: apart, byte-exact, on disk from the first byte; section 3: run.output and op.output."""
import hashlib
import os
import time
import unittest

from harness import Case, bash, batch, exec_, until

ALL = bytes(range(256))
EVERY_BYTE = r"python3 -c 'import os; os.write(1, bytes(range(256)) * 300)'"


class Output(Case):
    def ops(self, *ops, **keys):
        run = self.box.run(batch(list(ops), **keys))
        self.assertEqual(run['state'], 'succeeded', run['ops'])
        return run

    def test_apart(self):
        run = self.ops(bash('echo out; echo err >&2; echo out2'))['run']
        self.assertEqual(self.box.output(run, 1, 'stdout'), b'out\nout2\n')
        self.assertEqual(self.box.output(run, 1, 'stderr'), b'err\n')

    def test_byte_exact(self):
        run = self.ops(bash(EVERY_BYTE), bash(EVERY_BYTE + ' >&2'))
        self.match([{'stdout_bytes': 76800, 'stderr_bytes': 0}, {'stdout_bytes': 0, 'stderr_bytes': 76800}], run['ops'])
        self.assertEqual(self.box.output(run['run'], 1, 'stdout'), ALL * 300)
        self.assertEqual(self.box.output(run['run'], 2, 'stderr'), ALL * 300)

    def test_no_newline_at_the_end_and_nothing_at_all(self):
        run = self.ops(bash('printf x'), bash(':'))['run']
        self.assertEqual(self.box.output(run, 1), b'x')
        self.assertEqual(self.box.output(run, 2), b'')

    def test_order_of_arrival_between_the_streams(self):
        run = self.ops(bash('echo 1; sleep .1; echo 2 >&2; sleep .1; echo 3; sleep .1; echo 4 >&2'))['run']
        r = self.box.call('run.output', run=run, op=1)
        self.assertEqual(r['data'], b'1\n2\n3\n4\n')
        self.assertEqual([(c[1], c[2]) for c in r['chunks']], [(1, 2), (2, 2), (1, 2), (2, 2)])
        times = [c[0] for c in r['chunks']]
        self.assertEqual(times, sorted(times))
        self.assertGreaterEqual(times[-1] - times[0], 250)
        self.assertLess(abs(times[0] - time.time() * 1000), 60000)

    def test_lines_of_a_last_line_without_newline(self):
        run = self.ops(bash('printf "a\\nb\\nc"'))['run']
        self.assertEqual(self.box.call('run.output', run=run, op=1, lines=2)['data'], b'b\nc')

    def test_a_default_page_is_a_mebibyte(self):
        run = self.ops(bash('head -c 3000000 /dev/zero'))['run']
        r = self.box.call('run.output', run=run, op=1)
        self.match({'size': 3000000}, r)
        self.assertEqual(len(r['data']), 1 << 20)
        self.assertEqual(self.box.output(run, 1), bytes(3000000))

    def test_a_running_op_can_be_read(self):
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash('echo first; read x < gate; echo second')]))
        until(lambda: b.call('run.output', run=run, op=1)['data'] == b'first\n', 'the first line')
        self.assertFalse(b.call('run.output', run=run, op=1)['end'])
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        self.match({'data': b'first\nsecond\n', 'end': True}, b.call('run.output', run=run, op=1))

    def test_many_ops_do_not_mix(self):
        run = self.ops(*[bash('for i in {1..50}; do echo %d; done' % i) for i in range(40)])['run']
        for i in range(40):
            self.assertEqual(self.box.output(run, i + 1, 'stdout'), b'%d\n' % i * 50)

    def test_long_output_is_whole_without_a_cap(self):
        run = self.ops(bash('seq 1 3000000'), output_cap=0)
        digest, offset = hashlib.sha256(), 0
        while True:
            r = self.box.call('run.output', run=run['run'], op=1, stream='stdout', offset=offset, limit=3 << 20)
            digest.update(r['data'])
            offset += len(r['data'])
            if not r['data']:
                break
        expected = hashlib.sha256(b''.join(b'%d\n' % i for i in range(1, 3000001)))
        self.match([{'stdout_bytes': offset, 'dropped_bytes': 0}], run['ops'])
        self.assertEqual(digest.hexdigest(), expected.hexdigest())


class Cap(Case):
    """Past the cap the middle is dropped, the place and byte count marked; the op is never blocked or failed for it."""

    def test_head_and_tail_stay(self):
        b = self.box
        run = b.run(batch([bash('seq 1 200000')], output_cap=64 << 10))
        whole = b''.join(b'%d\n' % i for i in range(1, 200001))
        op = run['ops'][0]
        self.match({'state': 'succeeded', 'stdout_bytes': len(whole), 'dropped_bytes': lambda n: n > 0}, op)
        kept, offset, dropped = [], 0, 0
        while offset < len(whole):
            r = b.call('run.output', run=run['run'], op=1, stream='stdout', offset=offset, limit=10000)
            self.assertEqual(r['size'], len(whole))
            # `dropped` bytes lie before, within or after what came; the offset counts them.
            if r['data']:
                head = 0
                while head < len(r['data']) and whole[r['offset'] + head] == r['data'][head]:
                    head += 1
                rest = r['data'][head:]
                self.assertTrue(not rest or whole[r['offset'] + head + r['dropped']:].startswith(rest), 'bytes of their place')
            kept.append(r['data'])
            dropped += r['dropped']
            step = r['offset'] + len(r['data']) + r['dropped']
            self.assertGreater(step, offset)
            offset = step
        data = b''.join(kept)
        self.assertEqual(len(data) + dropped, len(whole))
        self.assertEqual(dropped, op['dropped_bytes'])
        self.assertLessEqual(len(data), (64 << 10) + 16384)
        self.assertGreater(len(data), 16 << 10)
        self.assertTrue(whole.startswith(data[:4096]) and whole.endswith(data[-4096:]))

    def test_a_cap_of_an_op(self):
        run = self.box.run(batch([bash('head -c 300000 /dev/zero', output_cap=40000), bash('head -c 300000 /dev/zero')]))
        self.match([{'dropped_bytes': lambda n: n > 200000}, {'dropped_bytes': 0}], run['ops'])

    def test_the_room_on_disk_is_bounded(self):
        b = self.box
        run = b.run(batch([bash('head -c 40000000 /dev/zero')], output_cap=100000))
        self.match([{'state': 'succeeded', 'stdout_bytes': 40000000}], run['ops'])
        room = sum(os.stat(os.path.join(d, f)).st_blocks * 512 for d, _, names in os.walk(b.state) for f in names
                   if d.endswith('runs'))
        self.assertLess(room, 4 << 20)

    def test_the_last_lines_of_capped_output(self):
        run = self.box.run(batch([bash('seq 1 100000')], output_cap=50000))['run']
        self.assertEqual(self.box.call('run.output', run=run, op=1, lines=2)['data'], b'99999\n100000\n')


class Follow(Case):
    """Followers are pushed to."""

    def events(self, r, run, wanted):
        while True:
            e = r.wait_event(lambda e: e.get('run') == run)
            if wanted(e):
                return e

    def test_all_output_has_come_before_the_end(self):
        b = self.box
        run = b.submit(batch([bash('seq 1 20000')], held=True))
        r = b.connect()
        r.call('run.subscribe', run=run, output='data')
        b.call('run.resume', run=run)
        got = []

        def take(e):
            if e['type'] == 'op.output':
                got.append(e['data'])
            return e['type'] == 'op.state' and e['state'] == 'succeeded'
        self.events(r, run, take)
        self.assertEqual(b''.join(got), b''.join(b'%d\n' % i for i in range(1, 20001)))

    def test_who_is_sent_more_than_it_reads_is_answered_all_the_same(self):
        b = self.box
        run = b.submit(batch([bash('yes', output_cap=0)]))
        r = b.connect()
        r.call('run.subscribe', run=run, output='data')
        self.events(r, run, lambda e: e['type'] == 'op.output')
        r.request('run.cancel', {'run': run, 'now': True}, msgid=0x7a6b5c4d)
        came, last = 0, b''
        while b'\x94\x01\xce\x7a\x6b\x5c\x4d' not in last:   # looked for so, since whoever unpacks is slower than what comes
            self.assertLess(came, 256 << 20, 'events came, and no answer')
            last = last[-8:] + r.sock.recv(1 << 18)
            came += len(last)
        b.wait(run)


if __name__ == '__main__':
    unittest.main()
