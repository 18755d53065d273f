"""
JSON-RPC 2.0 with a program over its stdin and stdout, a line or a Content-Length a message. Everything it prints is held to the rules
of JSON-RPC as it comes: an object a message, one reply a request, a result or an error.
"""
import json
import os
import select
import subprocess
import time

from rpc import PATIENCE


class StdioError(Exception):
    """An error reply."""

    def __init__(self, error):
        super().__init__(repr(error))
        self.code, self.text, self.data = error['code'], error['message'], error.get('data')


class Stdio:
    def __init__(self, argv, env, cwd, lsp=False):
        self.lsp = lsp
        self.p = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, cwd=cwd)
        self.buffer = b''
        self.replies, self.notes, self.arrays, self.last_id = {}, [], [], 0

    def close(self):
        """Ends its stdin and waits for its end; its status and what it said on stderr."""
        if not self.p.stdin.closed:
            self.p.stdin.close()
        errors = self.p.stderr.read()
        status = self.p.wait(timeout=PATIENCE)
        self.p.stdout.close()
        self.p.stderr.close()
        return status, errors.decode()

    def kill(self):
        if self.p.poll() is None:
            self.p.kill()
            self.p.wait()
        for f in (self.p.stdin, self.p.stdout, self.p.stderr):
            f.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    # --- sending

    def send_bytes(self, data):
        self.p.stdin.write(data)
        self.p.stdin.flush()

    def send(self, message):
        text = json.dumps(message).encode()
        self.send_bytes(b'Content-Length: %d\r\n\r\n%s' % (len(text), text) if self.lsp else text + b'\n')

    def request(self, method, params=None, id=None):
        if id is None:
            self.last_id += 1
            id = self.last_id
        self.send(dict({'jsonrpc': '2.0', 'id': id, 'method': method}, **({} if params is None else {'params': params})))
        return id

    def notify(self, method, params=None):
        self.send(dict({'jsonrpc': '2.0', 'method': method}, **({} if params is None else {'params': params})))

    # --- receiving

    def cut(self):
        """The next whole message among the bytes that came, or None."""
        if not self.lsp:
            line, newline, rest = self.buffer.partition(b'\n')
            if not newline:
                return None
            self.buffer = rest
            return line
        head, end, rest = self.buffer.partition(b'\r\n\r\n')
        if not end:
            return None
        length = int(head.split(b':')[1])
        if len(rest) < length:
            return None
        self.buffer = rest[length:]
        return rest[:length]

    def receive(self, deadline):
        while True:
            text = self.cut()
            if text is not None:
                return self.file(json.loads(text.decode('utf-8')))
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.p.stdout], [], [], left)[0]:
                raise TimeoutError('nothing came in time')
            data = os.read(self.p.stdout.fileno(), 1 << 16)
            if not data:
                raise EOFError('it ended: %r' % self.p.stderr.read())
            self.buffer += data

    def file(self, m):
        if isinstance(m, list):
            self.arrays.append(m)
            return m
        assert m['jsonrpc'] == '2.0', m
        if 'method' in m:
            assert 'id' not in m, 'it asked something: %r' % m
            self.notes.append(m)
        else:
            assert ('result' in m) != ('error' in m), m
            key = json.dumps(m['id'])
            assert key not in self.replies or m['id'] is None, 'two replies to %r' % m['id']
            self.replies.setdefault(key, []).append(m)
        return m

    def reply(self, id, timeout=PATIENCE):
        key, deadline = json.dumps(id), time.monotonic() + timeout
        while not self.replies.get(key):
            self.receive(deadline)
        m = self.replies[key].pop(0)
        if not self.replies[key]:
            del self.replies[key]
        if 'error' in m:
            raise StdioError(m['error'])
        return m['result']

    def call(self, method, params=None, timeout=PATIENCE):
        return self.reply(self.request(method, params), timeout)

    def array(self, timeout=PATIENCE):
        deadline = time.monotonic() + timeout
        while not self.arrays:
            self.receive(deadline)
        return self.arrays.pop(0)

    def note(self, wanted=lambda method, params: True, timeout=PATIENCE):
        """The next notification that `wanted` likes, as (method, params); those before it are dropped."""
        deadline = time.monotonic() + timeout
        while True:
            while self.notes:
                m = self.notes.pop(0)
                if wanted(m['method'], m.get('params')):
                    return m['method'], m.get('params')
            self.receive(deadline)
