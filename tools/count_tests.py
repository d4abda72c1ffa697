#!/usr/bin/python3
"""Counts what `meson test` just ran in a build directory, case by case.

    count_tests.py BUILD_DIR [--status N] [--filtered] [--reports FOLDER] [--named TEST]...

A GoogleTest binary counts once per case, any other test once.  A binary that crashed, ran out of time, left no
results or failed without saying in which case counts as one failure more, on top of the cases it got through.
So does each process that left a sanitizer's report in FOLDER: a test that kills its children, or expects them to
fail, would not notice.
Prints skips with their reasons, failures with the end of their output, and as the last line
`N passed, N failed, N skipped`.  Exits with 1 where anything failed.
"""

import argparse
import json
import re
import sys
import traceback
import xml.etree.ElementTree as ElementTree
from pathlib import Path

TAIL_LINES = 40


class Count:
    def __init__(self):
        self.passed = 0
        self.failed = []  # (name, text)
        self.skipped = []  # (name, reason)

    def fail(self, name, text):
        self.failed.append((name, text.strip('\n')))

    def show(self):
        if self.skipped:
            print('\nskipped:')
            for name, reason in self.skipped:
                print(f'  {name}: {reason}')
        if self.failed:
            print('\nfailed:')
            for name, text in self.failed:
                print(f'  {name}')
                for line in text.splitlines()[-TAIL_LINES:]:
                    print(f'    | {line}')
        if self.skipped or self.failed:
            print()
        print(f'{self.passed} passed, {len(self.failed)} failed, {len(self.skipped)} skipped', flush=True)
        return 1 if self.failed else 0


def one_line(text):
    """GoogleTest writes `file:line\\nreason`, where the reason may be empty."""
    lines = [line.strip() for line in (text or '').splitlines() if line.strip()]
    if lines and re.search(r':\d+(: Skipped)?$', lines[0]):
        where = lines.pop(0)
        return ' '.join(lines) or f'no reason given, see {where}'
    return ' '.join(lines) or 'no reason given'


def case_output(stdout, case):
    """What the binary printed while it ran this case."""
    start = stdout.find(f'[ RUN      ] {case}\n')
    if start < 0:
        return ''
    end = re.compile(r'^\[  (?:FAILED |     OK |SKIPPED )\] ' + re.escape(case) + r'(?![\w/]).*$', re.M).search(stdout, start)
    return stdout[start:end.end() if end else len(stdout)]


def count_results(count, test, root, stdout):
    """From the XML file that a GoogleTest binary leaves when it gets to its end.  Returns (cases, failures)."""
    cases = failures = 0
    for suite in root.iter('testsuite'):
        for case in suite.iter('testcase'):
            if case.get('status') == 'notrun':
                continue
            cases += 1
            full = f"{case.get('classname')}.{case.get('name')}"
            name = f'{test}: {full}'
            messages = [failure.get('message') or failure.text or '' for failure in case.iter('failure')]
            if messages:
                failures += 1
                count.fail(name, case_output(stdout, full) or '\n'.join(messages))
            elif case.get('result') == 'skipped':
                skip = case.find('skipped')
                count.skipped.append((name, one_line(skip.get('message') if skip is not None else '')))
            else:
                count.passed += 1
    return cases, failures


def count_lines(count, test, stdout):
    """From the output of a binary that did not get to its end.  Returns the case that it died in, or None."""
    running = None
    for line in stdout.splitlines():
        match = re.match(r'^\[ RUN      \] (\S+)', line)
        if match:
            running = match.group(1)
            continue
        match = re.match(r'^\[  (     OK|FAILED |SKIPPED) \] (\S+?),? ', line + ' ')
        if match and match.group(2) == running:
            name = f'{test}: {running}'
            if match.group(1).strip() == 'OK':
                count.passed += 1
            elif match.group(1) == 'SKIPPED':
                count.skipped.append((name, one_line(case_output(stdout, running).partition('\n')[2].partition('\n[')[0])))
            else:
                count.fail(name, case_output(stdout, running))
            running = None
    return running


def test_name(entry):
    """Meson logs `project:suite / name`, or the name alone."""
    return entry['name'].split(' / ')[-1]


def how_it_ended(entry):
    if entry['result'] == 'TIMEOUT':
        return f"ran out of time after {entry['duration']:.0f} s"
    status = entry['returncode']
    return f'died of signal {-status}' if status < 0 else f'exit status {status}'


def count_gtest(count, name, entry, results, filtered):
    stdout = entry.get('stdout') or ''
    output = stdout + (entry.get('stderr') or '')
    try:
        root = ElementTree.parse(results).getroot()
    except (FileNotFoundError, ElementTree.ParseError):
        died_in = count_lines(count, name, stdout)
        where = f' in {died_in}' if died_in else ''
        count.fail(f'{name}{where}', output + f'\n{how_it_ended(entry)}, and left no results')
        return
    cases, failures = count_results(count, name, root, stdout)
    if entry['result'] != 'OK' and failures == 0:
        count.fail(name, output + f'\n{how_it_ended(entry)}, though no case failed')
    elif cases == 0 and not filtered:
        count.fail(name, 'the binary ran no case at all')


def count_other(count, name, entry):
    output = (entry.get('stdout') or '') + (entry.get('stderr') or '')
    if entry['result'] in ('OK', 'EXPECTEDFAIL'):
        count.passed += 1
    elif entry['result'] == 'SKIP':
        lines = output.strip().splitlines()
        count.skipped.append((name, lines[-1] if lines else 'no reason given'))
    else:
        count.fail(name, output + f"\n{entry['result']}: {how_it_ended(entry)}")


def count_reports(count, folder):
    for report in sorted(folder.glob('*')):
        lines = report.read_text(errors='replace').splitlines()
        if lines:
            count.fail(f'sanitizer: {report}', '\n'.join(lines[:TAIL_LINES]))


def count_build(build, status, filtered, named=(), reports=None):
    count = Count()
    known = {}
    for test in json.loads((build / 'meson-info' / 'intro-tests.json').read_text()):
        name = test['name']
        if name in known and 'gtest' in (test['protocol'], known[name]['protocol']):
            count.fail(name, 'two tests have this name, so that one would overwrite the results of the other')
        known[name] = test
    log = build / 'meson-logs' / 'testlog.json'
    entries = [json.loads(line) for line in log.read_text().splitlines() if line] if log.exists() else []
    for entry in entries:
        name = test_name(entry)
        test = known[name]
        if test['protocol'] == 'gtest':
            results = Path(test['workdir'] or build) / f'{name}.xml'
            count_gtest(count, name, entry, results, filtered)
        else:
            count_other(count, name, entry)
    ran = {test_name(entry) for entry in entries}
    for name in named:
        if name not in ran:
            count.fail(name, 'this test was asked for by name and did not run: no such test, or not in the suites chosen')
    if not count.failed:
        if not entries:
            count.fail('meson test', f'ran nothing (status {status})')
        elif status != 0:
            count.fail('meson test', f'ended with status {status}, though no test failed')
        elif count.passed + len(count.skipped) == 0:
            count.fail('meson test', 'no case fits the filter')
    if reports:
        count_reports(count, reports)
    return count


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('build', type=Path)
    parser.add_argument('--status', type=int, default=0, help='exit status of meson test')
    parser.add_argument('--filtered', action='store_true', help='a binary may have run no case')
    parser.add_argument('--reports', type=Path, help='where sanitizers left what they found')
    parser.add_argument('--named', action='append', default=[], help='a test that must have run')
    options = parser.parse_args()
    try:
        count = count_build(options.build, options.status, options.filtered, options.named, options.reports)
    except Exception:  # the last line is owed whatever was found
        count = Count()
        count.fail('counting the results', traceback.format_exc())
    return count.show()


if __name__ == '__main__':
    sys.exit(main())
