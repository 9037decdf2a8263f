"""Draw docs/charts.png, the picture of a page of charts on the front pages, from a run of a sample trace.

python tools/make_charts_picture.py needs the browser Chromium.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
TARGET: Final = ROOT / "docs" / "charts.png"
RUN: Final = (
    *("sample_traces/rush_hour.csv", "--engine", "vllm-v1", "--num-gpu-blocks", "4000"),
    *("--clock", "linear:base=6ms,prefill=60us,decode=150us,context=8ns"),
    *("--slo", "ttft=1s,tpot=50ms", "--format", "summary", "--save-html"),
)
SECONDS: Final = (44, 76)
SIZE: Final = (1200, 975)
SHOWN: Final = """
<style>
  header, .run, .facts, .hint, section > h2, .search, figure + figure, section ~ section { display: none; }
  .cards { margin-top: 0; }
</style>
"""


def main() -> None:
    """Write the picture: the cards, and the timeline of the requests in the rush hour."""
    with TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        command = [sys.executable, "-m", "tracesim", "replay", *RUN, str(page)]
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        html = page.read_text(encoding="utf-8").replace("Content-Security-Policy", "no-policy", 1)
        zoom = f"<script>tracesim.zoomTime({list(SECONDS)});</script>"
        page.write_text(html.replace("</body>", f"{SHOWN}{zoom}</body>"), encoding="utf-8")
        chromium = [
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *("--virtual-time-budget=20000", f"--user-data-dir={folder}/profile"),
            f"--window-size={SIZE[0]},{SIZE[1]}",
            f"--screenshot={TARGET}",
            page.as_uri(),
        ]
        subprocess.run(chromium, check=True, stderr=subprocess.DEVNULL)
    print(TARGET.relative_to(ROOT))


if __name__ == "__main__":
    main()
