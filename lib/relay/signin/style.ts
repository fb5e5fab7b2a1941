/** The style of the relay's own pages: readable by day and night and on a phone, without a script. */

/** Where the style sheet is, on every host. */
export const stylePath = "/.culvert/style.css";

/** The style sheet. */
export const styleSheet = `
:root { color-scheme: light dark; --line: #8884; --accent: #0b62c4; --on-accent: #fff; }
@media (prefers-color-scheme: dark) { :root { --accent: #6cb2ff; --on-accent: #06182c; } }
* { box-sizing: border-box; }
body { margin: 0; font: 1rem/1.5 system-ui, sans-serif; display: grid; min-height: 100vh;
  place-items: center; padding: 1rem; }
main { width: 100%; max-width: 32rem; border: 1px solid var(--line); border-radius: .75rem;
  padding: 1.5rem; overflow-wrap: anywhere; }
h1 { font-size: 1.3rem; line-height: 1.3; margin: 0 0 .75rem; }
p, dl, ul { margin: 0 0 1rem; }
dt { font-size: .85rem; opacity: .75; }
dd { margin: 0 0 .5rem; }
ul { padding-left: 1.2rem; }
form, .actions { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1rem 0 0; }
button, .button { font: inherit; border: 1px solid var(--accent); border-radius: .5rem; cursor: pointer;
  padding: .55rem 1rem; background: var(--accent); color: var(--on-accent); text-decoration: none; }
.quiet { background: none; color: var(--accent); }
small { opacity: .7; }
`.trimStart();
