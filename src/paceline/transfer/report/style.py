"""How the page looks: light or dark as the reader's system is, in one column on a phone."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root { color-scheme: light dark; --page: #fbfaf8; --card: #ffffff; --ink: #1f2328; --quiet: #6a6f78; --line: #e4e1db;
--s1: #2f6fd0; --s2: #d0771b; --s3: #2f9264; --s4: #9457b8; --s5: #c0486f; --s6: #7b7f2a; --s7: #8a8f98; --warn: #a8541a; --warn-page: #fdf1e3; }
@media (prefers-color-scheme: dark) { :root { --page: #14161a; --card: #1c1f25; --ink: #e7e8ea; --quiet: #9aa0aa; --line: #30343c;
--s1: #6ea4f5; --s2: #eda04e; --s3: #5fc494; --s4: #c08be0; --s5: #ec84a5; --s6: #b9bd63; --s7: #8a8f98; --warn: #f0b67c; --warn-page: #2d2418; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 27px; line-height: 1.25; margin: 0 0 20px; overflow-wrap: anywhere; letter-spacing: -.01em; }
h2 { font-size: 19px; margin: 44px 0 4px; letter-spacing: -.005em; }
h3 { font-size: 13px; font-weight: 600; margin: 0 0 6px; overflow-wrap: anywhere; }
.one-line { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
p { max-width: 76ch; margin: 0 0 14px; color: var(--quiet); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)); gap: 10px; }
.facts div, .card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; min-width: 0; }
.facts b { display: block; font-size: 23px; font-weight: 600; line-height: 1.3; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.facts span, .quiet { color: var(--quiet); font-size: 13px; }
.warning { background: var(--warn-page); color: var(--warn); border-radius: 8px; padding: 10px 14px; max-width: none; }
.grid { display: grid; gap: 12px; }
.two { grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); }
.units { grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 16px 18px; }
.classes { grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); }
.confusions { grid-template-columns: repeat(auto-fill, minmax(min(100%, 330px), 1fr)); }
figure { margin: 0; } svg { display: block; width: 100%; height: auto; }
svg text { font: 11.5px system-ui, sans-serif; fill: var(--quiet); font-variant-numeric: tabular-nums; }
.gridline { stroke: var(--line); } .curve { fill: none; stroke-width: 2; stroke-linejoin: round; } .dashed { stroke-dasharray: 5 4; }
.curve.s1, .dot.s1 { stroke: var(--s1); } .curve.s2, .dot.s2 { stroke: var(--s2); } .curve.s3, .dot.s3 { stroke: var(--s3); }
.curve.s4, .dot.s4 { stroke: var(--s4); } .curve.s5, .dot.s5 { stroke: var(--s5); } .curve.s6, .dot.s6 { stroke: var(--s6); }
.curve.s7, .dot.s7 { stroke: var(--s7); } .dot { fill: var(--card); stroke-width: 1.8; }
.key { display: inline-flex; align-items: center; gap: 6px; margin: 4px 16px 0 0; font-size: 13px; color: var(--quiet); }
.key i { width: 18px; height: 0; border-top: 3px solid; } .key i.dashed { border-top-style: dashed; }
.key .s1 { color: var(--s1); } .key .s2 { color: var(--s2); } .key .s3 { color: var(--s3); } .key .s4 { color: var(--s4); }
.key .s5 { color: var(--s5); } .key .s6 { color: var(--s6); } .key .s7 { color: var(--s7); }
.histogram { height: 56px; } .histogram rect { fill: var(--s1); } .histogram .mark { stroke: var(--s2); stroke-width: 1.2; stroke-dasharray: 3 2; vector-effect: non-scaling-stroke; }
.histogram .floor { stroke: var(--line); vector-effect: non-scaling-stroke; }
.ends { display: flex; justify-content: space-between; font-size: 12px; color: var(--quiet); font-variant-numeric: tabular-nums; }
.channel { display: grid; grid-template-columns: 190px 1fr; gap: 6px 18px; align-items: center; padding: 10px 0; border-top: 1px solid var(--line); }
.channel:first-child { border-top: 0; }
.bar { height: 6px; border-radius: 3px; background: var(--line); margin: 5px 0; } .bar i { display: block; height: 100%; border-radius: 3px; background: var(--s1); }
.strip { display: grid; grid-template-columns: repeat(9, minmax(0, 1fr)); gap: 6px; max-width: 860px; }
.strip.few { grid-template-columns: repeat(4, minmax(0, 1fr)); margin-top: 8px; }
img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; border-radius: 4px; background: var(--line); }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 6px; margin-bottom: 8px; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { text-align: right; padding: 7px 12px; border-bottom: 1px solid var(--line); white-space: nowrap; } th { font-weight: 600; font-size: 13px; color: var(--quiet); }
tr:last-child td { border-bottom: 0; } th:first-child, td:first-child { text-align: left; }
td.interval { min-width: 180px; } .interval div { position: relative; height: 14px; } .interval u { position: absolute; top: 6px; height: 2px; background: var(--s1); }
.interval b { position: absolute; top: 2px; width: 10px; height: 10px; margin-left: -5px; border-radius: 50%; background: var(--s1); }
footer { margin-top: 48px; color: var(--quiet); font-size: 13px; }
@media (max-width: 640px) { main { padding: 20px 14px 40px; } h1 { font-size: 22px; } .channel { grid-template-columns: 1fr; }
.strip { grid-template-columns: repeat(5, minmax(0, 1fr)); } .classes { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 8px; } .card { padding: 10px; } }
"""
