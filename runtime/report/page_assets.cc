#include "runtime/report/page_assets.h"

namespace gossamer {

// Line colours follow Okabe and Ito's palette, which stays distinct for colour-blind readers; each is
// darkened on white and lightened on black until it contrasts with the ground by at least 3:1.
const std::string_view kPageStyle = R"css(
:root{color-scheme:light dark;--bg:#fff;--card:#f6f7f9;--text:#1b1f24;--soft:#59636e;--rule:#e3e6ea;--strong:#c3c9d0;
--good:#0a7a4b;--c0:#0072b2;--c1:#d55e00;--c2:#00875f;--c3:#b5518c;--c4:#b07a00;--c5:#3596c9;--c6:#7a5bc2;--c7:#7d6a58}
.s .a{fill-opacity:.18}
@media (prefers-color-scheme:dark){:root{--bg:#111417;--card:#191d22;--text:#e7eaee;--soft:#9ba6b2;--rule:#272d34;
--strong:#3d4650;--good:#4fd39a;--c0:#4ea8e6;--c1:#ff8a3d;--c2:#2fc796;--c3:#e48fc0;--c4:#e6b422;--c5:#8fd3f7;--c6:#b39ddb;
--c7:#c2ad98}
.s .a{fill-opacity:.3}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--bg);color:var(--text);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",
Arial,sans-serif;font-variant-numeric:tabular-nums}
main,header,footer{max-width:1180px;margin:0 auto;padding:0 20px}
header{padding-top:28px}
h1{font-size:26px;line-height:1.25;margin:0 0 4px;font-weight:650;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:18px;margin:36px 0 12px;font-weight:650;overflow-wrap:anywhere}
h3{font-size:15px;margin:26px 0 8px;font-weight:650}
p{margin:6px 0}
.sub,.note,.none,footer{color:var(--soft)}
.sub{margin:0;overflow-wrap:anywhere}
.sub span:not(:last-child)::after{content:"\00b7";margin:0 .5em}
.note{font-size:13px}
footer{font-size:13px;margin-top:40px;padding-bottom:28px}
.tiles{display:flex;flex-wrap:wrap;gap:12px;margin:20px 0}
.tile{flex:1 1 138px;background:var(--card);border-radius:10px;padding:12px 14px}
.tile b{display:block;font-size:21px;white-space:nowrap;line-height:1.25;font-weight:650;letter-spacing:-.01em}
.tile span{display:block;color:var(--soft);font-size:13px}
.pick{position:fixed;opacity:0;pointer-events:none}
.bar{display:flex;flex-wrap:wrap;gap:10px 18px;align-items:center;margin:14px 0 12px}
.seg{display:inline-flex;border:1px solid var(--strong);border-radius:8px;overflow:hidden;flex:none}
.seg label{padding:4px 13px;font-size:14px;cursor:pointer;user-select:none}
.seg label+label{border-left:1px solid var(--strong)}
#xs:checked~main label[for=xs],#xt:checked~main label[for=xt],#xb:checked~main label[for=xb]{background:var(--text);
color:var(--bg)}
#xs:focus-visible~main .seg,#xt:focus-visible~main .seg,#xb:focus-visible~main .seg{outline:2px solid var(--c0);
outline-offset:2px}
#xs:not(:checked)~main .x-step,#xt:not(:checked)~main .x-time,#xb:not(:checked)~main .x-bytes{display:none}
.legend{display:flex;flex-wrap:wrap;gap:2px 14px;margin:0;padding:0;list-style:none;font-size:13px;min-width:0}
.legend li{display:flex;align-items:center;gap:6px;min-width:0;overflow-wrap:anywhere}
.legend svg{flex:none}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:16px}
.charts>*{min-width:0}
figure{margin:0;background:var(--card);border-radius:10px;padding:14px 16px 10px;display:flex;flex-direction:column}
figcaption{font-size:14px;line-height:1.4;margin-bottom:auto}
figcaption span{color:var(--soft);font-size:13px}
.plot{position:relative;height:230px;margin:24px 12px 44px 44px}
.plot>svg{display:block;overflow:visible;touch-action:pan-y;outline-offset:12px}
.plot svg svg{overflow:visible}
.plot text{fill:var(--soft);font-size:12px}
.ty,.tu,.e{text-anchor:end}.tx{text-anchor:middle}.tt{text-anchor:end}
.plot text.tn{fill:var(--text)}
.g{stroke:var(--rule)}.b{stroke:var(--strong)}
.s path{fill:none;vector-effect:non-scaling-stroke;stroke-linejoin:round;stroke-linecap:round}
.s .l{stroke-width:1.6}.s .k{stroke-width:5}.s .a{fill:var(--c0);stroke:none}
.s .m.l,.cmp .s .l{stroke-width:2.4}.s .dim{opacity:.18}
.d{stroke-dasharray:5 4}.k.d{stroke-dasharray:none}
.m{stroke:var(--text)}.c0{stroke:var(--c0)}.c1{stroke:var(--c1)}.c2{stroke:var(--c2)}.c3{stroke:var(--c3)}.c4{stroke:var(--c4)}
.c5{stroke:var(--c5)}.c6{stroke:var(--c6)}.c7{stroke:var(--c7)}
circle.c0{fill:var(--c0)}circle.c1{fill:var(--c1)}circle.c2{fill:var(--c2)}circle.c3{fill:var(--c3)}circle.c4{fill:var(--c4)}
circle.c5{fill:var(--c5)}circle.c6{fill:var(--c6)}circle.c7{fill:var(--c7)}
.plot circle{stroke:var(--card);stroke-width:2}
.cursor{stroke:var(--soft);stroke-dasharray:3 3;pointer-events:none}
.tip{position:absolute;z-index:2;pointer-events:none;background:var(--bg);border:1px solid var(--strong);border-radius:8px;
padding:7px 10px;font-size:12.5px;line-height:1.45;box-shadow:0 4px 14px rgb(0 0 0/.16);white-space:nowrap;top:0}
.tip b{display:block}.tip i{display:inline-block;width:10px;height:3px;border-radius:2px;margin-right:6px;vertical-align:middle}
.tip div{display:flex;justify-content:space-between;gap:14px}
.none{display:grid;place-items:center;min-height:160px;text-align:center;margin:0}
.drawing{display:flex;justify-content:center;align-items:center;margin:6px 0 auto}
.drawing svg,.drawing img{width:100%;max-width:560px;height:auto;max-height:340px}
.scroll{overflow-x:auto;border:1px solid var(--rule);border-radius:10px}
table{border-collapse:collapse;width:100%;font-size:14px}
th,td{padding:7px 12px;text-align:right;white-space:nowrap}
th{font-weight:600;color:var(--soft);font-size:13px;vertical-align:bottom;border-bottom:1px solid var(--strong)}
tr+tr td{border-top:1px solid var(--rule)}
th.t,td.t{text-align:left}
td:first-child,th:first-child{position:sticky;left:0;background:var(--bg);z-index:1}
td.name{max-width:240px;overflow:hidden;text-overflow:ellipsis;font-weight:600}
.best{color:var(--good);font-weight:650}
.sw{display:inline-block;width:10px;height:10px;border-radius:3px;margin-right:8px}
.meter{display:inline-flex;width:90px;height:9px;border-radius:5px;overflow:hidden;background:var(--rule);margin-left:8px;
vertical-align:baseline}
.meter i{display:block;height:100%}
.key{display:inline-block;width:10px;height:10px;border-radius:3px;margin:0 5px 0 12px}
.bc{background:var(--c0)}.bw{background:var(--c4)}
details{border:1px solid var(--rule);border-radius:10px;margin:14px 0;padding:0 16px}
summary{cursor:pointer;padding:11px 0;font-weight:600;overflow-wrap:anywhere}
summary span{font-weight:400;color:var(--soft);margin-left:.6em}
details[open]{padding-bottom:16px}
details.run>h2:first-of-type{margin-top:4px}
pre{margin:0;overflow-x:auto;font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
@media (max-width:560px){main,header,footer{padding-left:14px;padding-right:14px}h1{font-size:22px}
.tiles{gap:8px}.tile{padding:10px 12px}.tile b{font-size:19px}figure{padding:12px 10px 8px}
.plot{height:200px;margin-right:8px}details{padding:0 12px}td.name{max-width:130px}}
@media print{.seg{display:none}figure,details,.tile{break-inside:avoid}}
)css";

// Values come from the drawing itself: a path's points lie in a box of 1000 by 1000 whose ends the plot's
// data attributes name.  Names are only ever set as text.
const std::string_view kPageScript = R"js(
(() => {
'use strict';
const prefixed = (v, unit, kilo) => {
  const names = ['', kilo, 'M', 'G', 'T', 'P'];
  let i = 0;
  while (Math.abs(v) >= 999.5 && i < 5) { v /= 1000; i++; }
  const n = i === 0 && Number.isInteger(v) ? String(v) : v.toFixed(v >= 99.95 ? 0 : v >= 9.995 ? 1 : 2);
  return n + (names[i] + unit ? ' ' + names[i] + unit : '');
};
const two = n => String(n).padStart(2, '0');
const show = {
  number: v => String(Number(v.toPrecision(4))),
  percent: v => (v * 100).toFixed(2) + ' %',
  count: v => String(Math.round(v)),
  bytes: v => prefixed(Math.round(v), 'B', 'k'),
  seconds: v => {
    if (v < 59.95) return v.toFixed(v < 9.995 ? 2 : 1) + ' s';
    const s = Math.round(v);
    if (s < 3600) return Math.floor(s / 60) + ' min ' + two(s % 60) + ' s';
    return Math.floor(s / 3600) + ' h ' + two(Math.floor(s / 60) % 60) + ' min';
  },
};
const numbers = d => Array.from(d.matchAll(/(-?[\d.]+) (-?[\d.]+)/g), m => [+m[1], +m[2]]);
const SVG = 'http://www.w3.org/2000/svg';
const nearest = (points, x) => {
  let low = 0, high = points.length - 1;
  while (high - low > 1) {
    const mid = (low + high) >> 1;
    if (points[mid][0] <= x) low = mid; else high = mid;
  }
  return x - points[low][0] <= points[high][0] - x ? low : high;
};
for (const plot of document.querySelectorAll('.plot[data-x]')) {
  const svg = plot.querySelector('svg'), data = plot.dataset;
  let series = null, tip = null, cursor = null, dots = [], at = null;
  const x = p => +data.x0 + p / 1000 * (data.x1 - data.x0);
  const y = p => {
    const v = +data.y0 + (1 - p / 1000) * (data.y1 - data.y0);
    return show[data.y](data.log ? 10 ** v : v);
  };
  const load = () => {
    series = [];
    for (const path of plot.querySelectorAll('path[data-name]'))
      series.push({path, name: path.dataset.name, points: numbers(path.getAttribute('d'))});
    // The mean is drawn last, above the others, and read first.
    series.sort((a, b) => b.path.classList.contains('m') - a.path.classList.contains('m'));
    for (const path of plot.querySelectorAll('path[data-band]')) {
      const points = numbers(path.getAttribute('d')), half = points.length / 2;
      series.push({path, name: path.dataset.band, points: points.slice(0, half), other: points.slice(half).reverse()});
    }
    series = series.filter(s => s.points.length);
  };
  const hide = () => {
    tip?.remove(); cursor?.remove(); dots.forEach(d => d.remove());
    tip = cursor = at = null; dots = [];
  };
  const place = px => {
    if (!series) load();
    if (!series.length) return;
    const lead = series.reduce((a, b) => b.points.length > a.points.length ? b : a).points;
    const px0 = lead[nearest(lead, px)][0];
    if (at === px0) return;
    hide();
    at = px0;
    cursor = document.createElementNS(SVG, 'line');
    cursor.setAttribute('class', 'cursor');
    cursor.setAttribute('x1', at / 10 + '%'); cursor.setAttribute('x2', at / 10 + '%'); cursor.setAttribute('y2', '100%');
    svg.append(cursor);
    tip = document.createElement('div');
    tip.className = 'tip';
    const head = document.createElement('b');
    head.textContent = (data.x === 'count' ? 'step ' : '') + show[data.x](x(at));
    tip.append(head);
    for (const s of series) {
      const i = nearest(s.points, at), p = s.points[i];
      if (Math.abs(p[0] - at) > 60) continue;
      const row = document.createElement('div'), name = document.createElement('span'), value = document.createElement('span');
      const swatch = document.createElement('i'), style = getComputedStyle(s.path);
      swatch.style.background = s.other ? style.fill : style.stroke;
      name.append(swatch, s.name);
      value.textContent = s.other ? y(p[1]) + ' \u2013 ' + y(s.other[i][1]) : y(p[1]);
      row.append(name, value);
      tip.append(row);
      if (s.other) continue;
      const dot = document.createElementNS(SVG, 'circle');
      dot.setAttribute('cx', p[0] / 10 + '%'); dot.setAttribute('cy', p[1] / 10 + '%'); dot.setAttribute('r', 4);
      dot.style.fill = style.stroke;
      dot.style.pointerEvents = 'none';
      svg.append(dot);
      dots.push(dot);
    }
    plot.append(tip);
    const room = plot.clientWidth, left = at / 1000 * room;
    const want = left > room / 2 ? left - tip.offsetWidth - 14 : left + 14;
    tip.style.left = Math.max(-36, Math.min(want, room - tip.offsetWidth + 8)) + 'px';
  };
  const point = e => {
    const box = svg.getBoundingClientRect();
    place(Math.max(0, Math.min(1000, (e.clientX - box.left) / box.width * 1000)));
  };
  plot.addEventListener('pointermove', point);
  plot.addEventListener('pointerdown', point);
  plot.addEventListener('pointerleave', hide);
  svg.addEventListener('blur', hide);
  svg.addEventListener('keydown', e => {
    const step = {ArrowLeft: -1, ArrowRight: 1}[e.key];
    if (e.key === 'Escape') hide();
    if (!step) return;
    e.preventDefault();
    if (!series) load();
    if (!series.length) return;
    const lead = series.reduce((a, b) => b.points.length > a.points.length ? b : a).points;
    const i = at === null ? (step > 0 ? 0 : lead.length - 1) : nearest(lead, at) + step;
    place(lead[Math.max(0, Math.min(lead.length - 1, i))][0]);
  });
}
for (const item of document.querySelectorAll('.legend li')) {
  const charts = item.closest('section').querySelectorAll('.s path');
  const light = on => charts.forEach(p => p.classList.toggle('dim', on && p.dataset.name !== item.dataset.name &&
    p.dataset.band !== item.dataset.name));
  item.addEventListener('pointerenter', () => light(true));
  item.addEventListener('pointerleave', () => light(false));
}
})();
)js";

}  // namespace gossamer
