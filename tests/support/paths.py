"""Where the tests find the samples and the golden files."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
SAMPLES = ROOT / "sample_traces"
FORMATS = SAMPLES / "formats"
MILESTONE = SAMPLES / "milestone.jsonl"
