"use strict";
// The charts of a page: colours for the reader's theme, zoom that all charts over time share, and keys.
const tracesim = (() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const root = document.documentElement;
  const probe = document.body.appendChild(document.createElement("span"));
  probe.hidden = true;

  // A custom property is resolved, for the theme in use, only as the colour of an element.
  const colour = (role, alpha = 1) => {
    probe.style.color = `var(--${role === "KV cache" ? "kv" : role.replaceAll("_", "-")})`;
    const parts = getComputedStyle(probe).color.match(/[\d.]+/g).slice(0, 3);
    return `rgba(${parts.join(", ")}, ${alpha})`;
  };
  const place = (chart) => document.getElementById(`chart-${chart.key}`);
  const chosen = (chart) => {
    const button = document.querySelector(`input[name="${chart.key}-choice"]:checked`);
    return button ? chart.figures[button.value] : Object.values(chart.figures)[0];
  };
  const isDark = () =>
    root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;

  const drawnTrace = (trace) => {
    const role = trace.meta.role;
    if (trace.mode === "markers") return { ...trace, marker: { ...trace.marker, color: colour(role, 0.6) } };
    if (trace.type === "bar") return { ...trace, marker: { ...trace.marker, color: colour(role) } };
    const filled = trace.stackgroup ? { fillcolor: colour(role) } : trace.fill ? { fillcolor: colour(role, 0.22) } : {};
    return { ...trace, ...filled, line: { ...trace.line, color: colour(role, role === "largest" ? 0.5 : 1) } };
  };

  const drawnLayout = (chart, layout, width) => {
    const narrow = width < 640;
    const range = ranges.get(chart) || layout.xaxis.range;
    const axis = { gridcolor: colour("grid"), linecolor: colour("border"), zerolinecolor: colour("border"),
      nticks: width < 420 ? 5 : undefined, exponentformat: "none", separatethousands: true };
    const legend = { orientation: "h", x: 0, y: 1, yanchor: "bottom", traceorder: "normal", bgcolor: "rgba(0,0,0,0)" };
    return {
      ...layout,
      height: chart.height,
      font: { family: "system-ui, sans-serif", size: narrow ? 11 : 12.5, color: colour("text") },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: narrow ? 52 : 64, r: 12, t: layout.showlegend === false ? 10 : 34, b: 44 },
      xaxis: { ...axis, ...layout.xaxis, range, autorange: range === undefined },
      yaxis: { ...axis, fixedrange: true, automargin: chart.small, ...layout.yaxis },
      ...(layout.yaxis2 && { yaxis2: { ...axis, fixedrange: true, ...layout.yaxis2 } }),
      shapes: (layout.shapes || []).map((shape) => ({ ...shape, line: { ...shape.line, color: colour("text") } })),
      annotations: (layout.annotations || []).map((note) => ({ ...note, bgcolor: colour("card", 0.75) })),
      legend, hovermode: layout.hovermode ?? "x unified", showlegend: layout.showlegend ?? true,
      hoverlabel: { bgcolor: colour("card"), bordercolor: colour("border"), font: { color: colour("text") }, align: "left" },
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    };
  };

  const ranges = new Map();
  const draw = (chart) => {
    const { data, layout } = chosen(chart);
    const element = place(chart);
    return Plotly.react(element, data.map(drawnTrace), drawnLayout(chart, layout, element.clientWidth),
      { responsive: true, displayModeBar: false, displaylogo: false });
  };
  // Pictures over time that are no Plotly charts: each has an `extent`, and is drawn by `draw(range)`.
  const others = [];
  let shown;
  const drawOthers = () => others.forEach((other) => other.draw(shown));
  const drawAll = () => {
    drawOthers();
    return Promise.all(charts.map(draw));
  };

  // All time there is to see: what every chart over time can be moved in.
  const whole = () => {
    const ends = charts.filter((chart) => chart.over_time).flatMap((chart) =>
      chosen(chart).data.flatMap((trace) => [trace.x[0], trace.x[trace.x.length - 1]]));
    others.forEach((other) => ends.push(...other.extent));
    return [ends.reduce((a, b) => Math.min(a, b), Infinity), ends.reduce((a, b) => Math.max(a, b), -Infinity)];
  };
  // Show a range in all pictures over time, or all of it.
  const zoomTime = (range) => {
    shown = range || whole();
    for (const chart of charts) if (chart.over_time) { ranges.set(chart, shown); draw(chart); }
    drawOthers();
  };
  const zoom = (chart, range) => {
    if (chart.over_time) return zoomTime(range);
    if (range) ranges.set(chart, range);
    else ranges.delete(chart);
    draw(chart);
  };

  const keys = { "+": [0.25, 0.75], "=": [0.25, 0.75], "-": [-0.5, 1.5], ArrowLeft: [-0.2, 0.8], ArrowRight: [0.2, 1.2] };
  // Return the range that a key asks for; undefined for another key, null for all of it.
  const rangeOfKey = (event, [start, end]) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return undefined;
    if (event.key === "0") return null;
    return keys[event.key] && keys[event.key].map((part) => start + part * (end - start));
  };

  const listen = (chart) => {
    const element = place(chart);
    element.on("plotly_relayout", (event) => {
      if (event["xaxis.range[0]"] !== undefined) zoom(chart, [event["xaxis.range[0]"], event["xaxis.range[1]"]]);
      else if (event["xaxis.autorange"]) zoom(chart);
    });
    element.addEventListener("keydown", (event) => {
      const range = rangeOfKey(event, element.layout.xaxis.range);
      if (range === undefined) return;
      zoom(chart, range);
      event.preventDefault();
    });
    for (const button of document.getElementsByName(`${chart.key}-choice`))
      button.addEventListener("change", () => (chart.over_time ? draw(chart) : zoom(chart)));
  };

  const start = () => {
    const button = document.getElementById("theme");
    const themed = () => {
      button.textContent = isDark() ? "Light" : "Dark";
      button.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
    };
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      themed();
      drawAll();
    });
    document.getElementById("reset").addEventListener("click", () => {
      others.forEach((other) => other.reset());
      charts.forEach((chart) => chart.over_time || zoom(chart));
      zoomTime();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { themed(); drawAll(); });

    themed();
    shown ||= whole();
    for (const chart of charts) if (chart.over_time) ranges.set(chart, shown);
    drawAll().then(() => {
      charts.forEach(listen);
      root.dataset.ready = "true";
    });
  };
  return { colour, others, rangeOfKey, start, zoomTime };
})();
