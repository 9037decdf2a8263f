"use strict";
(() => {
  const { names, figures, points } = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const at = (id) => document.getElementById(id);
  const probe = document.body.appendChild(document.createElement("span"));
  probe.hidden = true;

  // A custom property is resolved, for the theme in use, only as the colour of an element.
  const colour = (name, alpha = 1) => {
    probe.style.color = `var(--${name})`;
    return `rgba(${getComputedStyle(probe).color.match(/[\d.]+/g).slice(0, 3).join(", ")}, ${alpha})`;
  };
  const isDark = () =>
    root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;

  const latencies = ["ttft", "tpot", "itl", "e2e", "queue_time"];
  const titles = { interactivity: "tokens/s/user", throughput_per_gpu: "tokens/s/GPU", goodput_per_gpu: "goodput/GPU",
    slo_attainment: "attained" };
  const isLatency = (name) => latencies.includes(name.split(".")[0]);
  const title = (name) =>
    isLatency(name) ? `${name.split(".")[0].replace("_", " ").toUpperCase()} ${name.split(".")[1]} ms`
      : titles[name] || name.replaceAll("_", " ");
  const scaled = (name, value) => (value === null ? null : isLatency(name) ? value * 1000 : value);
  const shown = (name, value) => {
    if (value === null) return "–";
    if (name === "slo_attainment") return `${(value * 100).toFixed(1)}%`;
    const number = scaled(name, value);
    return number >= 1000 ? Math.round(number).toLocaleString("en") : Number(number.toPrecision(3)).toLocaleString("en");
  };
  const figure = (point, name) => point.figures[figures.indexOf(name)] ?? null;
  const layout = () => ({
    font: { family: "system-ui, sans-serif", size: 12.5, color: colour("text") },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    hoverlabel: { bgcolor: colour("card"), bordercolor: colour("border"), font: { color: colour("text") }, align: "left" },
  });
  const config = { responsive: true, displayModeBar: false, displaylogo: false };

  let chosen = 0;
  const known = points.map((_, index) => index).filter((index) =>
    figure(points[index], "interactivity") !== null && figure(points[index], "throughput_per_gpu") !== null);
  const drawPareto = () => {
    const front = known.filter((index) => points[index].front)
      .sort((a, b) => figure(points[a], "interactivity") - figure(points[b], "interactivity"));
    const trace = (indices, more) => ({
      x: indices.map((index) => figure(points[index], "interactivity")),
      y: indices.map((index) => figure(points[index], "throughput_per_gpu")),
      customdata: indices, text: indices.map((index) => points[index].label),
      hovertemplate: "%{text}<br>%{x:.4g} tokens/s/user<br>%{y:.4g} tokens/s/GPU<extra></extra>", ...more,
    });
    const axis = { gridcolor: colour("grid"), linecolor: colour("border"), zerolinecolor: colour("border") };
    const marked = known.includes(chosen) ? [chosen] : [];
    return Plotly.react("chart-pareto", [
      trace(known.filter((index) => !points[index].front), { mode: "markers", name: "other points",
        marker: { color: colour("queued", 0.8), size: 7 } }),
      trace(front, { mode: "lines+markers", name: "no point exceeds these in both",
        line: { color: colour("decode") }, marker: { color: colour("decode"), size: 9, symbol: "diamond" } }),
      trace(marked, { mode: "markers", name: "chosen", hoverinfo: "skip",
        marker: { color: "rgba(0,0,0,0)", size: 17, line: { color: colour("prefill"), width: 3 } } }),
    ], { ...layout(), hovermode: "closest", margin: { l: 64, r: 12, t: 34, b: 48 },
      legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom" },
      xaxis: { ...axis, title: { text: "tokens/s/user" }, rangemode: "tozero" },
      yaxis: { ...axis, title: { text: "tokens/s/GPU" }, rangemode: "tozero" } }, config);
  };

  // Parallel coordinates, as SVG: Plotly's need WebGL, which not every browser has.
  const SVG = "http://www.w3.org/2000/svg";
  const draw = (parent, kind, attributes, text) => {
    const element = parent.appendChild(document.createElementNS(SVG, kind));
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const settingAxis = (name, column) => {
    const texts = points.map((point) => point.values[column]);
    const distinct = [...new Set(texts)];
    const isNumeric = distinct.every((text) => text !== "" && Number.isFinite(Number(text)));
    if (isNumeric) distinct.sort((a, b) => a - b);
    return { title: name, low: 0, high: Math.max(1, distinct.length - 1), values: texts.map((text) => distinct.indexOf(text)),
      ticks: distinct.length > 12 ? [] : distinct.map((text, index) => [index, text || "–"]) };
  };
  const figureAxis = (name) => {
    const values = points.map((point) => figure(point, name));
    const known = values.filter((value) => value !== null);
    const [low, high] = [Math.min(...known), Math.max(...known)];
    return { title: title(name), low, high: high > low ? high : low + 1, values,
      ticks: (high > low ? [0, 0.25, 0.5, 0.75, 1] : [0]).map((part) => low + part * (high - low)).map((value) => [value, shown(name, value)]) };
  };
  const axes = [...names.map(settingAxis), ...figures.map(figureAxis)];
  const kept = axes.map(() => null);
  const lines = [];
  const keep = () => lines.forEach((line, index) => {
    const isKept = axes.every((axis, number) => {
      const range = kept[number];
      return !range || (axis.values[index] !== null && axis.values[index] >= range[0] && axis.values[index] <= range[1]);
    });
    line.style.display = isKept ? "" : "none";
  });
  const mark = () => {
    lines.forEach((line, index) => {
      line.setAttribute("stroke", colour(index === chosen ? "prefill" : points[index].front ? "decode" : "queued"));
      line.setAttribute("stroke-width", index === chosen ? 3 : points[index].front ? 2 : 1);
    });
    for (const index of [...points.keys()].filter((each) => points[each].front).concat(chosen))
      if (lines[index]) lines[index].parentNode.append(lines[index]);
  };
  const drawParallel = () => {
    const place = at("chart-parallel");
    place.replaceChildren();
    lines.length = 0;
    const gap = Math.max(95, (place.clientWidth - 110) / Math.max(1, axes.length - 1));
    const [left, top, height] = [55, 56, 330];
    const svg = draw(place, "svg", { width: 2 * left + gap * (axes.length - 1), height: top + height + 30 });
    const x = (number) => left + gap * number;
    const y = (axis, value) => top + height * (1 - (value - axis.low) / (axis.high - axis.low));
    const group = draw(svg, "g", { fill: "none", "stroke-opacity": 0.75 });
    points.forEach((point, index) => {
      const path = axes.map((axis, number) => axis.values[index] === null ? null : `${x(number)},${y(axis, axis.values[index])}`);
      const line = draw(group, "polyline", { points: path.filter((each) => each).join(" ") });
      draw(line, "title", {}, point.label);
      line.addEventListener("click", () => choose(index));
      lines.push(line);
    });
    axes.forEach((axis, number) => {
      draw(svg, "line", { x1: x(number), x2: x(number), y1: top, y2: top + height, stroke: colour("text") });
      const head = draw(svg, "text", { x: x(number), y: top - 26, "text-anchor": "middle", "font-size": 12, fill: colour("text") });
      const words = axis.title.length > 13 ? axis.title.split(/[ _]/) : [axis.title];
      const half = Math.ceil(words.length / 2);
      const spans = words.length > 1 ? [words.slice(0, half).join(" "), words.slice(half).join(" ")] : words;
      spans.forEach((text, row) => draw(head, "tspan", { x: x(number), dy: row ? 14 : 0 }, text));
      for (const [value, text] of axis.ticks)
        draw(svg, "text", { x: x(number) + 6, y: y(axis, value) + 4, "font-size": 11, fill: colour("text"),
          stroke: colour("card"), "stroke-width": 3, "paint-order": "stroke" }, text);
      const range = draw(svg, "rect", { x: x(number) - 7, width: 14, y: top, height: 0, fill: colour("accent", 0.3) });
      const handle = draw(svg, "rect", { x: x(number) - 14, width: 28, y: top - 6, height: height + 12, fill: "transparent", cursor: "ns-resize" });
      let from = null;
      const value = (event) => axis.low + (1 - (event.clientY - svg.getBoundingClientRect().top - top) / height) * (axis.high - axis.low);
      const show = () => {
        const [low, high] = kept[number] || [0, 0];
        range.setAttribute("y", kept[number] ? y(axis, high) : top);
        range.setAttribute("height", kept[number] ? Math.max(0, y(axis, low) - y(axis, high)) : 0);
        keep();
      };
      handle.addEventListener("pointerdown", (event) => { from = value(event); kept[number] = null; handle.setPointerCapture(event.pointerId); show(); });
      handle.addEventListener("pointermove", (event) => {
        if (from === null) return;
        kept[number] = [Math.min(from, value(event)), Math.max(from, value(event))];
        show();
      });
      handle.addEventListener("pointerup", () => { from = null; });
      show();
    });
    mark();
  };

  const cell = (row, kind, text) => row.appendChild(Object.assign(document.createElement(kind), { textContent: text }));
  const rows = points.map((point, index) => {
    const row = at("rows").appendChild(document.createElement("tr"));
    row.className = point.front ? "front" : "";
    row.tabIndex = 0;
    cell(row, "th", point.label).scope = "row";
    point.figures.forEach((value, column) => cell(row, "td", shown(figures[column], value)));
    cell(row, "td", point.overloaded ? "overloaded" : "");
    row.addEventListener("click", () => choose(index));
    row.addEventListener("keydown", (event) => { if (event.key === "Enter") choose(index); });
    return row;
  });
  for (const name of ["point", ...figures.map(title), ""]) cell(at("head"), "th", name).scope = "col";

  const choose = (index) => {
    if (!points.length) return;
    rows[chosen].classList.remove("chosen");
    chosen = index;
    rows[chosen].classList.add("chosen");
    at("chosen").textContent = points[index].label;
    at("profile").textContent = points[index].profile;
    at("copy").textContent = "Copy the profile";
    drawPareto();
    mark();
  };
  at("copy").addEventListener("click", () => {
    const range = document.createRange();
    range.selectNodeContents(at("profile"));
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    // The clipboard's own interface is not there on a page that is opened as a file in every browser.
    const done = document.execCommand("copy");
    at("copy").textContent = done ? "Copied" : "Selected: copy it with the keyboard";
  });

  const themed = () => { at("theme").textContent = isDark() ? "Light" : "Dark"; };
  const redraw = () => { themed(); drawPareto(); drawParallel(); };
  at("theme").addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; redraw(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

  themed();
  drawParallel();
  choose(0);
  addEventListener("resize", drawParallel);
  drawPareto().then(() => {
    at("chart-pareto").on("plotly_click", (event) => choose(event.points[0].customdata));
    root.dataset.ready = "true";
  });
})();
