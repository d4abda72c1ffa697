#!/usr/bin/python3
"""What tools/count_tests.py makes of build directories with one kind of trouble each."""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

COUNT = Path(__file__).resolve().parents[2] / 'tools' / 'count_tests.py'

FINISHED = """<testsuites><testsuite name="Sum">
  <testcase name="Adds" classname="Sum" status="run" result="completed"/>
  <testcase name="Needs" classname="Sum" status="run" result="skipped"><skipped message="sum_test.cc:7&#x0A;no network here"/></testcase>
  <testcase name="Off" classname="Sum" status="notrun" result="suppressed"/>
  %s
</testsuite></testsuites>"""
FAILED = '<testcase name="Breaks" classname="Sum" status="run" result="completed"><failure message="1 is not 2"/></testcase>'
DIED = """[ RUN      ] Sum.Adds
[       OK ] Sum.Adds (0 ms)
[ RUN      ] Sum.Needs
sum_test.cc:7: Skipped
no network here

[  SKIPPED ] Sum.Needs (0 ms)
[ RUN      ] Sum.Dies
about to die
"""


class CountTests(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.build = Path(folder.name)
        (self.build / 'meson-info').mkdir()
        (self.build / 'meson-logs').mkdir()
        self.tests = []
        self.log = []

    def ran(self, name, protocol='gtest', result='OK', returncode=0, stdout='', xml=None, pretty=None):
        self.tests.append({'name': name, 'protocol': protocol, 'workdir': None})
        self.log.append({'name': pretty or f'gossamer:suite / {name}', 'result': result, 'returncode': returncode,
                         'duration': 30.0, 'stdout': stdout})
        if xml is not None:
            (self.build / f'{name}.xml').write_text(xml)

    def count(self, *arguments):
        (self.build / 'meson-info' / 'intro-tests.json').write_text(json.dumps(self.tests))
        (self.build / 'meson-logs' / 'testlog.json').write_text('\n'.join(json.dumps(entry) for entry in self.log))
        ended = subprocess.run([sys.executable, COUNT, self.build, *arguments], capture_output=True, text=True)
        self.assertEqual(ended.stderr, '')
        lines = ended.stdout.splitlines()
        self.assertEqual(ended.returncode, 0 if ', 0 failed,' in lines[-1] else 1)
        return lines[-1], ended.stdout

    def test_cases_are_counted_one_by_one_and_skips_named(self):
        self.ran('sum', xml=FINISHED % '')
        self.ran('script', protocol='exitcode', pretty='script')
        last, text = self.count()
        self.assertEqual(last, '2 passed, 0 failed, 1 skipped')
        self.assertIn('sum: Sum.Needs: no network here', text)

    def test_a_failed_case_counts_once(self):
        self.ran('sum', result='FAIL', returncode=1, xml=FINISHED % FAILED)
        last, text = self.count('--status', '1')
        self.assertEqual(last, '1 passed, 1 failed, 1 skipped')
        self.assertIn('1 is not 2', text)

    def test_a_crash_counts_on_top_of_what_was_got_through(self):
        self.ran('sum', result='FAIL', returncode=-11, stdout=DIED)
        last, text = self.count('--status', '1')
        self.assertEqual(last, '1 passed, 1 failed, 1 skipped')
        self.assertIn('sum in Sum.Dies', text)
        self.assertIn('died of signal 11', text)
        self.assertIn('Sum.Needs: no network here', text)

    def test_a_timeout_is_a_failure(self):
        self.ran('sum', result='TIMEOUT', returncode=-15, stdout=DIED)
        last, text = self.count('--status', '1')
        self.assertEqual(last, '1 passed, 1 failed, 1 skipped')
        self.assertIn('ran out of time', text)

    def test_a_bad_end_after_good_cases_is_a_failure(self):
        self.ran('sum', result='FAIL', returncode=23, stdout='leaks', xml=FINISHED % '')
        self.assertEqual(self.count('--status', '1')[0], '1 passed, 1 failed, 1 skipped')

    def test_a_binary_without_results_is_a_failure(self):
        self.ran('sum')
        self.assertEqual(self.count()[0], '0 passed, 1 failed, 0 skipped')

    def test_a_binary_without_cases_is_a_failure_unless_filtered(self):
        self.ran('sum', xml='<testsuites/>')
        self.ran('other', xml=FINISHED % '')
        self.assertEqual(self.count()[0], '1 passed, 1 failed, 1 skipped')
        self.assertEqual(self.count('--filtered')[0], '1 passed, 0 failed, 1 skipped')

    def test_nothing_run_is_a_failure(self):
        self.assertEqual(self.count()[0], '0 passed, 1 failed, 0 skipped')

    def test_meson_failing_alone_is_a_failure(self):
        self.ran('sum', xml=FINISHED % '')
        self.assertEqual(self.count('--status', '2')[0], '1 passed, 1 failed, 1 skipped')

    def test_a_test_asked_for_by_name_must_have_run(self):
        self.ran('sum', xml=FINISHED % '')
        self.assertEqual(self.count('--named', 'sum')[0], '1 passed, 0 failed, 1 skipped')
        self.assertEqual(self.count('--named', 'smu')[0], '1 passed, 1 failed, 1 skipped')

    def test_two_tests_of_one_name_are_refused(self):
        self.ran('sum', xml=FINISHED % '')
        self.ran('sum', xml=FINISHED % '')
        self.assertIn(' 1 failed,', self.count()[0])

    def test_a_report_of_a_sanitizer_is_a_failure_though_all_tests_passed(self):
        self.ran('sum', xml=FINISHED % '')
        reports = self.build / 'reports'
        reports.mkdir()
        self.assertEqual(self.count('--reports', reports)[0], '1 passed, 0 failed, 1 skipped')
        (reports / 'report.7').write_text('WARNING: ThreadSanitizer: data race\n' + '  #0\n' * 100)
        (reports / 'report.8').write_text('')
        last, output = self.count('--reports', reports)
        self.assertEqual(last, '1 passed, 1 failed, 1 skipped')
        self.assertIn('report.7', output)
        self.assertIn('data race', output)

    def test_a_script_may_skip_and_fail(self):
        self.ran('skips', protocol='exitcode', result='SKIP', returncode=77, stdout='no root here\n')
        self.ran('fails', protocol='exitcode', result='FAIL', returncode=3, stdout='why\n')
        last, text = self.count('--status', '1')
        self.assertEqual(last, '0 passed, 1 failed, 1 skipped')
        self.assertIn('skips: no root here', text)


if __name__ == '__main__':
    unittest.main()
