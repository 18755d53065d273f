#!/usr/bin/python3
"""
A subscriber of a chaos run, a process of its own so that it can be stopped: chaos_watch.py SOCKET LOG run|todo OUTPUT

Subscribes again whenever it is cut off. LOG gets a line of JSON for everything that it is told, and one ["bad", ...] where the chain of
revisions is broken; the checker holds the rest against what became of the runs.
"""
import json
import sys
import time
import zlib

from rpc import Closed, Rpc, RpcError

ENDED = ('succeeded', 'failed', 'cancelled', 'interrupted', 'skipped')


class Watch:
    def __init__(self, socket, log, what, output):
        self.socket, self.log, self.what, self.output = socket, open(log, 'a'), what, output
        self.known, self.grown = {}, {}

    def say(self, *words):
        self.log.write(json.dumps(words) + '\n')
        self.log.flush()

    def session(self):
        with Rpc(self.socket) as r:
            params = {'output': self.output} if self.what == 'run' and self.output else {}
            snapshot = r.call(self.what + '.subscribe', params)
            self.known, self.grown, self.whole = {}, {}, True
            self.say('begin', snapshot['rev'])
            last = snapshot['rev']
            while True:
                event = r.wait_event(timeout=3600)
                if event['prev'] != last or event['rev'] < last:
                    self.say('bad', 'a broken chain: after rev %d came %r' % (last, {k: v for k, v in event.items() if k != 'data'}))
                last = event['rev']
                self.take(event)

    def take(self, e):
        if e['type'] == 'resync':
            self.known, self.grown, self.whole = {}, {}, False
            self.say('resync')
        elif e['type'] == 'todo.changed':
            self.say('todo', e['list'], e['todo_rev'], sorted((t['id'], t['status']) for t in e['after']))
        elif e['type'] == 'op.output':
            self.printed(e)
        else:
            self.changed(e)

    def printed(self, e):
        where = (e['run'], e['op'], e['attempt'], e['stream'])
        if e['offset'] < self.grown.get(where, 0):
            self.say('bad', 'output of %r told twice: at %d, after %d' % (where, e['offset'], self.grown[where]))
        self.grown[where] = e['size']
        if 'data' in e:
            self.grown[where] = e['offset'] + len(e['data'])
            self.say('out', *where, e['offset'], len(e['data']), zlib.crc32(e['data']))

    def changed(self, e):
        """A state; nothing comes after an end, and with "data" no end before all that was printed."""
        about = (e['run'], e.get('op'))
        if self.known.get(about) in ENDED:
            self.say('bad', 'run %d op %s: %s after %s' % (*about, e['state'], self.known[about]))
        self.known[about] = e['state']
        if about[1] is None:
            self.say('run', e['run'], e['state'])
            return
        self.say('op', *about, e['state'], e['cause'], e['exit'], e['attempts'])
        if e['state'] in ENDED and self.output == 'data' and self.whole and e['attempts'] and e['cause'] != 'reused':
            for stream in ('stdout', 'stderr'):
                got = self.grown.get((*about, e['attempts'], stream), 0)
                if got < e[stream + '_bytes'] and not e['dropped_bytes'] and self.known.get((e['run'], None)):
                    self.say('short', *about, stream, got, e[stream + '_bytes'])

    def main(self):
        while True:
            try:
                self.session()
            except (OSError, Closed):
                self.say('cut')
                time.sleep(0.05)
            except RpcError as e:
                self.say('refused', e.text)
                time.sleep(0.2)


if __name__ == '__main__':
    socket, log, what, output = sys.argv[1:]
    Watch(socket, log, what, {'no': False}.get(output, output)).main()
