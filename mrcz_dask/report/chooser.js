// Draws the stack that is chosen, from data in the page.
"use strict";
(() => {
  const from = (id) => JSON.parse(document.getElementById(id).textContent);
  const box = document.getElementById("chooser");
  if (!box) return;
  const stacks = from("looks");
  const select = box.querySelector("select");
  const place = box.querySelector(".drawing");
  const patches = box.querySelector(".patches");
  const said = box.querySelector(".said");
  const W = 700, L = 64, R = 12;
  const style = getComputedStyle(document.documentElement);
  const [BLUE, VERMILION, GREEN, DARK] = ["blue", "vermilion", "green", "dark"].map(
    (name) => style.getPropertyValue("--" + name).trim());
  const NS = "http://www.w3.org/2000/svg";
  const make = (tag, given, text) => {
    const one = document.createElementNS(NS, tag);
    for (const [name, value] of Object.entries(given)) one.setAttribute(name, value);
    if (text !== undefined) one.textContent = text;
    return one;
  };
  const ticks = (low, high, most) => {
    const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough || 1));
    const step = [1, 2, 5, 10].map((k) => k * power).find((s) => s >= rough) || power;
    const found = [];
    for (let k = Math.ceil(low / step); k * step <= high + step * 1e-9; k += 1) found.push(k * step);
    return found;
  };
  const written = (v) => String(Number(v.toPrecision(4)));
  const line = (svg, xs, ys, sx, sy, style) => {
    let path = "", down = false;
    ys.forEach((y, k) => {
      if (y === null || sy(y) === null) { down = false; return; }
      path += (down ? "L" : "M") + sx(xs[k]).toFixed(1) + " " + sy(y).toFixed(1);
      down = true;
    });
    svg.append(make("path", { d: path, fill: "none", "stroke-width": 1.6, ...style }));
  };
  const panel = (svg, top, height, low, high, name, log) => {
    const at = (v) => {
      if (log && v <= 0) return null;
      const u = log ? Math.log10(v) : v;
      return top + height - (Math.min(Math.max(u, low), high) - low) / (high - low) * height;
    };
    for (const t of ticks(low, high, 4)) {
      const y = top + height - (t - low) / (high - low) * height;
      if (log && !Number.isInteger(t)) continue;
      svg.append(make("line", { x1: L, x2: W - R, y1: y, y2: y, stroke: "#DDDDDD" }));
      svg.append(make("text", { x: L - 6, y: y + 4, "text-anchor": "end" }, log ? "1e" + t : written(t)));
    }
    svg.append(make("text", { x: 0, y: 0, transform: `translate(13 ${top + height / 2}) rotate(-90)`,
      "text-anchor": "middle" }, name));
    svg.append(make("rect", { x: L, y: top, width: W - L - R, height, fill: "none", stroke: DARK }));
    return at;
  };
  const histogram = (one) => {
    const h = one.histogram, H = 520;
    const svg = make("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "font-size": 13, fill: DARK,
      "aria-label": "Histogram, fit, residual and weight of " + one.name });
    const first = h.edge[0], last = h.edge[h.edge.length - 1];
    const sx = (x) => L + (x - first) / (last - first || 1) * (W - L - R);
    const most = Math.log10(Math.max(10, ...h.pixels)) * 1.05;
    const up = panel(svg, 22, 210, 0, most, "pixels", true);
    line(svg, h.edge, h.pixels.map((v) => v || null), sx, up, { stroke: BLUE });
    line(svg, h.edge, h.model.map((v) => (v > 1 ? v : null)), sx, up,
      { stroke: DARK, "stroke-dasharray": "6 4" });
    const known = h.residual.filter((v) => v !== null);
    const low = Math.max(-6, Math.min(-1, ...known)), high = Math.min(9, Math.max(1, ...known));
    const mid = panel(svg, 250, 130, low, high, "residual, sigma", false);
    line(svg, h.edge, h.residual.map((v) => (v === null || v < low || v > high ? null : v)), sx, mid,
      { stroke: BLUE });
    const down = panel(svg, 398, 80, 0, 1, "weight", false);
    line(svg, h.edge, h.weight, sx, down, { stroke: GREEN });
    for (const [at, color] of [[one.dark_at, BLUE], [one.hot_at, VERMILION]]) {
      if (at !== null) {
        svg.append(make("line", { x1: sx(at), x2: sx(at), y1: 22, y2: 478, stroke: color,
          "stroke-dasharray": "8 3 2 3" }));
      }
    }
    for (const t of ticks(first, last, 8)) {
      svg.append(make("text", { x: sx(t), y: 495, "text-anchor": "middle" }, written(t)));
    }
    svg.append(make("text", { x: (L + W) / 2, y: 514, "text-anchor": "middle" }, "counts of the sum"));
    svg.append(make("text", { x: L, y: 15 }, "pixels: full line; fit: broken; thresholds: dash-dotted"));
    return svg;
  };
  const picture = (source, title, marks, size) => {
    const figure = document.createElement("figure"), frame = document.createElement("div");
    const image = document.createElement("img"), caption = document.createElement("figcaption");
    frame.className = "framed";
    image.src = source;
    image.alt = title;
    caption.textContent = title;
    frame.append(image);
    if (marks) {
      const svg = make("svg", { viewBox: `0 0 ${size[1]} ${size[0]}`, "aria-hidden": "true" });
      for (const [y, x] of marks) {
        svg.append(make("circle", { cx: x + 0.5, cy: y + 0.5, r: 2, fill: "none", stroke: VERMILION,
          "stroke-width": 0.6 }));
      }
      frame.append(svg);
    }
    figure.append(frame, caption);
    return figure;
  };
  const show = () => {
    const one = stacks[Number(select.value)];
    place.replaceChildren(...(one.histogram ? [histogram(one)] : []));
    said.textContent = one.said;
    patches.replaceChildren(...(one.patch ? [
      picture(one.patch.before, "before", null, one.patch.size),
      picture(one.patch.before, "outliers marked", one.patch.marks, one.patch.size),
      picture(one.patch.after, "after", null, one.patch.size),
    ] : []));
  };
  stacks.forEach((one, k) => {
    const option = document.createElement("option");
    option.value = String(k);
    option.textContent = one.label;
    select.append(option);
  });
  select.addEventListener("change", show);
  box.hidden = false;
  show();
})();
