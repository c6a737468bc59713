"""Style and script of the page; the script draws the stack that is chosen, from data in the page."""

from __future__ import annotations

from mrcz_dask.report.palette import (
    BLUE,
    DARK,
    GREEN,
    INK,
    LEVELS,
    LINK,
    PANEL,
    QUIET,
    RULE,
    VERMILION,
    WHITE,
)

_LEVELS = "\n".join(
    f".level-{name} {{ color: {text}; background: {ground}; }}" for name, (text, ground) in LEVELS.items()
)

STYLE = f"""
:root {{ color-scheme: light; }}
* {{ box-sizing: border-box; }}
html {{ -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }}
body {{ margin: 0; color: {INK}; background: {WHITE};
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }}
main, header, footer, nav {{ max-width: 62rem; margin: 0 auto; padding: 0 1rem; }}
h1 {{ font-size: 1.6rem; line-height: 1.25; margin: 1.5rem 0 .5rem; overflow-wrap: anywhere; }}
h2 {{ font-size: 1.3rem; margin: 2.5rem 0 .75rem; padding-top: .75rem; border-top: 2px solid {RULE}; }}
h3 {{ font-size: 1.05rem; margin: 1.75rem 0 .5rem; overflow-wrap: anywhere; }}
p, li, dd {{ overflow-wrap: anywhere; max-width: 48rem; }}
a {{ color: {LINK}; }}
a:focus-visible, [tabindex]:focus-visible, select:focus-visible, summary:focus-visible {{
  outline: 3px solid {LINK}; outline-offset: 2px; }}
nav ul {{ display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; padding: 0; margin: .75rem 0;
  list-style: none; }}
.level {{ display: inline-block; padding: .1rem .6rem; border-radius: .3rem; font-weight: 600;
  white-space: nowrap; }}
{_LEVELS}
.overall {{ font-size: 1.15rem; padding: .3rem .9rem; margin-right: .6rem; }}
.findings {{ list-style: none; padding: 0; margin: 0; }}
.findings li {{ display: grid; grid-template-columns: 8rem 1fr; gap: .2rem 1rem; padding: .6rem 0;
  border-bottom: 1px solid #D5DADF; max-width: none; align-items: start; }}
.findings p {{ margin: 0; }}
.findings .level {{ justify-self: start; }}
.findings .is-good, .findings .is-unknown {{ padding: .25rem 0; }}
.is-good div, .is-unknown div {{ display: flex; flex-wrap: wrap; gap: 0 .75rem; }}
.number {{ font-weight: 600; }}
.paper {{ font-weight: 400; white-space: nowrap; margin-left: .5rem; }}
.quiet {{ color: {QUIET}; font-size: .92rem; }}
dl {{ display: grid; grid-template-columns: 12rem 1fr; gap: .35rem 1rem; margin: 0; }}
dt {{ color: {QUIET}; }}
dd {{ margin: 0; }}
figure {{ margin: 0 0 1.5rem; }}
figcaption {{ max-width: 48rem; color: {QUIET}; font-size: .92rem; }}
.scroll {{ overflow-x: auto; max-width: 100%; }}
.scroll img {{ display: block; width: 100%; min-width: 36rem; max-width: 46rem; height: auto; }}
table {{ border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: left; vertical-align: top; padding: .3rem .9rem .3rem 0;
  border-bottom: 1px solid #D5DADF; }}
td {{ overflow-wrap: break-word; max-width: 30rem; }}
th {{ white-space: nowrap; }}
pre {{ background: {PANEL}; padding: .6rem .8rem; margin: .3rem 0 1rem; white-space: pre-wrap;
  overflow-wrap: anywhere;
  font: .88rem/1.45 ui-monospace, "DejaVu Sans Mono", monospace; }}
code {{ font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .92em; }}
details {{ margin: .75rem 0; }}
summary {{ cursor: pointer; }}
.thumbnails {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: 1rem;
  padding: 0;
  margin: 1rem 0; list-style: none; }}
.thumbnails img {{ width: 100%; height: auto; display: block; }}
.chooser {{ background: {PANEL}; padding: .8rem 1rem 1rem; margin: 1rem 0 1.5rem; }}
.chooser label {{ display: block; font-weight: 600; }}
.chooser select {{ font: inherit; max-width: 100%; padding: .3rem; color: {INK}; background: {WHITE};
  border: 1px solid {RULE}; }}
.chooser svg {{ display: block; width: 100%; min-width: 34rem; max-width: 46rem; background: {WHITE}; }}
.patches {{ display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: .6rem; max-width: 46rem;
  margin-top: 1rem; }}
.patches figure {{ margin: 0; }}
.patches .framed {{ position: relative; }}
.patches img {{ width: 100%; display: block; image-rendering: pixelated; }}
.patches svg {{ position: absolute; inset: 0; width: 100%; height: 100%; min-width: 0; background: none; }}
footer {{ margin-top: 3rem; padding-bottom: 2rem; }}
.on-phones {{ display: none; }}
@media (max-width: 40rem) {{
  .on-phones {{ display: block; }}
  body {{ font-size: 15px; }}
  dl {{ grid-template-columns: 1fr; gap: 0; }}
  dd {{ margin-bottom: .6rem; }}
  .findings li {{ grid-template-columns: 1fr; }}
}}
@media print {{
  html {{ font-size: 10pt; }}
  body {{ font-size: 10pt; }}
  nav, .chooser, .on-phones, .findings a {{ display: none; }}
  main, header, footer {{ max-width: none; padding: 0; }}
  h2 {{ break-after: avoid; }}
  h3 {{ break-after: avoid; }}
  figure, .findings li, tr {{ break-inside: avoid; }}
  .scroll {{ overflow: visible; }}
  .scroll img {{ min-width: 0; width: 100%; max-width: 15cm; }}
  .level {{ border: 1px solid {INK}; }}
  a {{ color: inherit; text-decoration: none; }}
}}
"""

SCRIPT = """
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
    svg.append(make("rect", { x: L, y: top, width: W - L - R, height, fill: "none", stroke: "@DARK" }));
    return at;
  };
  const histogram = (one) => {
    const h = one.histogram, H = 520;
    const svg = make("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "font-size": 13, fill: "@DARK",
      "aria-label": "Histogram, fit, residual and weight of " + one.name });
    const first = h.edge[0], last = h.edge[h.edge.length - 1];
    const sx = (x) => L + (x - first) / (last - first || 1) * (W - L - R);
    const most = Math.log10(Math.max(10, ...h.pixels)) * 1.05;
    const up = panel(svg, 22, 210, 0, most, "pixels", true);
    line(svg, h.edge, h.pixels.map((v) => v || null), sx, up, { stroke: "@BLUE" });
    line(svg, h.edge, h.model.map((v) => (v > 1 ? v : null)), sx, up,
      { stroke: "@DARK", "stroke-dasharray": "6 4" });
    const known = h.residual.filter((v) => v !== null);
    const low = Math.max(-6, Math.min(-1, ...known)), high = Math.min(9, Math.max(1, ...known));
    const mid = panel(svg, 250, 130, low, high, "residual, sigma", false);
    line(svg, h.edge, h.residual.map((v) => (v === null || v < low || v > high ? null : v)), sx, mid,
      { stroke: "@BLUE" });
    const down = panel(svg, 398, 80, 0, 1, "weight", false);
    line(svg, h.edge, h.weight, sx, down, { stroke: "@GREEN" });
    for (const [at, colour] of [[one.dark_at, "@BLUE"], [one.hot_at, "@VERMILION"]]) {
      if (at !== null) {
        svg.append(make("line", { x1: sx(at), x2: sx(at), y1: 22, y2: 478, stroke: colour,
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
        svg.append(make("circle", { cx: x + 0.5, cy: y + 0.5, r: 2, fill: "none", stroke: "@VERMILION",
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
"""
for _name, _colour in (("BLUE", BLUE), ("VERMILION", VERMILION), ("GREEN", GREEN), ("DARK", DARK)):
    SCRIPT = SCRIPT.replace(f"@{_name}", _colour)
