"""Many replays of one trace: sweeps over settings, and searches for a capacity.

trace = share_trace(read_records(["trace.jsonl"]))
points = make_points(grid({"max_num_seqs": [64, 256], "rate": [2, 4]}), profiles=["h100/llama-3.1-8b"])
results = run_sweep(trace, points, slo=parse_slo("ttft=500ms"))
pandas.DataFrame([result.row() for result in results])
"""

from tracesim.sweep.figures import parse_objective as parse_objective
from tracesim.sweep.points import Point as Point
from tracesim.sweep.points import grid as grid
from tracesim.sweep.points import make_points as make_points
from tracesim.sweep.points import sample as sample
from tracesim.sweep.ranking import rank as rank
from tracesim.sweep.replay_point import Outcome as Outcome
from tracesim.sweep.replay_point import Replay as Replay
from tracesim.sweep.results_file import Result as Result
from tracesim.sweep.run import Found as Found
from tracesim.sweep.run import Progress as Progress
from tracesim.sweep.run import find_max_rate as find_max_rate
from tracesim.sweep.run import find_min_replicas as find_min_replicas
from tracesim.sweep.run import open_workers as open_workers
from tracesim.sweep.run import run_sweep as run_sweep
from tracesim.sweep.shared_trace import SharedTrace as SharedTrace
from tracesim.sweep.shared_trace import share_trace as share_trace
