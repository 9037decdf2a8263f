"use strict";
// The timeline of requests: a lane for each on one canvas, its search, and the details of a chosen request.
(() => {
  const [data] = JSON.parse(document.getElementById("lanes-data").textContent);
  if (!data) return;
  const { ids, causes, cause_names: causeNames, unit } = data;
  const canvas = document.getElementById("lanes");
  const pen = canvas.getContext("2d");
  const tip = document.getElementById("tip");
  const details = document.getElementById("details");
  const search = document.getElementById("search");
  const found = document.getElementById("found");
  const ROLES = { q: "queued", p: "prefill", d: "decode", x: "preempted", v: "discarded" };
  const RUNNING_STEP = causeNames.length - 1;
  const MOST_HEIGHT = 600, LANE = 22, AXIS = 40, TOP = 4, RIGHT = 12;

  // The spans of request i are those from firsts[i] to firsts[i + 1].
  const firsts = [0], starts = [], ends = [], letters = data.phases.join("");
  ids.forEach((_, i) => {
    const times = data.times[i];
    let now = data.arrivals[i];
    for (let k = 0; k < times.length; k += 2) {
      starts.push(now + times[k]);
      ends.push(now = now + times[k] + times[k + 1]);
    }
    firsts.push(starts.length);
  });
  const spansOf = (i) => {
    const spans = [];
    for (let s = firsts[i]; s < firsts[i + 1]; s++) spans.push({ letter: letters[s], start: starts[s], end: ends[s] });
    return spans;
  };

  // --- Numbers and times as text
  const count = (value, noun) => `${value.toLocaleString("en")} ${noun}${value === 1 ? "" : "s"}`;
  const digits = (value, most) => value.toLocaleString("en", { maximumFractionDigits: most });
  const fixed = (value, places) =>
    value.toLocaleString("en", { minimumFractionDigits: places, maximumFractionDigits: places });
  const duration = (value) => {
    if (unit === "steps") return `${digits(value, 1)} ${value === 1 ? "step" : "steps"}`;
    const [shown, name] = value >= 1 ? [value, "s"] : [value * 1000, "ms"];
    const places = Math.min(3, Math.max(0, 2 - Math.floor(Math.log10(Number(shown.toPrecision(3)) || 1))));
    return `${fixed(shown, places)} ${name}`;
  };
  const moment = (value) => (unit === "steps" ? `step ${digits(value, 0)}` : `${digits(value, 3)} s`);

  // --- What kept requests waiting
  // The cause from each change on; where nobody waited for one, a request waits for the end of a running step.
  const causeAt = (index) => (index < 0 || causes[index][1] < 0 ? RUNNING_STEP : causes[index][1]);
  const lastChange = (time) => {
    let low = -1, high = causes.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (causes[middle][0] <= time) low = middle;
      else high = middle - 1;
    }
    return low;
  };
  // Return [cause, duration] for each cause in effect between two times, the longest first.
  const split = (start, end) => {
    const parts = new Map();
    let since = start;
    for (let index = lastChange(start); since < end; index++) {
      const until = Math.min(end, index + 1 < causes.length ? causes[index + 1][0] : Infinity);
      if (until > since) parts.set(causeAt(index), (parts.get(causeAt(index)) || 0) + until - since);
      since = Math.max(since, until);
    }
    return [...parts].sort((a, b) => b[1] - a[1]);
  };

  // --- Drawing
  let rows = [0, ids.length], range = [data.start, data.end], chosen = -1, matched = [], drag = null, frame = null;
  const size = () => {
    const width = canvas.clientWidth;
    const height = Math.max(120, Math.min(ids.length * LANE, width < 640 ? 420 : MOST_HEIGHT)) + AXIS + TOP;
    return { width, height, left: width < 640 ? 52 : 64, right: width - RIGHT, bottom: height - AXIS };
  };
  let box = null;
  const xOf = (time) => box.left + ((time - range[0]) / (range[1] - range[0])) * (box.right - box.left);
  const timeOf = (x) => range[0] + ((x - box.left) / (box.right - box.left)) * (range[1] - range[0]);
  const laneHeight = () => (box.bottom - TOP) / (rows[1] - rows[0]);
  const yOf = (row) => TOP + (row - rows[0]) * laneHeight();
  const rowOf = (y) => Math.floor(rows[0] + (y - TOP) / laneHeight());

  const ticks = (start, end, most) => {
    const rough = (end - start) / most, power = 10 ** Math.floor(Math.log10(rough));
    let step = [1, 2, 5, 10].map((digit) => digit * power).find((each) => each >= rough);
    if (unit === "steps") step = Math.max(1, step);
    const at = [];
    for (let tick = Math.ceil(start / step); tick * step <= end; tick++) at.push(tick * step + 0);
    return { at, places: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
  };

  const drawAxis = () => {
    const { at, places } = ticks(...range, (box.right - box.left) / 90);
    pen.textAlign = "center";
    pen.textBaseline = "top";
    for (const tick of at) {
      const x = Math.round(xOf(tick)) + 0.5;
      pen.strokeStyle = tracesim.colour("grid");
      pen.beginPath();
      pen.moveTo(x, TOP);
      pen.lineTo(x, box.bottom + 4);
      pen.stroke();
      pen.fillStyle = tracesim.colour("text");
      const text = fixed(tick, places);
      pen.fillText(text, Math.min(x, box.width - pen.measureText(text).width / 2), box.bottom + 7);
    }
    pen.fillText(unit === "steps" ? "step" : "time (s)", (box.left + box.right) / 2, box.bottom + 23);
  };

  // One line of pixels with a cause for each, from which the waits of all lanes are drawn. Where a pixel has several
  // causes, the shares that it does not show are carried over to the next pixels, so that every cause gets its part.
  const causeStrip = () => {
    const strip = document.createElement("canvas");
    strip.width = Math.max(1, Math.round(box.right - box.left));
    strip.height = 1;
    const paint = strip.getContext("2d");
    const colours = causeNames.map(([cause]) => tracesim.colour(cause));
    const shares = causeNames.map(() => 0), width = timeOf(box.left + 1) - timeOf(box.left);
    for (let x = 0; x < strip.width; x++) {
      const parts = split(timeOf(box.left + x), timeOf(box.left + x + 1));
      for (const [cause, part] of parts) shares[cause] += part / width;
      const shown = parts.reduce((best, [cause]) => (shares[cause] > shares[best] ? cause : best), parts.length ? parts[0][0] : RUNNING_STEP);
      shares[shown] -= 1;
      paint.fillStyle = colours[shown];
      paint.fillRect(x, 0, 1, 1);
    }
    return strip;
  };

  const drawLanes = () => {
    const height = laneHeight(), first = Math.max(0, Math.floor(rows[0])), last = Math.min(ids.length, Math.ceil(rows[1]));
    const wide = height >= 5;
    const bar = wide ? height * 0.7 : Math.max(1, height), wait = wide ? height * 0.3 : bar;
    const strip = causeStrip();
    const colours = Object.fromEntries(Object.entries(ROLES).map(([letter, role]) => [letter, tracesim.colour(role)]));
    const each = (letter, paint) => {
      for (let i = first; i < last; i++)
        for (let s = firsts[i]; s < firsts[i + 1]; s++)
          if (letters[s] === letter && ends[s] > range[0] && starts[s] < range[1]) {
            const from = Math.max(box.left, xOf(starts[s])), to = Math.min(box.right, xOf(ends[s]));
            paint(from, Math.max(to, from + 0.6), yOf(i) + height / 2);
          }
    };
    // Where lanes are thinner than a pixel, the bars of one line of pixels are joined where they overlap.
    const drawBars = (letter, thick, paint) => {
      let left, right, top = null;
      const flush = () => { if (top !== null) paint(left, top, right - left, thick); };
      each(letter, (from, to, middle) => {
        const y = wide ? middle - thick / 2 : Math.floor(middle);
        if (y === top && from <= right && to >= left) {
          left = Math.min(left, from);
          right = Math.max(right, to);
          return;
        }
        flush();
        [left, right, top] = [from, to, y];
      });
      flush();
    };
    drawBars("q", wait, (x, y, width, thick) =>
      pen.drawImage(strip, x - box.left, 0, Math.min(width, strip.width), 1, x, y, width, thick));
    for (const letter of "dpvx") {
      pen.fillStyle = colours[letter];
      drawBars(letter, letter === "x" ? wait : bar, (...bounds) => pen.fillRect(...bounds));
    }
    if (height >= 9) {
      pen.textAlign = "right";
      pen.textBaseline = "middle";
      const most = Math.floor(box.left / 7);
      const every = Math.ceil(13 / height);
      for (let i = first; i < last; i++) {
        if (i % every && i !== chosen) continue;
        pen.fillStyle = tracesim.colour(i === chosen ? "accent" : "text");
        pen.fillText(ids[i].length > most ? `…${ids[i].slice(1 - most)}` : ids[i], box.left - 6, yOf(i + 0.5));
      }
    } else {
      pen.save();
      pen.translate(14, (TOP + box.bottom) / 2);
      pen.rotate(-Math.PI / 2);
      pen.textAlign = "center";
      pen.textBaseline = "middle";
      pen.fillStyle = tracesim.colour("text");
      pen.fillText(`requests ${digits(first + 1)} to ${digits(last)}, by arrival`, 0, 0);
      pen.restore();
    }
    if (chosen >= first && chosen < last) {
      const thick = Math.max(height, 5);
      pen.strokeStyle = tracesim.colour("accent");
      pen.lineWidth = 1.5;
      pen.strokeRect(box.left - 1, yOf(chosen + 0.5) - thick / 2, box.right - box.left + 2, thick);
      pen.lineWidth = 1;
    }
  };

  const draw = () => {
    frame = null;
    box = size();
    const scale = window.devicePixelRatio || 1;
    canvas.width = Math.round(box.width * scale);
    canvas.height = Math.round(box.height * scale);
    canvas.style.height = `${box.height}px`;
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.font = `${box.width < 640 ? 11 : 12.5}px system-ui, sans-serif`;
    drawAxis();
    pen.save();
    pen.beginPath();
    pen.rect(0, TOP, box.width, box.bottom - TOP);
    pen.clip();
    drawLanes();
    if (drag && drag.moved) {
      const [x, y, width, height] = dragged();
      pen.fillStyle = tracesim.colour("accent", 0.15);
      pen.fillRect(x, y, width, height);
    }
    pen.restore();
  };
  const redraw = () => { frame ??= requestAnimationFrame(draw); };

  // --- Zoom
  const limitRows = (start, end) => {
    const length = Math.min(ids.length, Math.max(3, end - start));
    const from = Math.min(Math.max(0, start), ids.length - length);
    rows = [from, from + length];
  };
  const showAll = () => { rows = [0, ids.length]; tracesim.zoomTime(); };
  // Show the lanes of all requests that there are in the range.
  const fitRows = () => {
    let first = -1, last = -1;
    for (let i = 0; i < ids.length && data.arrivals[i] < range[1]; i++)
      if (ends[firsts[i + 1] - 1] > range[0]) { last = i; if (first < 0) first = i; }
    if (first >= 0) limitRows(first, last + 1);
  };
  let hasRows = false;
  const zoomBoth = (times) => { hasRows = true; tracesim.zoomTime(times); hasRows = false; };
  const reset = () => { rows = [0, ids.length]; };

  // --- A chosen request
  const element = (name, text = "", role = null) => {
    const made = document.createElement(name);
    made.textContent = text;
    if (role) made.style.setProperty("--role", `var(--${role.replaceAll("_", "-")})`);
    return made;
  };
  const shares = (parts) => {
    const bar = element("div"), legend = element("ul");
    bar.className = "shares";
    legend.className = "legend";
    const total = parts.reduce((sum, [, part]) => sum + part, 0);
    for (const [cause, part] of parts) {
      const [role, label] = causeNames[cause];
      const piece = element("i", "", role);
      piece.style.flexGrow = part / total;
      bar.append(piece);
      legend.append(element("li", `${label} ${duration(part)} (${Math.round((100 * part) / total)} %)`, role));
    }
    return [bar, legend];
  };
  const chunksOf = (i) => {
    const groups = data.chunks[i], texts = [];
    let chunks = 0;
    for (let k = 0; k < groups.length; k += 2) {
      chunks += groups[k];
      texts.push(groups[k] === 1 ? digits(groups[k + 1]) : `${digits(groups[k])} × ${digits(groups[k + 1])}`);
    }
    const shown = texts.length > 12 ? [...texts.slice(0, 11), `and ${texts.length - 11} more`] : texts;
    return chunks ? `${count(chunks, "chunk")}: ${shown.join(", ")} tokens` : "none was computed";
  };
  const endOf = (i) => {
    const counted = spansOf(i).filter((span) => span.letter !== "v");
    return counted.length ? counted[counted.length - 1].end : data.arrivals[i];
  };
  const describe = (i) => {
    const [prompt, cached, output] = data.tokens[i], arrival = data.arrivals[i], first = data.first_tokens[i];
    const spans = spansOf(i), queued = spans.filter((span) => span.letter === "q");
    const list = element("dl");
    const add = (name, ...values) => {
      const item = element("div"), value = element("dd");
      value.append(...values);
      item.append(element("dt", name), value);
      list.append(item);
      return item;
    };
    add("arrival", moment(arrival));
    const waits = queued.length ? [duration(queued[0].end - queued[0].start), ...shares(split(queued[0].start, queued[0].end))] : ["none"];
    add("queue time", ...waits);
    add("prompt", count(prompt, "token") + (cached ? `, ${digits(cached)} of them in the prefix cache` : ""));
    add("prefill", chunksOf(i));
    if (first !== null) add("TTFT", duration(first));
    const took = endOf(i) - arrival;
    if (first !== null && output > 1 && data.reasons[data.ends[i]] !== "unfinished")
      add("TPOT", duration((took - first) / (output - 1)));
    add("output", count(output, "token"));
    const preemptions = data.preemptions[i].map(([time, other]) => {
      const why = other === i ? ", as it needed blocks itself" : other < 0 ? "" : `, as ${ids[other]} needed blocks`;
      return `at ${moment(time)}${why}`;
    });
    add("preemptions", preemptions.length ? `${preemptions.length}: ${preemptions.join("; ")}` : "none");
    add("end", `${data.reasons[data.ends[i]]}, ${duration(took)} after the arrival, at ${moment(endOf(i))}`);
    const phases = element("ul");
    phases.className = "legend";
    for (const span of spans.slice(0, 40)) {
      const name = ROLES[span.letter];
      const role = span.letter === "q" ? causeNames[split(span.start, span.end)[0][0]][0] : name;
      phases.append(element("li", `${name} ${duration(span.end - span.start)}`, role));
    }
    add(spans.length > 40 ? `the first 40 of ${spans.length} phases` : "phases", phases).className = "wide";
    return list;
  };
  const choose = (i) => {
    chosen = i;
    details.replaceChildren();
    if (i >= 0) {
      const title = element("h4", ids[i]), close = element("button", "Close");
      close.type = "button";
      close.addEventListener("click", () => choose(-1));
      title.append(close);
      details.append(title, describe(i));
    }
    history.replaceState(null, "", i < 0 ? "#requests" : `#request=${encodeURIComponent(ids[i])}`);
    redraw();
  };
  const goTo = (i) => {
    const around = Math.min(ids.length, Math.max(12, Math.round((box || size()).height / LANE / 2)));
    const first = i - Math.floor(around / 2);
    limitRows(first, first + around);
    const start = data.arrivals[i], last = endOf(i);
    const margin = (last - start) * 0.06 || (data.end - data.start) * 0.01;
    choose(i);
    zoomBoth([start - margin, last + margin]);
  };

  // --- Search: an exact id first, then ids that begin with the text, then those that have it anywhere
  let term = null, place = -1;
  const find = () => {
    const text = search.value.trim();
    if (!text) { found.textContent = ""; term = null; return; }
    if (text !== term) {
      const lower = text.toLowerCase(), groups = [[], [], []];
      ids.forEach((id, i) => {
        const at = id === text ? 0 : id.toLowerCase().startsWith(lower) ? 1 : id.toLowerCase().includes(lower) ? 2 : -1;
        if (at >= 0) groups[at].push(i);
      });
      matched = groups.flat();
      term = text;
      place = -1;
    }
    if (!matched.length) { found.textContent = "No request has this in its id."; return; }
    place = (place + 1) % matched.length;
    found.textContent = matched.length === 1 ? "1 request" : `${digits(place + 1)} of ${digits(matched.length)} requests; Enter shows the next`;
    goTo(matched[place]);
  };
  document.querySelector(".search").addEventListener("submit", (event) => { event.preventDefault(); find(); });
  document.getElementById("fit").addEventListener("click", showAll);

  // --- Pointer and keys
  const dragged = () => {
    const x = Math.min(drag.x, drag.toX), width = Math.abs(drag.toX - drag.x);
    const tall = Math.abs(drag.toY - drag.y) > 12 && ids.length > 3;
    return tall ? [x, Math.min(drag.y, drag.toY), width, Math.abs(drag.toY - drag.y)] : [x, TOP, width, box.bottom - TOP];
  };
  const at = (event) => {
    const bounds = canvas.getBoundingClientRect();
    return [event.clientX - bounds.left, event.clientY - bounds.top];
  };
  const showTip = (x, y) => {
    const row = rowOf(y);
    tip.hidden = row < 0 || row >= ids.length || x < 0 || x > box.right || y < TOP || y > box.bottom;
    if (tip.hidden) return;
    const now = timeOf(x), span = spansOf(row).find((each) => each.start <= now && now < each.end);
    let text = ids[row];
    if (span && x >= box.left) {
      text += `\n${ROLES[span.letter]} for ${duration(span.end - span.start)}, from ${moment(span.start)}`;
      if (span.letter === "q" || span.letter === "x") text += `\nwaits for: ${causeNames[causeAt(lastChange(now))][1]}`;
    }
    tip.textContent = text;
    tip.style.left = `${Math.max(0, Math.min(x + 14, box.width - tip.offsetWidth - 4))}px`;
    tip.style.top = `${y + 16}px`;
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.pointerType !== "mouse") return;
    const [x, y] = at(event);
    drag = { x: Math.max(x, box.left), y, toX: Math.max(x, box.left), toY: y, moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = at(event);
    if (!drag) return showTip(x, y);
    tip.hidden = true;
    drag.toX = Math.max(box.left, Math.min(x, box.right));
    drag.toY = Math.max(TOP, Math.min(y, box.bottom));
    drag.moved ||= Math.abs(drag.toX - drag.x) > 5;
    redraw();
  });
  canvas.addEventListener("pointerup", () => {
    const [x, y, width, height] = drag ? dragged() : [];
    const moved = drag && drag.moved;
    drag = null;
    if (!moved) return;
    const times = [timeOf(x), timeOf(x + width)], tall = height < box.bottom - TOP;
    if (tall) limitRows(rows[0] + (y - TOP) / laneHeight(), rows[0] + (y + height - TOP) / laneHeight());
    if (tall) zoomBoth(times);
    else tracesim.zoomTime(times);
    suppressed = true;
  });
  canvas.addEventListener("pointercancel", () => { drag = null; redraw(); });
  canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
  let suppressed = false;
  canvas.addEventListener("click", (event) => {
    if (suppressed) { suppressed = false; return; }
    const row = rowOf(at(event)[1]);
    if (row >= 0 && row < ids.length) choose(row);
  });
  canvas.addEventListener("dblclick", showAll);
  canvas.addEventListener("wheel", (event) => {
    const length = rows[1] - rows[0], from = rows[0];
    if (length >= ids.length || event.ctrlKey) return;
    limitRows(from + event.deltaY / laneHeight() / 2, from + event.deltaY / laneHeight() / 2 + length);
    if (rows[0] !== from) { event.preventDefault(); redraw(); }
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (step) {
      const next = Math.min(ids.length - 1, Math.max(0, chosen < 0 ? Math.ceil(rows[0]) : chosen + step));
      const length = rows[1] - rows[0];
      if (next < rows[0]) limitRows(next, next + length);
      else if (next + 1 > rows[1]) limitRows(next + 1 - length, next + 1);
      choose(next);
    } else if (event.key === "Escape") choose(-1);
    else {
      const wanted = tracesim.rangeOfKey(event, range);
      if (wanted === undefined) return;
      tracesim.zoomTime(wanted);
    }
    event.preventDefault();
  });

  // --- Legend
  const legend = document.getElementById("lanes-legend");
  const waits = starts.flatMap((start, s) => (letters[s] === "q" ? split(start, ends[s]).map(([cause]) => cause) : []));
  const present = new Set(waits);
  if (present.size) {
    legend.append(element("li", "waits for:"));
    legend.lastChild.className = "title";
    causeNames.forEach(([cause, label], i) => present.has(i) && legend.append(element("li", label, cause)));
  }
  for (const [letter, role] of Object.entries(ROLES)) if (letter !== "q" && letters.includes(letter)) legend.append(element("li", role, role));

  tracesim.others.push({
    extent: [data.start, data.end],
    draw: (shown) => {
      const isMoved = shown[0] !== range[0] || shown[1] !== range[1];
      range = shown;
      if (isMoved && !hasRows) fitRows();
      redraw();
    },
    reset,
  });
  new ResizeObserver(redraw).observe(canvas.parentElement);
  const follow = () => {
    const linked = ids.findIndex((id) => location.hash === `#request=${encodeURIComponent(id)}`);
    if (linked >= 0 && linked !== chosen) goTo(linked);
  };
  window.addEventListener("hashchange", follow);
  follow();
})();
