"""Figures by name: each is read alike from a run and from its JSON report, and a requirement is a limit."""

from __future__ import annotations

import json
from typing import Any

import pytest

from factories import a_record, an_engine
from tracesim import ConfigError, LLMEngine, Slo, measure_run
from tracesim.analysis.figure_text import signed_percent
from tracesim.analysis.figures import FIGURES, figure_named, parse_requirement
from tracesim.analysis.report import RunReport, report_requests, report_to_json, summarize
from tracesim.timing.clock import parse_clock

RUNS: dict[str, dict[str, Any]] = {
    "steps": {},
    "clock": {"clock": parse_clock("linear:base=5ms,decode=1ms")},
    "a small cache": {"engine": "vllm-v1", "num_gpu_blocks": 3, "enable_prefix_caching": True},
}


def a_report(engine: LLMEngine) -> RunReport:
    engine.run()
    slo = Slo(ttft=0.1, tpot=0.01, e2e=1.0)
    return RunReport({}, summarize(engine), report_requests(engine), measure_run(engine, slo))


@pytest.mark.parametrize("name", RUNS)
def test_a_figure_is_equal_in_a_run_and_in_its_json_report(name: str) -> None:
    records = [a_record(f"r{n}", prompt_token_ids=[n] * 20, response_token_ids=[1, 2, 3]) for n in range(4)]
    report = a_report(an_engine(records, **RUNS[name]))
    document = json.loads(report_to_json(report))

    for figure in FIGURES.values():
        assert figure.value(report) == figure.value(document), figure.name


def test_a_figure_has_no_value_without_the_setting_that_it_needs() -> None:
    """Every figure that needs none has one; of a run whose requests finished, all have one under a clock."""
    records = [a_record(f"r{n}") for n in range(4)]
    report = a_report(an_engine(records))
    timed = a_report(an_engine(records, clock=parse_clock("constant:20ms")))

    assert {each.name for each in FIGURES.values() if each.value(report) is None} == {
        each.name for each in FIGURES.values() if each.needs
    }
    assert {each.needs for each in FIGURES.values() if each.value(timed) is None} == {
        "num_gpu_blocks",
        "enable_prefix_caching",
        "async_scheduling",
    }


def test_figures_have_the_values_of_the_report() -> None:
    """The document has the members by which figures are called; a reason that ended no request counts 0."""
    report = a_report(an_engine([a_record("a"), a_record("b")], clock=parse_clock("constant:20ms")))
    document = json.loads(report_to_json(report))
    values = {
        name: FIGURES[name].value(document)
        for name in ("ttft.p99", "finished.stop", "finished.abort", "overloaded", "slo_missed.tpot", "steps")
    }

    assert values == {
        "ttft.p99": document["metrics"]["ttft"]["p99"],
        "finished.stop": 2,
        "finished.abort": 0,
        "overloaded": 0,
        "slo_missed.tpot": document["metrics"]["slo_missed"]["tpot"],
        "steps": document["summary"]["steps"],
    }


def test_the_share_of_a_cause_is_that_of_the_queue_time() -> None:
    document = {"summary": {"queue_time_by_cause": {"kv_blocks": 3.0, "token_budget": 1.0}}}
    values = [FIGURES[f"queue_time_share.{cause}"].value(document) for cause in ("kv_blocks", "watermark")]

    assert values == [0.75, 0]


@pytest.mark.parametrize(
    ("text", "name", "limit", "met", "missed"),
    [
        ("ttft.p99<=500ms", "ttft.p99", 0.5, 0.5, 0.5001),
        ("ttft.p99 < 0.5", "ttft.p99", 0.5, 0.4999, 0.5),
        ("slo_attainment >= 99.9%", "slo_attainment", 0.999, 999 / 1000, 998 / 1000),
        ("slo_attainment>0.99", "slo_attainment", 0.99, 0.991, 0.99),
        ("goodput>=12 requests/s", "goodput", 12, 12, 11.9),
        (" steps == 1e2 ", "steps", 100, 100, 101),
        ("overloaded==no", "overloaded", 0, 0, 1),
    ],
)
def test_a_requirement_is_a_limit_in_the_unit_of_its_figure(
    text: str, name: str, limit: float, met: float, missed: float
) -> None:
    requirement = parse_requirement(text)

    assert (requirement.figure.name, requirement.limit) == (name, limit)
    assert [requirement.is_met_by(value) for value in (met, missed, None)] == [True, False, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ttft.p99=500ms", "one of <=, <, >=, >, =="),
        ("ttft.p99<=", "must be a figure, one of"),
        ("ttft.p99<=5kg", "must be a duration, such as 20ms"),
        ("slo_attainment>=99", "must be a fraction from 0 to 1, such as 0.99 or 99%"),
        ("steps<=5%", "must be a number of steps"),
        ("steps<=-5", "must be a number of steps"),
        ("overloaded==0.5", "must be yes or no"),
        ("goodputt>=1", "did you mean goodput?"),
        ("ttft<=500ms", "did you mean ttft.mean or ttft.p50 or ttft.p90 or ttft.p95 or ttft.p99?"),
        ("x<=1", "The figures are {ttft,tpot,itl,e2e,queue_time}.{mean,p50,p90,p95,p99}, request_"),
    ],
)
def test_a_wrong_requirement_says_what_is_accepted(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_requirement(text)

    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("relative", "shown"),
    [
        (None, ""),
        (0, ""),
        (-1.0, "-100.0%"),
        (9.999, "+999.9%"),
        (99.9, "+9,990%"),
        (1e6, ">9,999%"),
        (-0.0004, "-0.04%"),
        (-0.00004, "<0.01%"),
    ],
)
def test_a_change_in_percent_has_at_most_seven_characters(relative: float | None, shown: str) -> None:
    assert signed_percent(relative) == shown


def test_an_unknown_figure_is_an_error_of_the_setting_that_names_it() -> None:
    with pytest.raises(ConfigError) as raised:
        figure_named("goodputt", "objective")

    assert raised.value.setting == "objective"
