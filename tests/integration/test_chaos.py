"""A few seconds of chaos.py: that it runs, and that nothing breaks in them. Minutes and hours are for a person to give."""
import os
import subprocess
import sys
import tempfile
import unittest

from harness import SLOW

HERE = os.path.dirname(os.path.abspath(__file__))
SECONDS = 5


class Chaos(unittest.TestCase):
    def test_some_seconds_of_it(self):
        with tempfile.NamedTemporaryFile('r') as report:
            p = subprocess.run([sys.executable, os.path.join(HERE, 'chaos.py'), '--seconds', str(SECONDS), '--seed', '1', '--report', report.name],
                               capture_output=True, timeout=50 * SLOW)
            self.assertEqual(p.returncode, 0, report.read() + p.stderr.decode()[-4000:])


if __name__ == '__main__':
    unittest.main()
