"""The style sheet of a trace in HTML; every rule stands under one class, so that it changes nothing around it."""

PAGE = """
:root { color-scheme: light dark; }
body { margin: 0; background: #fbfaf7; color: #1f2430; font: 16px/1.6 system-ui, "Noto Sans KR", "Noto Sans CJK KR", sans-serif; }
main { max-width: 880px; margin: 0 auto; padding: 20px 16px 64px; }
.lastlayer-steps ol { display: flex; flex-wrap: wrap; gap: 4px 14px; padding: 0; margin: 0 0 12px; list-style: none; font-size: 0.85rem; }
.lastlayer-steps a { color: #1f5fd0; }
@media (prefers-color-scheme: dark) { body { background: #14161b; color: #e8e6e1; } .lastlayer-steps a { color: #8fb4ff; } }
"""

STYLE = """
.lastlayer-trace { --ink: #1f2430; --soft: #5b6475; --rule: #dcd9d0; --card: #ffffff; --blue: #2f6fde; --red: #c23b34;
  --green: #1f7a48; --heat-blue: 47, 111, 222; --heat-red: 200, 66, 59; color: var(--ink); text-align: left; }
@media (prefers-color-scheme: dark) { .lastlayer-trace { --ink: #e8e6e1; --soft: #a4acba; --rule: #343943; --card: #1c1f26;
  --blue: #7aa7ff; --red: #ff8a80; --green: #6fcf97; --heat-blue: 122, 167, 255; --heat-red: 255, 138, 128; } }
.lastlayer-trace * { box-sizing: border-box; }
.lastlayer-trace h1, .lastlayer-trace h3 { font-size: 1.35rem; line-height: 1.3; margin: 0.2em 0; }
.lastlayer-trace h2, .lastlayer-trace h4 { font-size: 1rem; margin: 0; }
.lastlayer-trace > ol { padding: 0; margin: 12px 0 0; list-style: none; counter-reset: step; }
.lastlayer-trace > ol > li { background: var(--card); border: 1px solid var(--rule); border-radius: 12px; padding: 12px 16px; margin: 12px 0; counter-increment: step; }
.lastlayer-trace > ol > li > h2::before, .lastlayer-trace > ol > li > h4::before { content: counter(step) "  "; color: var(--soft); }
.lastlayer-trace .note, .lastlayer-trace .numerics { color: var(--soft); font-size: 0.9rem; margin: 4px 0; }
.lastlayer-trace .numerics { font-size: 0.82rem; }
.lastlayer-trace .scroll { overflow-x: auto; max-width: 100%; }
.lastlayer-trace .scroll:focus-visible, .lastlayer-trace a:focus-visible { outline: 2px solid var(--blue); outline-offset: 2px; }
.lastlayer-trace .formula { margin: 4px 0; padding: 4px 0; font-size: 1.1rem; color: var(--blue); }
.lastlayer-trace .value { margin: 4px 0; padding: 2px 0; }
.lastlayer-trace .value b { font-size: 1.2rem; font-variant-numeric: tabular-nums; margin-right: 0.3em; }
.lastlayer-trace table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.95rem; margin: 4px 0; background: none; color: inherit; }
.lastlayer-trace td, .lastlayer-trace th { padding: 3px 8px; text-align: right; white-space: nowrap; border: 0; font-weight: 400; background: none; }
.lastlayer-trace th[scope=row] { text-align: left; }
.lastlayer-trace thead th { color: var(--soft); font-size: 0.85rem; }
.lastlayer-trace .true th, .lastlayer-trace td.true { color: var(--green); font-weight: 700; }
.lastlayer-trace .rest { color: var(--soft); }
.lastlayer-trace .bar { width: 150px; min-width: 90px; }
.lastlayer-trace .bar svg { width: 100%; height: 0.8em; display: block; }
.lastlayer-trace .inside { text-align: left; color: var(--soft); }
.lastlayer-trace .cell { border-radius: 4px; background: rgba(var(--heat-blue), var(--heat)); }
.lastlayer-trace .cell.negative { background: rgba(var(--heat-red), var(--heat)); }
.lastlayer-trace .checks { list-style: none; padding: 0; margin: 6px 0 0; font-size: 0.88rem; }
.lastlayer-trace .good { color: var(--green); }
.lastlayer-trace .bad { color: var(--red); font-weight: 700; }
.lastlayer-trace .checks small { color: var(--soft); font-weight: 400; }
.lastlayer-trace svg.curve { width: 100%; max-width: 420px; height: auto; display: block; margin-top: 6px; }
.lastlayer-trace svg.arrows { min-width: 560px; max-width: 720px; width: 100%; height: auto; display: block; margin: 8px 0; }
.lastlayer-trace svg.bars, .lastlayer-trace svg.matrix { max-width: 100%; height: auto; }
.lastlayer-trace svg text { fill: var(--soft); font-size: 12px; font-family: inherit; }
.lastlayer-trace svg .label { fill: var(--ink); }
.lastlayer-trace svg .axis { stroke: var(--soft); fill: none; }
.lastlayer-trace svg .guide { stroke: var(--soft); stroke-dasharray: 3 4; fill: none; }
.lastlayer-trace svg .line { stroke: var(--blue); stroke-width: 2; fill: none; }
.lastlayer-trace svg .point { fill: var(--red); }
.lastlayer-trace svg .positive { fill: var(--blue); }
.lastlayer-trace svg .negative { fill: var(--red); }
.lastlayer-trace svg .stage { fill: none; stroke: var(--rule); }
.lastlayer-trace svg .here { fill: rgba(var(--heat-blue), 0.18); stroke: var(--blue); }
.lastlayer-trace .hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
"""
