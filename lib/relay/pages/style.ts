/**
 * The style of all of the relay's own pages: readable by day and night, on a phone and on paper.
 * Colours are named by what they mean; each pair that text uses has a contrast of 4.5 or more.
 */

/** Where the style sheet is, on every host. */
export const stylePath = "/.culvert/style.css";

const colors = `
:root { color-scheme: light dark;
  --ground: #f5f6f8; --surface: #fff; --raised: #eef0f3; --line: #dde1e6; --edge: #767f8c;
  --text: #171c24; --quiet: #565f6d;
  --accent: #0b5cad; --on-accent: #fff; --accent-soft: #e4eefa;
  --good: #14703d; --good-soft: #e1f4e8; --warn: #865300; --warn-soft: #fdf0d3;
  --bad: #b0241c; --bad-soft: #fce8e6; --shadow: 0 1px 2px #10182814; }
@media (prefers-color-scheme: dark) { :root {
  --ground: #0e1217; --surface: #161b22; --raised: #1f262f; --line: #2a323c; --edge: #717c8a;
  --text: #e6eaf0; --quiet: #a0aab8;
  --accent: #7cb4ff; --on-accent: #071626; --accent-soft: #14283f;
  --good: #62d391; --good-soft: #10301f; --warn: #f0be5c; --warn-soft: #33280e;
  --bad: #ff958b; --bad-soft: #3b1a18; --shadow: none; } }
`;

const base = `
*, ::before, ::after { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0; min-height: 100vh; background: var(--ground); color: var(--text);
  font: .9375rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  overflow-wrap: anywhere; }
h1 { font-size: 1.35rem; line-height: 1.3; letter-spacing: -.01em; margin: 0 0 .75rem; }
h2 { font-size: 1.05rem; line-height: 1.4; margin: 0; }
h3 { font-size: .9375rem; margin: 0; }
p, dl, ul { margin: 0 0 1rem; }
a { color: var(--accent); text-underline-offset: .15em; }
code, .mono { font: .875em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono",
  monospace; }
dt { font-size: .8125rem; color: var(--quiet); }
dd { margin: 0 0 .6rem; }
.quiet-text, .fine { color: var(--quiet); }
.fine { font-size: .8125rem; font-weight: 400; }
p.fine:last-child { margin: 1.25rem 0 0; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: .25rem; }
.away { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap; }
`;

const frame = `
.bar { display: flex; align-items: center; flex-wrap: wrap; gap: .5rem 1.25rem;
  padding: .625rem 1.25rem; background: var(--surface); border-bottom: 1px solid var(--line); }
.brand { display: inline-flex; align-items: center; gap: .5rem; font-weight: 650;
  letter-spacing: -.01em; }
.mark { color: var(--accent); flex: none; }
.bar nav { display: flex; gap: .25rem; }
.bar nav a { padding: .25rem .625rem; border-radius: .375rem; color: var(--quiet);
  text-decoration: none; }
.bar nav a:hover { background: var(--raised); color: var(--text); }
.bar nav a[aria-current] { background: var(--accent-soft); color: var(--accent); }
.account { margin-left: auto; display: flex; align-items: center; gap: .75rem; min-width: 0; }
.account form { margin: 0; }
.account bdi { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; max-width: 16rem; }
body.card { display: grid; grid-template-rows: auto 1fr; }
body.card .bar { background: none; border: 0; }
body.card main { align-self: center; justify-self: center; width: calc(100% - 2rem);
  max-width: 32rem; margin: 0 1rem 12vh; padding: 1.75rem; background: var(--surface);
  border: 1px solid var(--line); border-radius: .75rem; box-shadow: var(--shadow); }
body.wide main { max-width: 80rem; margin: 0 auto; padding: 1.5rem 1.25rem 3rem; }
section { margin: 0 0 2rem; }
.heading { display: flex; flex-wrap: wrap; align-items: baseline; gap: .25rem .75rem;
  margin: 0 0 .75rem; }
.heading h1, .heading h2 { margin: 0; }
`;

const controls = `
form, .actions { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.25rem 0 0; }
button, .button, input, select { font: inherit; line-height: 1.4; border-radius: .5rem;
  padding: .5rem .875rem; }
button, .button { display: inline-block; border: 1px solid var(--accent); cursor: pointer;
  background: var(--accent); color: var(--on-accent); text-decoration: none; font-weight: 550; }
button:hover, .button:hover { filter: brightness(1.08); }
.quiet { background: none; color: var(--accent); border-color: var(--line); }
.quiet:hover { background: var(--raised); filter: none; }
.danger { background: none; color: var(--bad); border-color: var(--line); }
.danger:hover { background: var(--bad-soft); filter: none; }
.small { padding: .1875rem .625rem; font-size: .8125rem; border-radius: .375rem; }
input, select { background: var(--surface); color: inherit; border: 1px solid var(--edge);
  min-width: 0; }
label { font-size: .8125rem; color: var(--quiet); }
.fields { flex-direction: column; align-items: stretch; gap: .5rem; }
.fields button { margin-top: .5rem; align-self: flex-start; }
.search { display: flex; flex-wrap: wrap; gap: .5rem; margin: 0 0 1rem; }
.search input[type=search] { flex: 1 1 14rem; max-width: 24rem; }
`;

const lists = `
.cards { list-style: none; padding: 0; display: grid; gap: .75rem;
  grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr)); }
.cards > li { background: var(--surface); border: 1px solid var(--line); border-radius: .625rem;
  padding: .875rem 1rem; box-shadow: var(--shadow); position: relative; min-width: 0;
  display: flex; flex-direction: column; gap: .375rem; }
.cards > li:has(a.whole:hover) { border-color: var(--accent); }
.cards > li:has(a.whole:focus-visible) { outline: 2px solid var(--accent); outline-offset: 2px; }
a.whole { color: inherit; text-decoration: none; font-weight: 600; outline: none; }
a.whole::after { content: ""; position: absolute; inset: 0; }
.row { display: flex; align-items: center; gap: .5rem; min-width: 0; }
.row > :first-child { margin-right: auto; min-width: 0; }
.command { display: block; background: var(--raised); border-radius: .375rem; padding: .5rem .625rem;
  user-select: all; -webkit-user-select: all; }
.tag { display: inline-block; font-size: .75rem; line-height: 1.5; padding: 0 .4375rem;
  border-radius: 1rem; background: var(--raised); color: var(--quiet); white-space: nowrap; }
.state { display: inline-flex; align-items: center; gap: .375rem; font-size: .8125rem;
  white-space: nowrap; }
.state::before { content: ""; width: .5rem; height: .5rem; border-radius: 50%; flex: none;
  background: currentColor; }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); }
.none { color: var(--quiet); }
.none.state::before { background: none; border: 1.5px solid currentColor; }
.empty { background: var(--surface); border: 1px dashed var(--line); border-radius: .625rem;
  padding: 1.25rem; color: var(--quiet); text-align: center; }
.note { border-radius: .5rem; padding: .5rem .875rem; margin: 0 0 1rem; background: var(--raised);
  color: var(--text); }
.note.good { background: var(--good-soft); } .note.warn { background: var(--warn-soft); }
.note.bad { background: var(--bad-soft); }
.pages { display: flex; align-items: center; gap: .75rem; margin: .75rem 0 0; }
`;

const status = `
.tiles { list-style: none; padding: 0; display: grid; gap: .75rem; margin: 0 0 1rem;
  grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); }
.tiles > li { background: var(--surface); border: 1px solid var(--line); border-radius: .625rem;
  padding: .75rem 1rem; box-shadow: var(--shadow); display: flex; flex-direction: column;
  min-width: 0; overflow: hidden; }
.tiles strong { font-size: 1.35rem; font-weight: 600; line-height: 1.4;
  font-variant-numeric: tabular-nums; }
.chart { display: block; width: calc(100% + 2rem); height: 2.25rem; margin: auto -1rem -.75rem; }
.chart .line { fill: none; stroke: var(--accent); stroke-width: 1.5; }
.chart .area { fill: var(--accent-soft); }
.findings { list-style: none; padding: 0; display: grid; gap: .375rem; }
.findings .note { margin: 0; display: grid; gap: .125rem .75rem;
  grid-template-columns: 3.75rem minmax(0, 1fr) auto; }
.findings .note > :first-child { font-weight: 600; }
.columns { display: grid; gap: 0 1.25rem;
  grid-template-columns: repeat(auto-fit, minmax(min(34rem, 100%), 1fr)); }
summary { cursor: pointer; font-size: .8125rem; color: var(--quiet); width: max-content;
  max-width: 100%; }
summary:hover { color: var(--text); }
details dl { margin: .25rem 0 .25rem .875rem; }
details dd { margin: 0; font-weight: normal; }
[hidden] { display: none; }
.row > #as-of { margin: 0 auto 0 0; }
main > .row { margin: -.5rem 0 1rem; }
.tag.warn { background: var(--warn-soft); color: var(--warn); white-space: normal; }
`;

/** Narrow screens show each row as a block whose cells name their columns. */
const tables = `
.scroll { overflow-x: auto; margin: 0 -.25rem; padding: 0 .25rem .25rem; }
.table { width: 100%; border-collapse: separate; border-spacing: 0; background: var(--surface);
  border: 1px solid var(--line); border-radius: .625rem; box-shadow: var(--shadow);
  font-size: .875rem; }
.table th, .table td { text-align: left; vertical-align: top; padding: .5rem .75rem;
  border-top: 1px solid var(--line); }
.table th, .table td { min-width: 5rem; }
.table tbody th { min-width: 8rem; }
.table .number { min-width: 0; }
.table td.long { min-width: 10rem; }
.table thead th { border-top: 0; font-weight: 550; font-size: .8125rem; color: var(--quiet);
  white-space: nowrap; }
.table thead a { color: inherit; text-decoration: none; }
.table thead a:hover { text-decoration: underline; }
.table .number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.table tbody th { font-weight: 550; }
.table td form { margin: 0; justify-content: flex-end; }
.table .act { min-width: 0; text-align: right; white-space: nowrap; }
@media (max-width: 44rem) {
  .bar, body.wide main { padding-left: .875rem; padding-right: .875rem; }
  .account bdi { max-width: 9rem; }
  .table, .table tbody, .table tr, .table td, .table tbody th { display: block; width: 100%; }
  .table thead { position: absolute; width: 1px; height: 1px; overflow: hidden;
    clip-path: inset(50%); }
  .table tr { border-top: 1px solid var(--line); padding: .5rem .875rem; }
  .table tbody:first-of-type tr:first-child { border-top: 0; }
  .table td, .table td.long, .table tbody th { min-width: 0; border: 0; padding: .125rem 0; }
  .table td[data-label] { display: grid; grid-template-columns: 7.5rem minmax(0, 1fr); gap: .5rem; }
  .table td[data-label]::before { content: attr(data-label); color: var(--quiet);
    font-size: .8125rem; }
  .table .number, .table td.act { text-align: left; }
  .table td form { justify-content: flex-start; }
  .table td:empty { display: none; }
  .findings .note { grid-template-columns: minmax(0, 1fr) auto; }
  .findings .note > :nth-child(2) { grid-row: 2; grid-column: 1 / -1; }
  .table td.act { padding-top: .375rem; }
}
`;

const elsewhere = `
@media (prefers-reduced-motion: no-preference) {
  button, .button, .cards > li, .bar nav a { transition: background-color .12s, border-color .12s; } }
@media (forced-colors: active) { .state::before { forced-color-adjust: none; } }
@media print {
  :root { --ground: #fff; --surface: #fff; --text: #000; --quiet: #444; --line: #bbb; --shadow: none; }
  .actions, .search, .account form, .bar nav, .table td.act, .pages { display: none; }
  .cards > li, .table tr { break-inside: avoid; }
  body.wide main { max-width: none; padding: 0; } }
`;

/** The style sheet. */
export const styleSheet = [colors, base, frame, controls, lists, status, tables, elsewhere]
  .map((part) => part.trim()).join("\n") + "\n";
