"""
MessagePack-RPC over a Unix socket, as any program may speak it. Everything the daemon sends is held to the rules of the wire as it
comes: the shape of replies and errors, one reply a request, no duplicate keys, no request from the server.
"""
import os
import socket
import time

import msgpack

PATIENCE = 20 * float(os.environ.get('BATCHD_TEST_SLOW', '1'))


class RpcError(Exception):
    """An error reply: symbol (`E_PARAMS`), caller (its fault or ours) and the text."""

    def __init__(self, error):
        super().__init__(repr(error))
        self.raw = error
        self.caller = bool(error[0]) if isinstance(error, list) and error else None
        self.text = error[1] if isinstance(error, list) and len(error) == 2 else ''
        self.symbol = self.text.split(':', 1)[0] if isinstance(self.text, str) else None


class Closed(Exception):
    """The daemon closed the connection."""


def pairs_without_duplicates(pairs):
    d = dict(pairs)
    assert len(d) == len(pairs), 'the daemon sent a map with duplicate keys: %r' % (pairs,)
    return d


class Rpc:
    """MessagePack-RPC over the socket. Everything the daemon sends is held to the rules of the wire as it comes."""

    def __init__(self, path, timeout=PATIENCE):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        self.sock.connect(path)
        self.unpacker = msgpack.Unpacker(raw=False, unicode_errors='strict', max_buffer_size=64 << 20,
                                         object_pairs_hook=pairs_without_duplicates)
        self.replies = {}
        self.order = []      # msgids in the order their replies came
        self.pushes = []     # [method, params] that came and were not taken yet
        self.last_id = 0

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # --- sending

    def send_bytes(self, data):
        self.sock.sendall(data)

    def send(self, *messages):
        self.send_bytes(b''.join(msgpack.packb(m, use_bin_type=True) for m in messages))

    def request(self, method, params=None, msgid=None):
        """Sends a request and returns its msgid; `reply` has the answer."""
        if msgid is None:
            self.last_id += 1
            msgid = self.last_id
        self.send([0, msgid, method, [] if params is None else [params]])
        return msgid

    def notify(self, method, params=None):
        self.send([2, method, [] if params is None else [params]])

    # --- receiving

    def receive(self, deadline):
        """Takes one message in; raises Closed, or TimeoutError past the deadline."""
        while True:
            for m in self.unpacker:
                return self.file(m)
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError('nothing came from batchd in time')
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(1 << 16)
            except ConnectionResetError:
                data = b''
            if not data:
                raise Closed()
            self.unpacker.feed(data)

    def file(self, m):
        assert isinstance(m, list) and m, 'not an array: %r' % (m,)
        if m[0] == 1:
            assert len(m) == 4, 'a reply has 4 elements: %r' % (m,)
            assert m[1] not in self.replies, 'two replies to msgid %r' % m[1]
            if m[2] is not None:
                assert isinstance(m[2], list) and len(m[2]) == 2 and m[2][0] in (0, 1) and m[2][1].startswith('E_'), \
                    'an error is [0|1, "E_SYMBOL: text"]: %r' % (m[2],)
                assert m[3] is None, 'an error has no result: %r' % (m,)
            self.replies[m[1]] = m
            self.order.append(m[1])
        else:
            assert m[0] == 2 and len(m) == 3, 'the server sends replies and notifications only: %r' % (m,)
            assert isinstance(m[2], list), 'params of a notification are an array: %r' % (m,)
            self.pushes.append(m[1:])
        return m

    def reply(self, msgid, timeout=PATIENCE):
        deadline = time.monotonic() + timeout
        while msgid not in self.replies:
            self.receive(deadline)
        _, _, error, result = self.replies.pop(msgid)
        if error is not None:
            raise RpcError(error)
        return result

    def call(self, method, params=None, timeout=PATIENCE, **keys):
        if keys:
            params = dict(params or {}, **keys)
        return self.reply(self.request(method, params), timeout)

    def wait_push(self, wanted=lambda method, params: True, timeout=PATIENCE):
        """The next notification that `wanted` likes; those before it are dropped."""
        deadline = time.monotonic() + timeout
        while True:
            while self.pushes:
                method, params = self.pushes.pop(0)
                if wanted(method, params):
                    return method, params
            self.receive(deadline)

    def wait_event(self, wanted=lambda e: True, timeout=PATIENCE):
        """The next event of a subscription with the default push."""
        return self.wait_push(lambda m, p: m == 'batchd.event' and wanted(p[-1]), timeout)[1][-1]

    def expect_close(self, timeout=PATIENCE):
        deadline = time.monotonic() + timeout
        try:
            while True:
                self.receive(deadline)
        except Closed:
            return
