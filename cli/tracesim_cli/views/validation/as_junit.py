"""Problems of traces as JUnit XML, which CI servers show as test results: each file is a test case."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from tracesim.errors import TraceProblem
from tracesim.trace.problems import NO_RECORDS
from tracesim_cli.terminal.safe_text import visible
from tracesim_cli.terminal.text import counted
from tracesim_cli.views.problem_text import format_problem
from tracesim_cli.views.validation.places import workspace_path
from tracesim_cli.views.validation.report import FileCounts, ValidationReport


def format_report(report: ValidationReport) -> Iterator[str]:
    """Yield the lines of one XML document, in ASCII. `visible` leaves no character that XML does not have."""
    shown: dict[str, list[TraceProblem]] = {name: [] for name in report.files}
    for problem in report.problems.in_order():
        shown[problem.file].append(problem)
    omitted: dict[str, dict[str, int]] = {name: {} for name in report.files}
    for (file, code), count in report.problems.omitted_by_file.items():
        omitted[file][code] = count
    root = Element("testsuites", name="tracesim validate")
    for name, counts in report.files.items():
        properties = {"format": report.formats.get(name, "unknown"), "records": str(counts.records)}
        root.append(_suite(workspace_path(name), properties, counts, shown[name], omitted[name]))
    for total in ("tests", "failures", "errors"):
        root.set(total, str(sum(int(suite.get(total, 0)) for suite in root)))
    indent(root)
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield tostring(root, encoding="us-ascii", xml_declaration=False).decode()


def _suite(
    path: str,
    properties: Mapping[str, str],
    counts: FileCounts,
    shown: Sequence[TraceProblem],
    omitted: Mapping[str, int],
) -> Element:
    """Return the suite of a file with its one test case, which fails if the file has an error."""
    codes = {problem.code for problem in shown} | {*omitted}
    outcome = "error" if codes & NO_RECORDS else "failure" if counts.errors else "system-out"
    suite = Element(
        "testsuite",
        name=visible(path),
        tests="1",
        failures=str(int(outcome == "failure")),
        errors=str(int(outcome == "error")),
        skipped="0",
    )
    parent = SubElement(suite, "properties")
    for name, value in properties.items():
        SubElement(parent, "property", name=name, value=value)
    case = SubElement(
        suite, "testcase", classname="tracesim.validate", name=visible(path), file=visible(path), time="0"
    )
    lines = [format_problem(problem) for problem in shown]
    lines += [
        f"... and {count:,} more [{code}] (--max-problems 0 shows them)" for code, count in omitted.items()
    ]
    if lines:
        element = SubElement(case, outcome)
        element.text = "\n".join(lines)
        if outcome != "system-out":
            element.set(
                "message", f"{counted(counts.errors, 'error')}, {counted(counts.warnings, 'warning')}"
            )
            element.set("type", ", ".join(sorted(codes)))
    return suite
